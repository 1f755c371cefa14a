"""The command ``calsync``."""

import sys
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from consumer import __version__, app, commands, settings
from consumer.domain.errors import ConfigurationError, StoreUnavailableError
from consumer.ops import logging, tables
from consumer.ops.progress import sweep_progress
from consumer.sync.report import Report

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
mailboxes = typer.Typer(help="Mailboxes that are not tried.", no_args_is_help=True)
sites = typer.Typer(help="Customers: served or paused.", no_args_is_help=True)
cli.add_typer(mailboxes, name="mailbox")
cli.add_typer(sites, name="site")

SiteOptions = Annotated[list[str] | None, typer.Option("--site", help="Only this site; may be given several times.")]
SiteOption = Annotated[str | None, typer.Option("--site", help="Whose mailbox it is.")]
SiteArgument = Annotated[str, typer.Argument(help="The site's id.")]
Address = Annotated[str, typer.Argument(help="The calendar email.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
T = TypeVar("T")

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
    raise typer.Exit(_run(app.run(_settings())))


@cli.command()
def sweep(
    site: SiteOptions = None,
    mailbox: Annotated[str | None, typer.Option(help="Only this calendar email; its time zone is read again.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing: print what would be done.")] = False,
    allow_mass_delete: Annotated[
        bool, typer.Option("--allow-mass-delete", help="Delete the events of vanished jobs, however many.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the calendars with Core's schedule, once, now, and repair what differs."""
    with sweep_progress(errors) as progress:
        work = commands.sweep(
            _settings(),
            site or [],
            mailbox=mailbox,
            dry_run=dry_run,
            allow_mass_delete=allow_mass_delete,
            progress=progress,
        )
        reports = _run(work)
    _tell(reports, dry_run=dry_run, as_json=as_json)


@mailboxes.command("list")
def list_mailboxes(site: SiteOptions = None, as_json: Json = False) -> None:
    """Which mailboxes are not tried, why, and since when."""
    parked = _run(commands.parked_mailboxes(_settings(), site or []))
    sys.stdout.write(f"{tables.parked_json(parked)}\n") if as_json else output.print(tables.parked_table(parked))


@mailboxes.command("park")
def park_mailbox(
    address: Address,
    site: SiteOption = None,
    reason: Annotated[str, typer.Option(help="Why, for those who find it parked.")] = "",
) -> None:
    """Do not try a mailbox any more, until it is enabled; its events stay as they are."""
    mailbox = _run(commands.park_mailbox(_settings(), address, site, reason))
    output.print(f"parked: {mailbox.address} of {mailbox.site}")


@mailboxes.command("enable")
def enable_mailbox(address: Address, site: SiteOption = None, as_json: Json = False) -> None:
    """Try a parked mailbox again, and sweep it at once."""
    chosen = _settings()
    enabled = _run(commands.enable_mailbox(chosen, address, site))
    reports = [
        report
        for mailbox in enabled
        for report in _run(commands.sweep(chosen, [mailbox.site], mailbox=mailbox.address))
    ]
    _tell(reports, dry_run=False, as_json=as_json)


@sites.command("list")
def list_sites(as_json: Json = False) -> None:
    """The sites of the sites file: paused or served, and what waits for whom."""
    standings = _run(commands.site_standings(_settings()))
    sys.stdout.write(f"{tables.sites_json(standings)}\n") if as_json else output.print(tables.sites_table(standings))


@sites.command("pause")
def pause_site(site: SiteArgument) -> None:
    """Serve a site no more, until it is resumed: what comes for it is handed over to the sweep."""
    _run(commands.pause_site(_settings(), site))
    output.print(f"paused: {site}; every replica knows within five seconds")


@sites.command("resume")
def resume_site(site: SiteArgument) -> None:
    """Serve a paused site again; the replicas sweep it at once."""
    _run(commands.resume_site(_settings(), site))
    output.print(f"resumed: {site}; every replica knows within five seconds")


def _settings() -> settings.Settings:
    """The environment's settings, with logging set up as they say."""
    chosen = settings.load()
    logging.configure(chosen.log_level, chosen.log_format)
    return chosen


def _run(work: Coroutine[Any, Any, T]) -> T:
    return uvloop.run(work)


def _tell(reports: list[Report], *, dry_run: bool, as_json: bool) -> NoReturn:
    """Print what sweeps did, and end with the exit code that says how they went."""
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
    except StoreUnavailableError as error:
        errors.print(f"calsync: CALSYNC_REDIS_URL: {error}", soft_wrap=True)
        sys.exit(FAULT)
