"""Which mailboxes a sweep could not read, and whether it is complete without them."""

from consumer.domain.compare import Unread
from consumer.sync.reading import Reading
from consumer.sync.report import Report

SICK = Unread("failed", "503 ErrorMailboxMoveInProgress")


def test_a_mailbox_that_fails_at_both_of_its_visits_counts_once() -> None:
    """Core's list may name a mailbox out of order, after it was visited for its links."""
    report = Report("acme")
    reading = Reading(report)
    reading.was_read()
    for _ in range(2):
        reading.was_not_read("a@x.example", SICK)
    assert reading.judge({}) == {"a@x.example": 1}
    assert report.failure == "1 mailbox could not be read: 503 ErrorMailboxMoveInProgress"
    assert report.unserved == 1


def test_a_mailbox_that_is_unavailable_at_both_of_its_visits_leaves_the_sweep_complete() -> None:
    report = Report("acme")
    reading = Reading(report)
    reading.was_read()
    for _ in range(2):
        reading.was_not_read("a@x.example", SICK)
    assert reading.judge({"a@x.example": 2}) == {"a@x.example": 3}
    assert report.failure is None
    assert [found.address for found in report.unavailable] == ["a@x.example"]
