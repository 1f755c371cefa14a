"""What commands print: tables for people, JSON with stable keys for machines."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from rich.table import Table

from consumer.sync.sweep import Report

CAUSES: Final = ("missed", "entered", "edited", "deleted", "copied", "orphaned")
"""Why a sweep writes."""


def sweep_table(reports: Sequence[Report]) -> Table:
    """A row a site."""
    table = Table(title="Sweep", title_justify="left")
    table.add_column("site", no_wrap=True)
    table.add_column("result", overflow="fold")
    for column in ("mailboxes", "unserved", "events"):
        table.add_column(column, justify="right")
    table.add_column("repaired", overflow="fold")
    table.add_column("held", justify="right")
    for report in reports:
        counts = (str(count) for count in (report.mailboxes, report.unserved, report.events))
        repairs = ", ".join(f"{report.repairs[cause]} {cause}" for cause in CAUSES if report.repairs[cause])
        table.add_row(report.site_id, _result(report), *counts, repairs or "nothing", str(report.held))
    return table


def sweep_json(reports: Sequence[Report]) -> str:
    """One document: ``{"sites": [...]}``."""
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
        for report in reports
    ]
    return orjson.dumps({"sites": sites}, option=orjson.OPT_INDENT_2).decode()


def _result(report: Report) -> str:
    if report.failure:
        return f"failed: {report.failure}"
    return "deletions held: see --allow-mass-delete" if report.held else "whole"
