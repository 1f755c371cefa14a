"""What is a fault of the feed, and what is only Debezium repeating itself."""

from consumer.domain.job import Job
from consumer.kafka.decode import Changed, Deleted, Incomplete, Truncated
from consumer.kafka.feed_check import FeedCheck
from consumer.kafka.record import Epoch, Record


def record(offset: int) -> Record:
    return Record("topic", 0, offset, b"J1", b"", [], 1000.0, Epoch(0))


def state(revision: int, site_id: str = "acme") -> Job:
    return Job("J1", site_id, revision, "scheduled")


def faults(*changes: tuple[int, float | None]) -> list[str]:
    check = FeedCheck({"acme"})
    for offset, (revision, committed_at) in enumerate(changes):
        check.read(record(offset), Changed(state(revision), committed_at))
    return list(check.faults)


def test_a_revision_lower_than_that_of_an_earlier_commit_is_a_fault() -> None:
    assert faults((5, 10.0), (4, 11.0)) == ["a revision lower than the one before it"]


def test_repeated_records_and_snapshots_are_not_faults() -> None:
    assert faults((4, 10.0), (5, 11.0), (4, 10.0), (5, 11.0)) == []
    assert faults((5, 10.0), (4, None)) == []


def test_a_row_that_was_created_again_may_have_a_lower_revision() -> None:
    check = FeedCheck({"acme"})
    check.read(record(0), Changed(state(5), 10.0))
    check.read(record(1), Deleted("J1", 11.0))
    check.read(record(2), Changed(state(1), 12.0))
    assert check.faults == {}


def test_each_kind_of_fault_is_counted_with_its_newest_record() -> None:
    check = FeedCheck({"acme"})
    check.unreadable(record(0), "no framing")
    check.unreadable(record(1), "no framing")
    check.read(record(2), Changed(state(1, "nobody"), 10.0))
    check.read(record(3), Incomplete("J1", "acme", 10.0))
    check.read(record(4), Truncated())
    check.read(record(5), Changed(state(2), 5000.0))
    assert (check.faults["no framing"].count, check.faults["no framing"].offset) == (2, 1)
    assert len(check.faults) == 5
    assert check.records == 6


def test_an_unusable_address_is_a_fault_of_the_feed() -> None:
    check = FeedCheck({"acme"})
    check.read(record(0), Changed(Job("J1", "acme", 5, "scheduled", unusable_addresses=2), 10.0))
    [(what, fault)] = check.faults.items()
    assert what == "a calendar_email that no mailbox can have"
    assert fault.count == 1
