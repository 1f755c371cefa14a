"""Two changes of one job that wait in one lane: which one is kept, and which record is still owed."""

from datetime import UTC, datetime

import pytest

from consumer.domain.job import Deletion, Job, State
from consumer.sync.change import Change, SweepView
from consumer.sync.receipts import Place, Receipt

NOW = datetime(2026, 11, 28, tzinfo=UTC)


class Ledger:
    """The result of each record."""

    def __init__(self) -> None:
        self.results: dict[Place, str] = {}
        self.live = True

    def change(self, revision: int, offset: int, *, partition: int = 0, sweep_view: SweepView | None = None) -> Change:
        state: State = Job("J1", "acme", revision, "scheduled")
        return self.of(state, Place(partition, offset), sweep_view)

    def of(self, state: State, place: Place, sweep_view: SweepView | None = None) -> Change:
        receipt = Receipt(place, self.give_back, lambda: self.live, place)
        return Change("J1", state, receipt, sweep_view=sweep_view)

    def give_back(self, receipt: Receipt, result: str) -> None:
        assert isinstance(receipt.record, Place)
        self.results[receipt.record] = result


def test_a_newer_state_covers_the_record_of_an_older_one() -> None:
    ledger = Ledger()
    kept = ledger.change(1, 10).merge(ledger.change(2, 11))
    assert (kept.state.rank, kept.older) == (4, [])
    assert ledger.results == {Place(0, 10): "superseded"}


def test_an_older_state_that_comes_later_is_owed_until_the_newer_one_is_done() -> None:
    ledger = Ledger()
    kept = ledger.change(2, 10).merge(ledger.change(1, 11))
    assert (kept.state.rank, ledger.results) == (4, {})
    kept.done("applied")
    assert ledger.results == {Place(0, 10): "applied", Place(0, 11): "superseded"}


def test_a_table_read_many_times_costs_one_record_a_job() -> None:
    ledger = Ledger()
    kept = ledger.change(1, 0)
    for offset in range(1, 241):
        kept = kept.merge(ledger.change(1, offset))
    assert kept.older == []
    assert kept.receipt.place == Place(0, 240)
    assert set(ledger.results.values()) == {"superseded"}
    assert len(ledger.results) == 240


def test_an_equal_state_of_another_partition_is_owed_too() -> None:
    ledger = Ledger()
    kept = ledger.change(1, 10).merge(ledger.change(1, 11, partition=1))
    assert ledger.results == {}
    kept.done("applied")
    assert len(ledger.results) == 2


def test_a_record_whose_partition_has_moved_covers_nothing() -> None:
    ledger = Ledger()
    present, later = ledger.change(1, 10), ledger.change(1, 11)
    ledger.live = False
    present.merge(later)
    assert ledger.results == {}


@pytest.mark.parametrize("sweep_first", [True, False])
def test_of_equal_states_what_a_sweep_saw_is_kept(sweep_first: bool) -> None:
    ledger = Ledger()
    sweep_view = SweepView(None, ("event",), "edited")
    seen, record = ledger.change(1, 10, sweep_view=sweep_view), ledger.change(1, 11)
    kept = seen.merge(record) if sweep_first else record.merge(ledger.change(1, 9, sweep_view=sweep_view))
    assert kept.sweep_view == sweep_view


def test_what_a_sweep_saw_does_not_outlive_a_newer_state() -> None:
    ledger = Ledger()
    kept = ledger.change(1, 10, sweep_view=SweepView(None, ("event",), "edited")).merge(ledger.change(2, 11))
    assert kept.sweep_view is None


def test_a_create_in_doubt_is_remembered_with_either_state() -> None:
    ledger = Ledger()
    doubtful = ledger.change(1, 10)
    doubtful.transaction_id = "t1"
    assert doubtful.merge(ledger.change(2, 11)).transaction_id == "t1"
    doubtful = ledger.change(3, 12)
    doubtful.transaction_id = "t3"
    assert ledger.change(1, 13).merge(doubtful).transaction_id == "t3"


def test_a_deletion_replaces_the_state_before_it() -> None:
    ledger = Ledger()
    kept = ledger.change(1, 10).merge(ledger.of(Deletion("J1", 3), Place(0, 11)))
    assert isinstance(kept.state, Deletion)
    assert ledger.results == {Place(0, 10): "superseded"}


def test_records_under_a_sweeps_state_are_owed_and_the_newest_is_first() -> None:
    ledger = Ledger()
    swept: State = Job("J1", "acme", 9, "scheduled")
    kept = ledger.change(1, 10).merge(Change("J1", swept, Receipt(None, lambda *_: None, lambda: True)))
    kept = kept.merge(ledger.change(3, 11)).merge(ledger.change(2, 12))
    assert [receipt.place for receipt in kept.records_owed()] == [Place(0, 11), Place(0, 12), Place(0, 10)]
    assert ledger.results == {}


@pytest.mark.parametrize("sweep_first", [True, False])
def test_only_a_sweep_learns_that_core_may_be_right_against_a_newer_state(sweep_first: bool) -> None:
    ledger = Ledger()
    answers: list[str] = []
    state: State = Job("J1", "acme", 1, "scheduled")
    receipt = Receipt(None, lambda _, result: answers.append(result), lambda: True)
    swept, record = Change("J1", state, receipt, sweep_view=SweepView(None, (), "missed")), ledger.change(1, 10)
    kept = swept.merge(record) if sweep_first else record.merge(swept)
    kept.done("outranked")
    assert answers == ["outranked"]
    assert ledger.results == {Place(0, 10): "superseded"}
