"""The command ``calsync``."""

import re
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from consumer import __version__, app, commands, feed_commands, feed_tables, settings
from consumer.domain.errors import ConfigurationError, CoreUnavailableError, StoreUnavailableError, TransientError
from consumer.ops import logging, tables
from consumer.ops.progress import counted_progress, sweep_progress
from consumer.ops.redis_hint import redis_hint
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
letters = typer.Typer(help="Records that could not be carried out.", no_args_is_help=True)
cli.add_typer(letters, name="dead-letters")
cli.add_typer(mailboxes, name="mailbox")
cli.add_typer(sites, name="site")

SiteOptions = Annotated[list[str] | None, typer.Option("--site", help="Only this site; may be given several times.")]
SiteOption = Annotated[str | None, typer.Option("--site", help="Whose mailbox it is.")]
SiteArgument = Annotated[str, typer.Argument(help="The site's id.")]
Address = Annotated[str, typer.Argument(help="The calendar email.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
T = TypeVar("T")

# A file or a pipe has no width: there, nothing is cut or folded to fit one.
output = Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)


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
    """Settings are environment variables, CALSYNC_…: see docs/settings.md."""


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


@letters.command("list")
def list_letters(
    everything: Annotated[bool, typer.Option("--all", help="Those too that were replayed already.")] = False,
    as_json: Json = False,
) -> None:
    """The records that could not be carried out, and the partitions that are blocked for them."""
    found, blocked = _run(feed_commands.letters(_settings(), everything=everything))
    if as_json:
        sys.stdout.write(f"{feed_tables.letters_json(found, blocked)}\n")
    else:
        output.print(feed_tables.letters_table(found, blocked))


@letters.command("replay")
def replay_letters(as_json: Json = False) -> None:
    """Put every dead letter that was not replayed yet through the service once more, as it came."""
    with counted_progress(errors, "replaying") as progress:
        replayed = _run(feed_commands.replay_letters(_settings(), progress))
    _tell_replayed(replayed, as_json=as_json)


@letters.command("resume")
def resume_partitions(
    partition: Annotated[list[int] | None, typer.Option(help="Only this one; may be given several times.")] = None,
) -> None:
    """Have blocked partitions read on, once what was unreadable there is mended."""
    resumed = _run(feed_commands.unblock(_settings(), partition or []))
    numbers = ", ".join(str(number) for number in resumed)
    output.print(f"resumed: {numbers}; its replica knows within five seconds" if resumed else "nothing is blocked")


@cli.command()
def replay(
    since: Annotated[str, typer.Option("--from", help="RFC 3339, or an age such as 90m, 6h, 2d.")],
    as_json: Json = False,
) -> None:
    """Read the topic again from a time on, and bring every job it names to the state that Core has now."""
    start = _moment(since)
    with counted_progress(errors, "replaying") as progress:
        replayed = _run(feed_commands.replay(_settings(), start, progress))
    _tell_replayed(replayed, as_json=as_json)


@cli.command(name="check-feed")
def check_feed(
    topic: Annotated[str | None, typer.Option(help="Another topic than CALSYNC_KAFKA_TOPIC.")] = None,
    newest: Annotated[int, typer.Option(min=1, help="So many records of each partition.")] = 1000,
    as_json: Json = False,
) -> None:
    """Tell Core's team what is wrong with the newest records of its feed."""
    check = _run(feed_commands.check_feed(_settings(), topic, newest))
    if as_json:
        sys.stdout.write(f"{feed_tables.feed_json(check)}\n")
    else:
        output.print(feed_tables.feed_table(check))
    raise typer.Exit(FAULT if check.faults else 0)


def _moment(text: str) -> float:
    """Unix time of a moment or an age. Raises ``ConfigurationError``."""
    age = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if age:
        return time.time() - int(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[age[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError([f"--from {text}: neither RFC 3339 nor an age such as 90m, 6h, 2d"]) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _settings() -> settings.Settings:
    """The environment's settings, with logging set up as they say."""
    chosen = settings.load()
    logging.configure(chosen.log_level, chosen.log_format)
    return chosen


def _run(work: Coroutine[Any, Any, T]) -> T:
    return uvloop.run(work)


def _tell_redis(reason: str) -> None:
    errors.print(f"calsync: CALSYNC_REDIS_URL: {reason.rstrip('. ')}; {redis_hint(reason)}", soft_wrap=True)


def _tell(reports: list[Report], *, dry_run: bool, as_json: bool) -> NoReturn:
    """Print what sweeps did, and end with the exit code that says how they went."""
    if as_json:
        sys.stdout.write(f"{tables.sweep_json(reports, dry_run=dry_run)}\n")
    else:
        for report in reports:
            for line in (*tables.planned_lines(report), *tables.unavailable_lines(report)):
                sys.stdout.write(f"{line}\n")
        output.print(tables.sweep_table(reports, dry_run=dry_run))
    for reason in dict.fromkeys(report.failure for report in reports if report.failure and "Redis: " in report.failure):
        _tell_redis(f"Redis: {reason.partition('Redis: ')[2]}")
    raise typer.Exit(0 if all(report.whole for report in reports) else FAULT)


def _tell_replayed(replayed: feed_commands.Replayed, *, as_json: bool) -> NoReturn:
    if as_json:
        sys.stdout.write(f"{feed_tables.replayed_json(replayed.records, replayed.results)}\n")
    else:
        output.print(feed_tables.replayed_table(replayed.records, replayed.results))
    raise typer.Exit(FAULT if replayed.incomplete else 0)


def _require_text(arguments: list[str]) -> None:
    """Raises ``ConfigurationError`` for bytes that are not text: they could be sent nowhere."""
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(["an argument is not UTF-8 text: type it again"]) from None


def main() -> None:
    """The entry point: every known fault becomes a message and an exit code."""
    try:
        _require_text(sys.argv[1:])
        cli()
    except ConfigurationError as error:
        for problem in error.problems:
            errors.print(f"calsync: {problem}", soft_wrap=True)
        sys.exit(USAGE)
    except StoreUnavailableError as error:
        _tell_redis(str(error))
        sys.exit(FAULT)
    except CoreUnavailableError as error:
        errors.print(f"calsync: CALSYNC_CORE_API_URL: {error}", soft_wrap=True)
        sys.exit(FAULT)
    except TransientError as error:
        errors.print(f"calsync: {error}", soft_wrap=True)
        sys.exit(FAULT)
