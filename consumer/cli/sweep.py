"""``calsync sweep``: one sweep, now."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from consumer.cli.console import Json, SiteOptions, configured, errors, output, print_document, run_until_done
from consumer.cli.entry import FAULT
from consumer.cli.opened import address_of, named_sites, opened
from consumer.cli.progress import sweep_progress
from consumer.cli.redis_hint import redis_message
from consumer.domain.compare import CAUSES
from consumer.domain.errors import ConfigurationError, SiteRefusedError
from consumer.domain.site import Site
from consumer.settings import Settings
from consumer.sync.bounded import each
from consumer.sync.dry_run import PlannedRepair, PlanSink
from consumer.sync.report import Report
from consumer.sync.scheduler import SITES_AT_ONCE

cli = typer.Typer(add_completion=False)


@cli.command()
def sweep(
    site: SiteOptions = None,
    mailbox: Annotated[
        str | None,
        typer.Option(
            help="Only this calendar email; its time zone is read again. "
            "With --site, even if neither Core nor Redis names it."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing: print what would be done.")] = False,
    allow_mass_delete: Annotated[
        bool, typer.Option("--allow-mass-delete", help="Delete the events of vanished jobs, however many.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the calendars with Core's schedule, once, now, and repair what differs."""
    planned: list[PlannedRepair] | None = [] if dry_run else None
    with sweep_progress(errors) as progress:
        work = sweep_once(
            configured(),
            site or [],
            mailbox=mailbox,
            on_plan=None if planned is None else planned.append,
            allow_mass_delete=allow_mass_delete,
            progress=progress,
        )
        reports = run_until_done(work)
    report_sweeps(reports, planned=planned, as_json=as_json)


async def sweep_once(
    settings: Settings,
    site_ids: Sequence[str],
    *,
    mailbox: str | None = None,
    on_plan: PlanSink | None = None,
    allow_mass_delete: bool = False,
    progress: Callable[[Report], None] = lambda _report: None,
) -> list[Report]:
    """Sweep sites once, now: those of ``site_ids``, or all; in each everything, or one mailbox.

    Args:
        settings: of the service.
        site_ids: at most ``SITES_AT_ONCE`` of these are swept at a time.
        mailbox: sweep this address alone.
        on_plan: makes it a dry run, and takes what a sweep would do.
        allow_mass_delete: delete the events of vanished jobs even if the fuse has blown.
        progress: called with a site's report each time a mailbox has been visited, and when the site is done.

    Raises:
        ConfigurationError: the sites file is unusable or does not name one of the sites, or neither Core nor a link
            names the mailbox.
        StoreUnavailableError: Redis is unavailable or refuses writes; nothing was begun.
    """
    async with opened(settings, on_plan=on_plan) as (engine, sites):
        if on_plan is None:
            await engine.status.check()
        chosen = named_sites(site_ids, sites)
        only = None if mailbox is None else address_of(mailbox)
        paused = await engine.operators.paused()
        reports: dict[str, Report] = {}
        sweep_one = partial(
            engine.sweeper.sweep,
            allow_mass_delete=allow_mass_delete,
            only=only,
            named=len(chosen) == 1,
            progress=progress,
        )

        async def swept(site: Site) -> None:
            if site.site_id in paused:
                reports[site.site_id] = Report(site.site_id, failure="paused by hand: see calsync site resume")
                return
            report = reports[site.site_id] = await sweep_one(site)
            _finish(report, engine.sites.suspended(site.site_id), is_alone=only is not None)
            progress(report)

        await each(chosen, asyncio.Semaphore(SITES_AT_ONCE), swept)
    in_order = [reports[site.site_id] for site in chosen]
    return in_order if only is None else _that_found(only, in_order)


def _that_found(address: str, reports: Sequence[Report]) -> list[Report]:
    """The reports of the sites that have the mailbox. Raises ``ConfigurationError`` if none has it."""
    found = [report for report in reports if report.mailboxes or report.failure]
    if not found:
        raise ConfigurationError(
            [f"--mailbox {address}: neither Core nor a link names it; say whose it is with --site"]
        )
    return found


def _finish(report: Report, fault: SiteRefusedError | None, *, is_alone: bool) -> None:
    """Note why a sweep failed that found its site suspended, or its only mailbox (``is_alone``) parked."""
    if fault is not None:
        report.failure = report.failure or f"suspended: {fault}"
    elif is_alone and report.unserved:
        report.failure = report.failure or "the mailbox is parked: see calsync mailbox list"
    report.done = True


def report_sweeps(reports: Sequence[Report], *, planned: Sequence[PlannedRepair] | None, as_json: bool) -> NoReturn:
    """Print what sweeps did, or in a dry run what they planned, and exit with the code of their outcome."""
    if as_json:
        print_document(document(reports, planned))
    else:
        for report in reports:
            for line in (*planned_lines(report.site_id, planned or ()), *unavailable_lines(report)):
                sys.stdout.write(f"{line}\n")
        output.print(table(reports, dry_run=planned is not None))
    for reason in dict.fromkeys(report.failure for report in reports if report.failure and "Redis: " in report.failure):
        sys.stderr.write(f"calsync: {redis_message('Redis: ' + reason.partition('Redis: ')[2])}\n")
    raise typer.Exit(0 if all(report.whole for report in reports) else FAULT)


def table(reports: Sequence[Report], *, dry_run: bool) -> Table:
    """One row for each site: what was repaired, or would be, by cause. It fits 80 columns."""
    table = Table(title="Sweep: a dry run" if dry_run else "Sweep", title_justify="left")
    table.add_column("site", no_wrap=True)
    table.add_column("result", overflow="fold", ratio=1)
    for column in ("mailboxes", "unserved", "events"):
        table.add_column(column, justify="right")
    table.add_column("would repair" if dry_run else "repaired", overflow="fold")
    table.add_column("held", justify="right")
    for report in reports:
        counts = (str(count) for count in (report.mailboxes, report.unserved, report.events))
        repairs = ", ".join(f"{report.repairs[cause]} {cause}" for cause in CAUSES if report.repairs[cause])
        table.add_row(report.site_id, _result(report), *counts, repairs or "nothing", str(report.held))
    return table


def _result(report: Report) -> str:
    if report.failure:
        return f"failed: {report.failure}"
    if report.held:
        return "deletions held: see --allow-mass-delete"
    count = len(report.unavailable)
    return f"whole, but for {count} unavailable" if count else "whole"


def unavailable_lines(report: Report) -> list[str]:
    """One line for each mailbox that could not be read in several sweeps in a row."""
    return [
        f"{report.site_id}  {mailbox.address}  unavailable, in {mailbox.sweeps} sweeps in a row: {mailbox.reason}"
        for mailbox in report.unavailable
    ]


def planned_lines(site_id: str, planned: Sequence[PlannedRepair]) -> list[str]:
    """One line for each repair of the site that a dry run did not make."""
    return [
        f"{site_id}  {repair.mailbox.address}  job {repair.job_id}: {repair.step} ({repair.cause})"
        for repair in _of_site(site_id, planned)
    ]


def document(reports: Sequence[Report], planned: Sequence[PlannedRepair] | None) -> dict[str, Any]:
    """``{"dry_run": …, "sites": [...]}``; ``planned`` is ``None`` unless it was a dry run."""
    sites: list[dict[str, Any]] = [
        {
            "site": report.site_id,
            "whole": report.whole,
            "failure": report.failure,
            "mailboxes": report.mailboxes,
            "unserved": report.unserved,
            "unavailable": [
                {"mailbox": mailbox.address, "reason": mailbox.reason, "sweeps": mailbox.sweeps}
                for mailbox in report.unavailable
            ],
            "events": report.events,
            "unusable_rows": report.unusable,
            "repairs": {cause: report.repairs[cause] for cause in CAUSES},
            "held": report.held,
        }
        | ({} if planned is None else {"changes": [_change(repair) for repair in _of_site(report.site_id, planned)]})
        for report in reports
    ]
    return {"dry_run": planned is not None, "sites": sites}


def _of_site(site_id: str, planned: Sequence[PlannedRepair]) -> list[PlannedRepair]:
    ours = [repair for repair in planned if repair.mailbox.site == site_id]
    return sorted(ours, key=lambda repair: (repair.mailbox.address, repair.job_id))


def _change(repair: PlannedRepair) -> dict[str, str]:
    return {"mailbox": repair.mailbox.address, "job": repair.job_id, "step": repair.step, "cause": repair.cause}
