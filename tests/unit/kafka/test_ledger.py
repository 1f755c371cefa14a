"""The ledger of a partition never passes an unfinished offset."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.ledger import Ledger

OFFSETS = st.lists(st.integers(1, 4), max_size=40).map(lambda gaps: [sum(gaps[: n + 1]) for n in range(len(gaps))])
"""Ascending, with the gaps that compaction leaves."""


def test_a_new_ledger_has_no_position_to_commit() -> None:
    ledger = Ledger()
    assert (len(ledger), ledger.oldest(), ledger.take_position()) == (0, None, None)


def test_the_position_stops_at_the_oldest_open_record_and_then_passes_all_that_are_done() -> None:
    ledger = Ledger()
    for offset in (10, 11, 15):
        ledger.add(offset, offset / 10, 1)
    ledger.done(11)
    ledger.done(15)
    assert (ledger.take_position(), ledger.oldest(), len(ledger)) == (10, 1.0, 1)
    ledger.done(10)
    assert (ledger.take_position(), ledger.oldest(), len(ledger)) == (16, None, 0)


def test_a_position_is_returned_once_unless_its_commit_failed() -> None:
    ledger = Ledger()
    ledger.add(0, 0.0, 1)
    ledger.done(0)
    assert [ledger.take_position(), ledger.take_position()] == [1, None]
    ledger.forget_position()
    assert [ledger.take_position(), ledger.take_position()] == [1, None]


def test_a_record_that_is_done_twice_counts_once() -> None:
    ledger = Ledger()
    for offset in (0, 1, 2):
        ledger.add(offset, 0.0, 1)
    for offset in (0, 0, 1, 0, 1):
        ledger.done(offset)
    assert len(ledger) == 1
    assert ledger.take_position() == 2


@given(OFFSETS, st.data())
def test_the_position_never_passes_an_open_record(offsets: list[int], data: st.DataObject) -> None:
    ledger = Ledger()
    waiting = list(offsets)
    unfinished: list[int] = []
    position = 0
    while waiting or unfinished:
        if waiting and (not unfinished or data.draw(st.booleans())):
            unfinished.append(waiting.pop(0))
            ledger.add(unfinished[-1], float(unfinished[-1]), unfinished[-1])
        else:
            ledger.done(unfinished.pop(data.draw(st.integers(0, len(unfinished) - 1))))
        assert (len(ledger), ledger.bytes) == (len(unfinished), sum(unfinished))
        assert ledger.oldest() == (float(min(unfinished)) if unfinished else None)
        taken = ledger.take_position()
        if taken is not None:
            assert taken > position
            position = taken
        assert all(offset >= position for offset in unfinished)
    assert position == (offsets[-1] + 1 if offsets else 0)


def test_a_covering_record_takes_over_the_age_of_the_covered_one() -> None:
    ledger = Ledger()
    for offset in (0, 1, 2, 3):
        ledger.add(offset, 10.0 + offset, 1)
    ledger.done(0, 2)
    ledger.done(1)
    assert (ledger.take_position(), ledger.oldest(), len(ledger), ledger.bytes) == (2, 10.0, 2, 2)
    ledger.done(2, 3)
    assert (ledger.take_position(), ledger.oldest()) == (3, 10.0)
    ledger.done(3)
    assert (ledger.take_position(), ledger.oldest(), ledger.bytes) == (4, None, 0)


def test_the_end_of_a_partition_passes_no_open_record() -> None:
    ledger = Ledger()
    ledger.add(3, 0.0, 1)
    ledger.reached(9)
    assert (ledger.take_position(), ledger.next) == (3, 9)
    ledger.done(3)
    assert ledger.take_position() == 9
    ledger.reached(5)
    assert ledger.take_position() is None
