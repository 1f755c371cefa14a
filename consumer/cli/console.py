"""What all commands share: options, where they print, and how they start."""

import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import orjson
import typer
import uvloop
from rich.console import Console

from consumer import settings
from consumer.ops import logging

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
SiteOptions = Annotated[list[str] | None, typer.Option("--site", help="Only this site; may be given several times.")]

# A file or a pipe has no width: there, nothing is cut or folded to fit one.
output: Final = Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
errors: Final = Console(stderr=True, highlight=False, markup=False, emoji=False)


def configured() -> settings.Settings:
    """The environment's settings, with logging set up as they say. Raises ``ConfigurationError``."""
    chosen = settings.load()
    logging.configure(chosen.log_level, chosen.log_format)
    return chosen


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, in an event loop of its own."""
    return uvloop.run(work)


def print_document(content: dict[str, Any]) -> None:
    """JSON for machines, legible for people."""
    sys.stdout.write(f"{orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()}\n")


def moment(unix_time: float) -> str:
    """RFC 3339, UTC, to the second."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
