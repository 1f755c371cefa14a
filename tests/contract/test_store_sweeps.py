"""Data that sweeps read and keep, on the fake and on real Valkeys."""

from dataclasses import replace
from datetime import UTC, datetime

from consumer.domain.job import rank
from consumer.domain.link import Pending
from consumer.domain.mailbox import Mailbox
from consumer.sync.marks import Mark
from consumer.sync.run_outcome import RunOutcome
from consumer.sync.sweep_state import SweepState
from tests.contract.store_steps import ANNA, BEN, begin, link, linked
from tests.contract.whole_store import Store


async def test_the_links_and_pending_links_of_a_job_are_returned_by_mailbox(store: Store) -> None:
    await linked(store, ANNA)
    await begin(store, BEN)
    assert await store.remembered("J1") == {ANNA: link(), BEN: Pending("t1", rank(1))}
    assert await store.remembered("J2") == {}


async def test_each_job_of_a_site_with_an_event_that_is_not_over_is_counted_once(store: Store) -> None:
    await linked(store, ANNA)
    await linked(store, Mailbox("other", BEN.address))
    past = replace(link(), start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 1, 2, tzinfo=UTC))
    granted = await begin(store, BEN)
    await store.finish(granted.lease, RunOutcome(links={"J1": link(), "J2": link(), "J3": past}))
    await begin(store, Mailbox("acme", "chloe@acme.example"))  # a pending link is not an event
    assert await store.coming("acme") == 2
    assert await store.coming("nobody") == 0


async def test_counts_of_failed_reads_are_kept_until_they_are_replaced(store: Store) -> None:
    assert await store.unread("acme") == {}
    await store.remember_unread("acme", {ANNA.address: 2, BEN.address: 1})
    assert await store.unread("acme") == {ANNA.address: 2, BEN.address: 1}
    assert await store.unread("other") == {}
    await store.remember_unread("acme", {BEN.address: 2})
    assert await store.unread("acme") == {BEN.address: 2}
    await store.remember_unread("acme", {})
    assert await store.unread("acme") == {}


async def test_what_a_sweep_did_not_find_out_stays_as_it_was(store: Store) -> None:
    assert await store.sweep_states([]) == {}
    assert await store.sweep_states(["acme", "beta"]) == {"acme": SweepState(), "beta": SweepState()}
    await store.remember_sweep("acme", SweepState(1790000000.25, 0, 3))
    await store.remember_sweep("acme", SweepState(held=7))
    states = await store.sweep_states(["beta", "acme"])
    assert states == {"beta": SweepState(), "acme": SweepState(1790000000.25, 7, 3)}


async def test_the_marks_of_a_site_are_counted(store: Store) -> None:
    assert await store.count_dirty(["acme"]) == {"acme": 0}
    await store.mark_dirty([(ANNA, "J1"), (BEN, "J1"), (ANNA, "J1"), (Mailbox("other", ""), "J2")])
    assert await store.count_dirty(["acme", "beta"]) == {"acme": 2, "beta": 0}


async def test_marks_stay_until_the_sweep_of_their_site_removes_them(store: Store) -> None:
    await store.mark_dirty([(ANNA, "J1"), (Mailbox("other", ""), "J2"), (ANNA, "J1"), (BEN, "J1")])
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(forgotten={"J1"}, dirty={"J3"}))
    assert await store.dirty("other") == [Mark("", "J2")]
    marks = await store.dirty("acme")
    assert marks == [Mark(ANNA.address, "J1"), Mark(ANNA.address, "J3"), Mark(BEN.address, "J1")]
    await store.clean("acme", [marks[0], marks[2]])
    await store.clean("acme", [])
    assert await store.dirty("acme") == [Mark(ANNA.address, "J3")]


async def test_a_mark_that_was_set_again_since_the_sweep_read_it_stays(store: Store) -> None:
    await store.mark_dirty([(ANNA, "J1"), (BEN, "J1")])
    seen = await store.dirty("acme")
    await store.mark_dirty([(ANNA, "J1")])
    await store.clean("acme", seen)
    [left] = await store.dirty("acme")
    assert left == Mark(ANNA.address, "J1")
    assert left.stamp > seen[0].stamp
    await store.clean("acme", [left])
    await store.mark_dirty([(ANNA, "J1")])
    await store.clean("acme", [left])
    assert await store.dirty("acme") == [left]


async def test_the_number_of_events_in_the_window_is_remembered(store: Store) -> None:
    assert await store.events("acme") == 0
    await store.remember_events("acme", 7)
    assert await store.events("acme") == 7


async def test_linked_mailboxes_are_listed_in_byte_order_page_by_page_while_they_have_links(store: Store) -> None:
    for name in ("zoë", "anna", "Ben", "chloe", "dan"):
        await linked(store, Mailbox("acme", f"{name}@acme.example"))
    await linked(store, Mailbox("other", "else@other.example"))
    granted = await begin(store, Mailbox("acme", "dan@acme.example"))
    await store.finish(granted.lease, RunOutcome(tombstones={"J1": rank(1)}))
    found: list[str] = []
    while page := await store.linked("acme", found[-1] if found else ""):
        found += page
    assert found == ["Ben@acme.example", "anna@acme.example", "chloe@acme.example", "zoë@acme.example"]


async def test_a_sweep_is_claimed_once_an_interval(store: Store) -> None:
    assert await store.claim_sweep("acme", 60)
    assert not await store.claim_sweep("acme", 60)
    assert await store.claim_sweep("other", 60)
    await store.release_sweep("acme")
    assert await store.claim_sweep("acme", 60)


async def test_events_that_are_linked_in_other_mailboxes_are_found(store: Store) -> None:
    ids = {"J1": "AAMkAD==", "J2": "plain id", "J3": "AAMk-_==", "J4": "AAMkAD=="}
    granted = await begin(store, BEN)
    await store.finish(
        granted.lease, RunOutcome(links={job_id: link(event_id=ids[job_id]) for job_id in ("J1", "J2", "J3")})
    )
    asked = [*ids.items(), ("J1", "another"), ("J5", "plain id")]
    assert await store.linked_elsewhere(ANNA, asked) == {"AAMkAD==", "plain id", "AAMk-_=="}
    assert await store.linked_elsewhere(BEN, asked) == set()
    assert await store.linked_elsewhere(ANNA, [("J4", "AAMkAD==")]) == set()
    many = [(f"J{number}", "plain id") for number in range(2000)]
    assert await store.linked_elsewhere(ANNA, many) == {"plain id"}
