"""What commands print: tables for people, JSON with stable keys for machines."""

from collections.abc import Sequence
from typing import Any

import orjson
from rich.table import Table

from consumer.sync.report import CAUSES, Planned, Report


def sweep_table(reports: Sequence[Report], *, dry_run: bool) -> Table:
    """A row a site: what was repaired, or would be, by cause."""
    title = "What a sweep would repair" if dry_run else "What the sweep repaired"
    table = Table(title=title, title_justify="left")
    table.add_column("site", no_wrap=True)
    table.add_column("result", overflow="fold")
    columns = ("mailboxes", "unserved", "events", *CAUSES, "held")
    for column in columns:
        table.add_column(column, justify="right")
    for report in reports:
        counts = (report.mailboxes, report.unserved, report.events, *(report.repairs[cause] for cause in CAUSES))
        table.add_row(report.site_id, _result(report), *(str(count) for count in (*counts, report.held)))
    return table


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
            "events": report.events,
            "unusable_rows": report.unusable,
            "repairs": {cause: report.repairs[cause] for cause in CAUSES},
            "held": report.held,
        }
        | ({"changes": [_planned(planned) for planned in _in_order(report)]} if dry_run else {})
        for report in reports
    ]
    return orjson.dumps({"dry_run": dry_run, "sites": sites}, option=orjson.OPT_INDENT_2).decode()


def _in_order(report: Report) -> list[Planned]:
    return sorted(report.planned, key=lambda planned: (planned.address, planned.job_id))


def _planned(planned: Planned) -> dict[str, str]:
    return {"mailbox": planned.address, "job": planned.job_id, "step": planned.step, "cause": planned.cause}


def _result(report: Report) -> str:
    if report.failure:
        return f"failed: {report.failure}"
    return "deletions held: see --allow-mass-delete" if report.held else "whole"
