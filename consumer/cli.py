"""The command ``calsync``."""

import sys
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from consumer import __version__, app, settings
from consumer.domain.errors import ConfigurationError
from consumer.ops import logging, tables
from consumer.ops.progress import sweep_progress

FAULT = 1
"""Exit code for a fault found, or a site that failed, is held or suspended."""
USAGE = 2
"""Exit code for wrong usage or configuration."""

cli = typer.Typer(
    name="calsync",
    help="Keeps every worker's Outlook calendar equal to Core's schedule.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
output = Console()
errors = Console(stderr=True, highlight=False, markup=False)


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
    """Settings are environment variables, CALSYNC_…: see the README."""


@cli.command()
def run() -> None:
    """Consume the topic and keep the calendars, until SIGTERM."""
    chosen = settings.load()
    logging.configure(chosen.log_level, chosen.log_format)
    raise typer.Exit(uvloop.run(app.run(chosen)))


@cli.command()
def sweep(
    site: Annotated[list[str] | None, typer.Option(help="Only this site; may be given several times.")] = None,
    mailbox: Annotated[str | None, typer.Option(help="Only this calendar email; its time zone is read again.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing: print what would be done.")] = False,
    allow_mass_delete: Annotated[
        bool, typer.Option("--allow-mass-delete", help="Delete the events of vanished jobs, however many.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Compare the calendars with Core's schedule, once, now, and repair what differs."""
    chosen = settings.load()
    logging.configure(chosen.log_level, chosen.log_format)
    with sweep_progress(errors) as progress:
        reports = uvloop.run(
            app.sweep(
                chosen,
                site or [],
                mailbox=mailbox,
                dry_run=dry_run,
                allow_mass_delete=allow_mass_delete,
                progress=progress,
            )
        )
    if as_json:
        sys.stdout.write(f"{tables.sweep_json(reports, dry_run=dry_run)}\n")
    else:
        for line in (line for report in reports for line in tables.planned_lines(report)):
            sys.stdout.write(f"{line}\n")
        output.print(tables.sweep_table(reports, dry_run=dry_run))
    raise typer.Exit(0 if all(report.whole for report in reports) else FAULT)


def main() -> None:
    """The entry point: every known fault becomes a message and an exit code."""
    try:
        cli()
    except ConfigurationError as error:
        for problem in error.problems:
            errors.print(f"calsync: {problem}", soft_wrap=True)
        sys.exit(USAGE)
