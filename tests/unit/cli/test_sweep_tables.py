"""What commands print of a sweep."""

import io
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from consumer.cli.sweep import document, planned_lines, table, unavailable_lines
from consumer.domain.compare import Cause
from consumer.domain.event import Event
from consumer.domain.mailbox import Mailbox
from consumer.domain.plan import Create, Leave, Plan
from consumer.sync.dry_run import PlannedRepair
from consumer.sync.report import Report, Unavailable

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
LIFT = Event("Lift", "", "", NOON, NOON, "UTC", "", "")


def report(**more: Any) -> Report:
    repairs: Counter[Cause] = Counter({"missed": 2, "copied": 1})
    return Report("acme", mailboxes=3, unserved=1, events=40, repairs=repairs, **more)


def printed(reports: list[Report], *, dry_run: bool = False) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(reports, dry_run=dry_run))
    return console.export_text()


def test_the_table_has_a_row_for_each_site_with_its_repairs_by_cause() -> None:
    lines = printed([report(), Report("globex")]).splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[4:6]]
    assert cells == [
        ["acme", "whole", "3", "1", "40", "2 missed, 1 copied", "0"],
        ["globex", "whole", "0", "0", "0", "nothing", "0"],
    ]


@pytest.mark.parametrize(
    ("more", "shown"),
    [({"failure": "HTTP 500"}, "failed: HTTP 500"), ({"held": 30}, "deletions held: see --allow-mass-delete")],
)
def test_a_failure_is_shown_in_the_table(more: dict[str, object], shown: str) -> None:
    assert shown in printed([report(**more)])


def test_unavailable_mailboxes_are_shown_although_the_sweep_is_complete() -> None:
    sick = report(unavailable=[Unavailable("a@x", "503 MailboxInfoStale", 7)])
    assert sick.whole
    assert "whole, but for 1 unavailable" in printed([sick])
    assert unavailable_lines(sick) == ["acme  a@x  unavailable, in 7 sweeps in a row: 503 MailboxInfoStale"]
    [site] = document([sick], None)["sites"]
    assert site["unavailable"] == [{"mailbox": "a@x", "reason": "503 MailboxInfoStale", "sweeps": 7}]
    assert (site["whole"], site["failure"]) == (True, None)


def test_a_dry_run_prints_each_plan_in_the_order_of_mailboxes_and_jobs() -> None:
    first, second = Mailbox("acme", "a@x"), Mailbox("acme", "b@x")
    planned = [
        PlannedRepair(second, "J2", "edited", None),
        PlannedRepair(second, "J1", "missed", Plan(Create(LIFT))),
        PlannedRepair(first, "J2", "copied", Plan(Leave(), ("copy",))),
        PlannedRepair(Mailbox("globex", "a@x"), "J9", "missed", Plan(Create(LIFT))),
    ]
    assert planned_lines("acme", planned) == [
        "acme  a@x  job J2: delete the copy (copied)",
        "acme  b@x  job J1: create (missed)",
        "acme  b@x  job J2: insist on Core's state (edited)",
    ]
    assert "would repair" in printed([report()], dry_run=True)
    acme, globex = document([report(), Report("globex")], planned)["sites"]
    assert acme["changes"][0] == {"mailbox": "a@x", "job": "J2", "step": "delete the copy", "cause": "copied"}
    assert [change["job"] for change in acme["changes"]] == ["J2", "J1", "J2"]
    assert [change["job"] for change in globex["changes"]] == ["J9"]


def test_the_document_has_every_cause_and_no_changes_unless_it_was_a_dry_run() -> None:
    made = document([report()], None)
    assert made["dry_run"] is False
    [site] = made["sites"]
    assert site["repairs"] == {"missed": 2, "entered": 0, "edited": 0, "deleted": 0, "copied": 1, "orphaned": 0}
    assert "changes" not in site
