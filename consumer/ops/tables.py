"""What commands print: tables for people, JSON with stable keys for machines."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.table import Table

from consumer.domain.mailbox import Mailbox
from consumer.sync.ports import Parking, SiteStanding
from consumer.sync.report import CAUSES, Planned, Report


def sweep_table(reports: Sequence[Report], *, dry_run: bool) -> Table:
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


def sweep_json(reports: Sequence[Report], *, dry_run: bool) -> str:
    """One document: ``{"dry_run": …, "sites": [...]}``."""
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
        | ({"changes": [_planned(planned) for planned in _in_order(report)]} if dry_run else {})
        for report in reports
    ]
    return document({"dry_run": dry_run, "sites": sites})


def parked_table(parked: Sequence[tuple[Mailbox, Parking]]) -> Table:
    """A row a parked mailbox."""
    table = Table(title="Parked mailboxes", title_justify="left")
    for column in ("site", "mailbox", "since", "reason", "tried"):
        table.add_column(column, overflow="fold")
    for mailbox, parking in parked:
        reason = ": ".join(part for part in (parking.code, parking.note) if part)
        tried = "hourly" if parking.hourly else "when enabled"
        table.add_row(mailbox.site, mailbox.address, moment(parking.since), reason, tried)
    return table


def parked_json(parked: Sequence[tuple[Mailbox, Parking]]) -> str:
    """One document: ``{"parked": [...]}``."""
    entries = [
        {
            "site": mailbox.site,
            "mailbox": mailbox.address,
            "since": moment(parking.since),
            "code": parking.code,
            "note": parking.note,
            "hourly": parking.hourly,
        }
        for mailbox, parking in parked
    ]
    return document({"parked": entries})


def sites_table(standings: Sequence[SiteStanding]) -> Table:
    """A row a site."""
    table = Table(title="Sites", title_justify="left")
    for column in ("site", "name", "state", "secret expires"):
        table.add_column(column, overflow="fold")
    for column in ("jobs", "parked mailboxes", "dirty"):
        table.add_column(column, justify="right")
    for standing in standings:
        site = standing.site
        state = "served" if standing.paused_since is None else f"paused since {moment(standing.paused_since)}"
        counts = (standing.events, standing.parked, standing.dirty)
        expires = site.client_secret_expires
        table.add_row(site.site_id, site.name, state, str(expires or ""), *(str(count) for count in counts))
    return table


def sites_json(standings: Sequence[SiteStanding]) -> str:
    """One document: ``{"sites": [...]}``."""
    entries = [
        {
            "site": standing.site.site_id,
            "name": standing.site.name,
            "timezone": standing.site.timezone,
            "paused_since": None if standing.paused_since is None else moment(standing.paused_since),
            "client_secret_expires": standing.site.client_secret_expires,
            "events": standing.events,
            "parked_mailboxes": standing.parked,
            "dirty": standing.dirty,
        }
        for standing in standings
    ]
    return document({"sites": entries})


def moment(unix_time: float) -> str:
    """RFC 3339, UTC, to the second."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def document(content: dict[str, Any]) -> str:
    """JSON for machines, legible for people."""
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()


def _in_order(report: Report) -> list[Planned]:
    return sorted(report.planned, key=lambda planned: (planned.address, planned.job_id))


def _planned(planned: Planned) -> dict[str, str]:
    return {"mailbox": planned.address, "job": planned.job_id, "step": planned.step, "cause": planned.cause}


def _result(report: Report) -> str:
    if report.failure:
        return f"failed: {report.failure}"
    if report.held:
        return "deletions held: see --allow-mass-delete"
    count = len(report.unavailable)
    return f"whole, but for {count} unavailable" if count else "whole"
