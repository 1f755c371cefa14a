"""Settings of operators, on the fake and on real Valkeys."""

import pytest

from consumer.sync.grant import Grant, Parked
from consumer.sync.parking import BY_HAND, Parking
from consumer.sync.run_outcome import RunOutcome
from tests.contract.store_steps import ANNA, APP, BEN, begin
from tests.contract.whole_store import Store


async def test_a_parked_mailbox_is_not_leased(store: Store) -> None:
    await store.park(ANNA, "ErrorInvalidUser", hourly=False)
    assert await store.begin(ANNA, APP, "t", []) == Parked("ErrorInvalidUser")
    await store.park(BEN, "ErrorAccessDenied", hourly=True)
    assert await store.begin(BEN, APP, "t", []) == Parked("ErrorAccessDenied")
    assert dict(await store.list_parked()) == {
        ANNA: Parking("ErrorInvalidUser", hourly=False),
        BEN: Parking("ErrorAccessDenied", hourly=True),
    }
    await store.enable(ANNA)
    assert isinstance(await store.begin(ANNA, APP, "t", []), Grant)


async def test_a_mailbox_parked_until_enabled_stays_so_when_it_is_to_be_tried_hourly(store: Store) -> None:
    await store.park(ANNA, BY_HAND, hourly=False, note="on leave")
    await store.park(ANNA, "ErrorAccessDenied", hourly=True)
    assert await store.list_parked() == [(ANNA, Parking(BY_HAND, hourly=False, note="on leave"))]
    await store.park(BEN, "ErrorAccessDenied", hourly=True)
    await store.park(BEN, BY_HAND, hourly=False)
    assert dict(await store.list_parked())[BEN] == Parking(BY_HAND, hourly=False)


async def test_a_partition_is_blocked_until_it_is_unblocked(store: Store) -> None:
    before = await store.time()
    await store.block("topic", 3, 70)
    await store.block("topic", 1, 5)
    await store.block("other", 3, 9)
    blocked = await store.blocked("topic")
    assert {partition: block.offset for partition, block in blocked.items()} == {1: 5, 3: 70}
    assert before - 1 <= blocked[3].since <= await store.time()
    await store.unblock("topic", 3)
    await store.unblock("topic", 3)
    assert [*await store.blocked("topic")] == [1]
    assert [*await store.blocked("other")] == [3]


async def test_replayed_offsets_are_remembered_by_topic_and_partition(store: Store) -> None:
    assert await store.replayed("topic") == {}
    await store.remember_replayed("topic", {0: 5, 1: 7})
    await store.remember_replayed("topic", {1: 9})
    assert await store.replayed("topic") == {0: 5, 1: 9}
    assert await store.replayed("other") == {}


async def test_a_parked_mailbox_shows_its_note_and_since_when(store: Store) -> None:
    before = await store.time()
    await store.park(ANNA, BY_HAND, hourly=False, note="on leave")
    [(mailbox, parking)] = await store.list_parked()
    assert (mailbox, parking.note, parking.hourly) == (ANNA, "on leave", False)
    assert before - 1 <= parking.since <= await store.time()


async def test_a_site_is_paused_until_it_is_resumed_and_shows_since_when(store: Store) -> None:
    assert await store.paused() == {}
    before = await store.time()
    await store.pause("acme")
    [since] = (await store.paused()).values()
    assert before - 1 <= since <= await store.time()
    await store.pause("acme")
    assert await store.paused() == {"acme": since}
    await store.resume("acme")
    await store.resume("acme")
    assert await store.paused() == {}


async def test_a_store_keeps_the_mark_of_its_first_use(store: Store) -> None:
    assert await store.born() == await store.born() != ""


async def test_a_mailbox_that_is_tried_hourly_is_enabled_when_it_has_answered_and_only_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = await begin(store)
    await store.park(ANNA, "ErrorAccessDenied", hourly=True)
    assert await store.finish(granted.lease, RunOutcome())
    assert [mailbox for mailbox, _ in await store.list_parked()] == [ANNA]
    await store.enable(ANNA)
    granted = await begin(store)
    await store.park(ANNA, "ErrorAccessDenied", hourly=True)
    assert await store.finish(granted.lease, RunOutcome(answered=True))
    assert await store.list_parked() == []
    granted = await begin(store)
    await store.park(ANNA, BY_HAND, hourly=False)
    assert await store.finish(granted.lease, RunOutcome(answered=True))
    assert [mailbox for mailbox, _ in await store.list_parked()] == [ANNA]
