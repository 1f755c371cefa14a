"""``calsync sweep``: one sweep, now."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from consumer.cli.console import Json, SiteOptions, configured, errors, output, print_document, run_until_done
from consumer.cli.entry import FAULT
from consumer.cli.opened import address_of, named_sites, opened
from consumer.cli.progress import sweep_progress
from consumer.cli.redis_hint import redis_message
from consumer.domain.compare import CAUSES
from consumer.domain.errors import ConfigurationError
from consumer.domain.site import Site
from consumer.settings import Settings
from consumer.sync.report import Planned, Report
from consumer.sync.scheduler import SITES_AT_ONCE

cli = typer.Typer(add_completion=False)


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
        work = sweep_once(
            configured(),
            site or [],
            mailbox=mailbox,
            dry_run=dry_run,
            allow_mass_delete=allow_mass_delete,
            progress=progress,
        )
        reports = run_until_done(work)
    report_sweeps(reports, dry_run=dry_run, as_json=as_json)


async def sweep_once(
    settings: Settings,
    site_ids: Sequence[str],
    *,
    mailbox: str | None = None,
    dry_run: bool = False,
    allow_mass_delete: bool = False,
    progress: Callable[[Report], None] = lambda _report: None,
) -> list[Report]:
    """Sweep sites once, now: those named, or all; in each everything, or one mailbox.

    ``progress`` is called with a site's report whenever a mailbox has been compared, and when the site is done.

    Raises:
        ConfigurationError: the sites file cannot be used or does not name one of the sites, or no site is known to
            have the mailbox.
        StoreUnavailableError: Redis cannot be reached or takes no writes: nothing was begun.
    """
    async with opened(settings, dry_run=dry_run) as (engine, sites):
        if not dry_run:
            await engine.store.check()
        chosen = named_sites(site_ids, sites)
        only = None if mailbox is None else address_of(mailbox)
        paused = await engine.store.paused()
        turns = asyncio.Semaphore(SITES_AT_ONCE)

        async def swept(site: Site) -> Report:
            if site.site_id in paused:
                return Report(site.site_id, failure="paused by hand: see calsync site resume")
            async with turns:
                report = await engine.sweeper.sweep(
                    site,
                    allow_mass_delete=allow_mass_delete,
                    only=only,
                    named=len(chosen) == 1,
                    progress=progress,
                )
            fault = engine.states.suspended(site.site_id)
            if fault is not None:
                report.failure = report.failure or f"suspended: {fault}"
            elif only is not None and report.unserved:
                report.failure = report.failure or "the mailbox is parked: see calsync mailbox list"
            report.done = True
            progress(report)
            return report

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(swept(site)) for site in chosen]
        reports = [task.result() for task in tasks]
    if only is None:
        return reports
    found = [report for report in reports if report.mailboxes or report.failure]
    if not found:
        raise ConfigurationError([f"--mailbox {only}: neither Core nor a link names it; say whose it is with --site"])
    return found


def report_sweeps(reports: Sequence[Report], *, dry_run: bool, as_json: bool) -> NoReturn:
    """Print what sweeps did, and end with the exit code that says how they went."""
    if as_json:
        print_document(document(reports, dry_run=dry_run))
    else:
        for report in reports:
            for line in (*planned_lines(report), *unavailable_lines(report)):
                sys.stdout.write(f"{line}\n")
        output.print(table(reports, dry_run=dry_run))
    for reason in dict.fromkeys(report.failure for report in reports if report.failure and "Redis: " in report.failure):
        sys.stderr.write(f"calsync: {redis_message('Redis: ' + reason.partition('Redis: ')[2])}\n")
    raise typer.Exit(0 if all(report.whole for report in reports) else FAULT)


def table(reports: Sequence[Report], *, dry_run: bool) -> Table:
    """A row a site: what was repaired, or would be, by cause; legible on 80 columns too."""
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
    """One line a mailbox that could not be read in several sweeps in a row."""
    return [
        f"{report.site_id}  {mailbox.address}  unavailable, in {mailbox.sweeps} sweeps in a row: {mailbox.reason}"
        for mailbox in report.unavailable
    ]


def planned_lines(report: Report) -> list[str]:
    """One line a change that a dry run did not make."""
    return [
        f"{report.site_id}  {planned.address}  job {planned.job_id}: {planned.step} ({planned.cause})"
        for planned in _in_order(report)
    ]


def document(reports: Sequence[Report], *, dry_run: bool) -> dict[str, Any]:
    """``{"dry_run": …, "sites": [...]}``."""
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
        | ({"changes": [_change(planned) for planned in _in_order(report)]} if dry_run else {})
        for report in reports
    ]
    return {"dry_run": dry_run, "sites": sites}


def _in_order(report: Report) -> list[Planned]:
    return sorted(report.planned, key=lambda planned: (planned.address, planned.job_id))


def _change(planned: Planned) -> dict[str, str]:
    return {"mailbox": planned.address, "job": planned.job_id, "step": planned.step, "cause": planned.cause}
