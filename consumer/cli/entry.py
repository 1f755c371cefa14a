"""Where ``calsync`` begins: which commands there are, and which exit code a known fault gives.

A command's file is imported only when the command is used: importing Kafka, Graph and Redis takes most of a second, and
``--help`` needs none of them.
"""

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from consumer import __version__
from consumer.cli.redis_hint import redis_message
from consumer.domain.errors import ConfigurationError, CoreUnavailableError, StoreUnavailableError, TransientError

FAULT: Final = 1
"""Exit code for a fault found, or a site that failed, is held or suspended."""
USAGE: Final = 2
"""Exit code for wrong usage or configuration."""
COMMANDS: Final = {
    "run": "Consume the topic and keep the calendars, until SIGTERM.",
    "sweep": "Compare the calendars with Core's schedule, once, now, and repair what differs.",
    "replay": "Read the topic again from a time on, and bring every job it names to the state that Core has now.",
    "check-feed": "Show Core's team what is wrong with the newest records of its feed.",
    "dead-letters": "Records that could not be carried out.",
    "mailbox": "Mailboxes that are not tried.",
    "site": "Customers: served or paused.",
}
"""Each command's summary; its file in this package has its name."""


def load(name: str) -> Any:
    """The command, or the group of commands, of this name, from its file."""
    module = import_module(f"consumer.cli.{name.replace('-', '_')}")
    command = typer.main.get_command(module.cli)
    command.name = name
    return command


class _Commands(TyperGroup):
    """The commands by their names and summaries; the one that is used is loaded."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (as click calls it)
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (as click calls it)
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and command else command, rest


cli = typer.Typer(
    name="calsync",
    cls=_Commands,
    help=(
        "Keeps every worker's Outlook calendar equal to Core's schedule.\n\n"
        "Settings are environment variables, CALSYNC_…: see docs/settings.md."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"calsync {__version__}\n")
        raise typer.Exit


@cli.callback()
def main_options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """The options of ``calsync`` itself."""


def _require_text(arguments: list[str]) -> None:
    """Raises ``ConfigurationError`` for bytes that are not text: they could be sent nowhere."""
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(["an argument is not UTF-8 text: type it again"]) from None


def _fail(code: int, *problems: str) -> None:
    for problem in problems:
        sys.stderr.write(f"calsync: {problem}\n")
    sys.exit(code)


def main() -> None:
    """Run the command; every known fault becomes a message and an exit code."""
    try:
        _require_text(sys.argv[1:])
        cli()
    except ConfigurationError as error:
        _fail(USAGE, *error.problems)
    except StoreUnavailableError as error:
        _fail(FAULT, redis_message(str(error)))
    except CoreUnavailableError as error:
        _fail(FAULT, f"CALSYNC_CORE_API_URL: {error}")
    except TransientError as error:
        _fail(FAULT, str(error))
