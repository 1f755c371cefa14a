"""The store port's contract, on the fake and on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from consumer.clock import SystemClock
from consumer.domain.errors import ReadOnlyError, StoreUnavailableError
from consumer.domain.job import rank
from consumer.domain.link import Link, Pending, Tombstone
from consumer.domain.mailbox import Mailbox
from consumer.store.store import RedisStore
from consumer.sync.ports import (
    BY_HAND,
    Busy,
    DataLost,
    Grant,
    Intent,
    Mark,
    Parked,
    Parking,
    RankRequest,
    RunOutcome,
    Store,
)
from tests.fakes.store import MemoryStore

ANNA = Mailbox("acme", "anna@acme.example")
BEN = Mailbox("acme", "ben@acme.example")
APP = "tenant/app"


@pytest.fixture(params=["fake", "valkey_url", "foreign_valkey_url"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield MemoryStore(SystemClock())
        return
    real = RedisStore.connect(request.getfixturevalue(request.param), f"{uuid4()}:", SystemClock())
    yield real
    await real.close()


def link(revision: int = 1, event_id: str = "AAMkAD==") -> Link:
    start = datetime(2099, 12, 1, 9, tzinfo=UTC)
    return Link(event_id, 'W/"etag=="', b"f" * 16, rank(revision), start, start, 1)


def at(revision: int | None, offset: int, job_id: str = "J1") -> RankRequest:
    return RankRequest(job_id, None if revision is None else rank(revision), 0, offset)


async def begin(
    store: Store, mailbox: Mailbox = ANNA, *, revision: int = 1, transaction_id: str | None = "t1"
) -> Grant:
    granted = await store.begin(mailbox, APP, uuid4().hex, [Intent("J1", rank(revision), transaction_id)])
    assert isinstance(granted, Grant)
    return granted


async def linked(store: Store, mailbox: Mailbox = ANNA, revision: int = 1) -> None:
    granted = await begin(store, mailbox, revision=revision)
    assert await store.finish(granted.lease, RunOutcome(links={"J1": link(revision)}))


async def test_a_link_is_given_back_as_it_was_written(store: Store) -> None:
    await linked(store)
    granted = await begin(store)
    assert granted.assignments["J1"].memory == link()
    assert granted.assignments["J1"].newest
    assert granted.assignments["J1"].transaction_id is None


async def test_a_mailbox_is_leased_once(store: Store) -> None:
    granted = await begin(store)
    refused = await store.begin(ANNA, APP, "other", [])
    assert isinstance(refused, Busy)
    assert 0 < refused.retry_after <= 1
    assert await store.finish(granted.lease, RunOutcome())
    assert isinstance(await store.begin(ANNA, APP, "other", []), Grant)


async def test_two_sites_with_one_app_share_the_lease_of_an_address(store: Store) -> None:
    await begin(store)
    other_site = Mailbox("other", ANNA.address)
    assert isinstance(await store.begin(other_site, APP, "t", []), Busy)
    assert isinstance(await store.begin(other_site, "tenant/another-app", "t", []), Grant)


async def test_of_many_that_ask_at_once_one_has_the_lease(store: Store) -> None:
    answers = await asyncio.gather(*(store.begin(ANNA, APP, f"run-{n}", []) for n in range(50)))
    assert sum(isinstance(answer, Grant) for answer in answers) == 1


async def test_a_lost_lease_writes_nothing(store: Store) -> None:
    granted = await begin(store)
    assert await store.renew(granted.lease)
    granted.lease.token = "somebody else's"
    assert not await store.renew(granted.lease)
    assert not await store.finish(granted.lease, RunOutcome(links={"J1": link()}))


async def test_an_intent_leaves_a_pending_link_that_keeps_its_transaction_id(store: Store) -> None:
    first = await begin(store, transaction_id="first")
    assert first.assignments["J1"].memory is None
    assert first.assignments["J1"].transaction_id == "first"
    assert first.assignments["J1"].fresh
    await store.finish(first.lease, RunOutcome())  # the outcome of the create is not known
    second = await begin(store, revision=2, transaction_id="second")
    assert second.assignments["J1"].memory == Pending("first", rank(1))
    assert second.assignments["J1"].transaction_id == "first"
    assert not second.assignments["J1"].fresh


async def test_what_is_forgotten_leaves_nothing(store: Store) -> None:
    first = await begin(store)
    await store.finish(first.lease, RunOutcome(forgotten={"J1"}))
    second = await begin(store, transaction_id="second")
    assert second.assignments["J1"].memory is None
    assert second.assignments["J1"].transaction_id == "second"


async def test_what_is_buried_leaves_a_tombstone_that_stops_the_same_and_older_states(store: Store) -> None:
    await linked(store)
    granted = await begin(store, revision=2, transaction_id=None)
    await store.finish(granted.lease, RunOutcome(tombstones={"J1": rank(2)}))
    again = await begin(store, revision=2)
    assert again.assignments["J1"].memory == Tombstone(rank(2))
    assert again.assignments["J1"].transaction_id is None
    await store.finish(again.lease, RunOutcome())
    newer = await begin(store, revision=3, transaction_id="new")
    assert newer.assignments["J1"].transaction_id == "new"


async def test_a_create_in_doubt_is_kept_and_marked_while_it_may_land_and_then_forgotten(store: Store) -> None:
    await store.finish((await begin(store)).lease, RunOutcome())
    again = await begin(store, revision=2, transaction_id=None)
    assert await store.finish(again.lease, RunOutcome(doubtful={"J1": 600.0}))
    assert await store.dirty("acme") == [Mark(ANNA.address, "J1")]
    kept = await begin(store, revision=3, transaction_id="t3")
    assert (kept.assignments["J1"].memory, kept.assignments["J1"].transaction_id) == (Pending("t1", rank(1)), "t1")
    assert await store.finish(kept.lease, RunOutcome(doubtful={"J1": 0.0}))
    assert (await begin(store, revision=3, transaction_id=None)).assignments["J1"].memory is None
    assert await store.linked("acme", "") == []


async def test_routing_tells_every_holder_pending_ones_too(store: Store) -> None:
    await linked(store, ANNA)
    await begin(store, BEN)
    [routed] = await store.route([at(1, 0)])
    assert set(routed.holders) == {ANNA, BEN}


async def test_the_newest_revision_is_remembered_and_older_ones_are_refused(store: Store) -> None:
    routed = await store.route([at(5, 0), at(3, 1), at(7, 2), at(7, 2)])
    assert [(answer.rank, answer.newest) for answer in routed] == [
        (rank(5), rank(5)),
        (rank(3), rank(5)),
        (rank(7), rank(7)),
        (rank(7), rank(7)),
    ]
    granted = await begin(store, revision=5)
    assert not granted.assignments["J1"].newest
    assert granted.assignments["J1"].transaction_id is None


async def test_a_deletion_outranks_every_state_before_it_and_none_after(store: Store) -> None:
    await store.route([at(5, 0)])
    [deleted] = await store.route([at(None, 1)])
    assert deleted.rank == deleted.newest == rank(5, deleted=True)
    [again] = await store.route([at(5, 0)])
    assert again.rank < again.newest
    [reborn] = await store.route([at(9, 2)])
    assert reborn.rank == reborn.newest == rank(9)
    [redelivered] = await store.route([at(None, 1)])
    assert redelivered.rank < redelivered.newest == rank(9)


async def test_a_deletion_of_a_job_known_by_its_links_alone_outranks_them(store: Store) -> None:
    await linked(store, revision=8)
    [deleted] = await store.route([at(None, 1)])
    assert deleted.rank == rank(8, deleted=True)
    assert deleted.holders == (ANNA,)


async def test_a_row_gone_at_one_site_does_not_outrank_what_another_site_holds(store: Store) -> None:
    await linked(store, ANNA, revision=5)
    await linked(store, Mailbox("other", BEN.address), revision=9)
    [gone] = await store.route([RankRequest("J1", None, 2**32 - 1, 0, "acme")])
    assert gone.rank == rank(5, deleted=True)
    [moved] = await store.route([at(9, 0)])
    assert moved.rank == moved.newest == rank(9)


async def test_what_is_remembered_of_a_job_is_returned_by_mailbox_pending_links_too(store: Store) -> None:
    await linked(store, ANNA)
    await begin(store, BEN)
    assert await store.remembered("J1") == {ANNA: link(), BEN: Pending("t1", rank(1))}
    assert await store.remembered("J2") == {}


async def test_a_deletion_tells_how_many_events_it_would_take_past_ones_not_counted(store: Store) -> None:
    await linked(store, ANNA)
    await linked(store, BEN)
    chloe = Mailbox("acme", "chloe@acme.example")
    past = replace(link(), start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 1, 2, tzinfo=UTC))
    granted = await begin(store, chloe)
    await store.finish(granted.lease, RunOutcome(links={"J1": past}))
    [state] = await store.route([at(1, 0)])
    [deleted] = await store.route([at(None, 1)])
    assert state.coming == 0
    assert deleted.coming == 2
    assert len(deleted.holders) == 3


async def test_the_jobs_of_a_site_with_a_coming_event_are_counted_once_each_past_ones_left_out(store: Store) -> None:
    await linked(store, ANNA)
    await linked(store, Mailbox("other", BEN.address))
    past = replace(link(), start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2020, 1, 2, tzinfo=UTC))
    granted = await begin(store, BEN)
    await store.finish(granted.lease, RunOutcome(links={"J1": link(), "J2": link(), "J3": past}))
    await begin(store, Mailbox("acme", "chloe@acme.example"))  # a pending link is not an event
    assert await store.coming("acme") == 2
    assert await store.coming("nobody") == 0


async def test_how_often_a_mailbox_could_not_be_read_is_remembered_until_it_is_replaced(store: Store) -> None:
    assert await store.unread("acme") == {}
    await store.remember_unread("acme", {ANNA.address: 2, BEN.address: 1})
    assert await store.unread("acme") == {ANNA.address: 2, BEN.address: 1}
    assert await store.unread("other") == {}
    await store.remember_unread("acme", {BEN.address: 2})
    assert await store.unread("acme") == {BEN.address: 2}
    await store.remember_unread("acme", {})
    assert await store.unread("acme") == {}


async def test_deleted_jobs_are_counted_once_each_within_the_interval(store: Store) -> None:
    assert await store.count_deletions("acme", ["J1", "J2"], 60) == (2, 0)
    await store.remember_events("acme", 70)
    assert await store.count_deletions("acme", ["J1", "J3"], 60) == (3, 70)
    assert await store.count_deletions("other", ["J1"], 60) == (1, 0)


async def test_a_deleted_job_costs_eight_bytes_however_long_its_id(valkey_url: str) -> None:
    prefix, redis = f"{uuid4()}:", Redis.from_url(valkey_url)
    store = RedisStore.connect(valkey_url, prefix, SystemClock())
    await store.count_deletions("acme", ["J" * 500, "ü"], 60)
    assert {len(member) for member in await redis.smembers(f"{prefix}deleted:acme")} == {8}
    assert 0 < await redis.pttl(f"{prefix}deleted:acme") <= 60_000
    await redis.aclose()
    await store.close()


async def test_a_zone_is_remembered_even_an_empty_one(store: Store) -> None:
    granted = await begin(store)
    assert granted.zone is None
    await store.finish(granted.lease, RunOutcome(zone=""))
    again = await begin(store)
    assert again.zone == ""
    await store.finish(again.lease, RunOutcome(zone="Tokyo Standard Time"))
    assert (await begin(store)).zone == "Tokyo Standard Time"


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


async def test_a_parked_mailbox_tells_since_when_and_what_was_said_of_it(store: Store) -> None:
    before = await store.time()
    await store.park(ANNA, BY_HAND, hourly=False, note="on leave")
    [(mailbox, parking)] = await store.list_parked()
    assert (mailbox, parking.note, parking.hourly) == (ANNA, "on leave", False)
    assert before - 1 <= parking.since <= await store.time()


async def test_a_site_is_paused_until_it_is_resumed_and_tells_since_when(store: Store) -> None:
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


async def test_a_store_keeps_the_mark_of_its_birth(store: Store) -> None:
    assert await store.born() == await store.born() != ""


async def test_dirty_marks_wait_for_the_sweep_of_their_site_until_it_has_seen_to_them(store: Store) -> None:
    await store.mark_dirty([(ANNA, "J1"), (Mailbox("other", ""), "J2"), (ANNA, "J1"), (BEN, "J1")])
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(forgotten={"J1"}, dirty={"J3"}))
    assert await store.dirty("other") == [Mark("", "J2")]
    marks = await store.dirty("acme")
    assert marks == [Mark(ANNA.address, "J1"), Mark(ANNA.address, "J3"), Mark(BEN.address, "J1")]
    await store.clean("acme", [marks[0], marks[2]])
    await store.clean("acme", [])
    assert await store.dirty("acme") == [Mark(ANNA.address, "J3")]


async def test_a_mark_that_was_set_anew_while_the_sweep_saw_to_it_stays(store: Store) -> None:
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


async def test_a_lease_that_is_released_leaves_everything_as_it_was(store: Store) -> None:
    await store.park(ANNA, "ErrorAccessDenied", hourly=True)
    await store.enable(ANNA)
    granted = await begin(store, transaction_id=None)
    await store.release(granted.lease)
    again = await begin(store, transaction_id=None)
    assert again.assignments["J1"].memory is None
    stranger = replace(again.lease, token="somebody else's")
    await store.release(stranger)
    assert isinstance(await store.begin(ANNA, APP, "other", []), Busy)


async def test_a_zone_that_is_forgotten_is_read_again(store: Store) -> None:
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(zone="UTC"))
    await store.forget_zone(ANNA)
    assert (await begin(store)).zone is None


async def test_what_a_sweep_says_does_not_stand_against_what_became_known_of_late(store: Store) -> None:
    await store.route([at(5, 1)])
    await linked(store, revision=5)
    for forced in (False, True):
        older = Intent("J1", rank(4), "t", swept=True, forced=forced)
        granted = await store.begin(ANNA, APP, uuid4().hex, [older])
        assert isinstance(granted, Grant)
        assignment = granted.assignments["J1"]
        assert (assignment.newest, assignment.outranked) == (False, False)
        await store.finish(granted.lease, RunOutcome())


async def test_how_many_events_a_sweep_found_is_remembered(store: Store) -> None:
    assert await store.events("acme") == 0
    await store.remember_events("acme", 7)
    assert await store.events("acme") == 7


async def test_a_store_that_is_read_only_lets_nothing_but_leases_be_written(valkey_url: str) -> None:
    prefix = f"{uuid4()}:"
    real = RedisStore.connect(valkey_url, prefix, SystemClock())
    await linked(real)
    await real.mark_dirty([(ANNA, "J1")])
    dry = RedisStore.connect(valkey_url, prefix, SystemClock(), read_only=True)
    granted = await dry.begin(ANNA, APP, "dry", [Intent("J1", rank(1), None, swept=True)], everything=True)
    assert isinstance(granted, Grant)
    assert granted.links == {"J1": link()}
    assert await dry.renew(granted.lease)
    assert await dry.dirty("acme")
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: dry.finish(granted.lease, RunOutcome(links={"J1": link()})),
        lambda: dry.begin(BEN, APP, "t", [Intent("J1", rank(1), "t1")]),
        lambda: dry.begin(BEN, APP, "t", [Intent("J1", rank(1), None, swept=True, forced=True)]),
        lambda: dry.route([at(1, 0)]),
        lambda: dry.mark_dirty([(BEN, "J1")]),
        lambda: dry.clean("acme", [Mark(ANNA.address, "J1")]),
        lambda: dry.park(BEN, "code", hourly=True),
        lambda: dry.enable(BEN),
        lambda: dry.forget_zone(BEN),
        lambda: dry.remember_events("acme", 1),
        lambda: dry.remember_unread("acme", {}),
        lambda: dry.count_deletions("acme", ["J1"], 1),
        lambda: dry.claim_sweep("acme", 1),
        lambda: dry.release_sweep("acme"),
    ]
    for write in writes:
        with pytest.raises(ReadOnlyError):
            await write()
    await dry.release(granted.lease)
    await dry.close()
    again = await begin(real, revision=1)
    assert again.assignments["J1"].memory == link()
    await real.close()


async def test_everything_asked_for_brings_every_link_with_the_time_it_was_written(store: Store) -> None:
    before = await store.time()
    await linked(store)
    granted = await store.begin(ANNA, APP, "t", [Intent("J2", rank(1), "t2")], everything=True)
    assert isinstance(granted, Grant)
    assert granted.links == {"J1": link(), "J2": Pending("t2", rank(1))}
    assert before - 0.01 <= granted.links["J1"].written_at <= await store.time()


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


async def test_a_redis_that_is_not_there_is_told_as_such() -> None:
    store = RedisStore.connect("redis://127.0.0.1:1/0", "p:", SystemClock())
    with pytest.raises(StoreUnavailableError):
        await store.route([at(1, 0)])
    with pytest.raises(StoreUnavailableError):
        await store.check()
    await store.close()


async def test_a_lease_asked_for_twice_with_one_token_is_granted_twice(store: Store) -> None:
    """As when the client repeats a call whose answer was lost."""
    for _ in range(2):
        assert isinstance(await store.begin(ANNA, APP, "token", [Intent("J1", rank(1), "t1")]), Grant)


async def test_a_lease_that_another_run_holds_is_neither_renewed_nor_finished_and_says_so(store: Store) -> None:
    granted = await begin(store)
    stranger = replace(granted.lease, token="somebody else's")
    assert not await store.renew(stranger)
    assert stranger.lost
    assert not await store.finish(stranger, RunOutcome(links={"J1": link()}))
    assert await store.renew(granted.lease)
    assert not granted.lease.lost
    assert await store.finish(granted.lease, RunOutcome())
    assert not await store.renew(granted.lease)


async def test_links_of_an_expired_lease_are_unsure_from_the_takeover_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await linked(store)
    lapsed = "consumer.store.store._LEASE_MS" if isinstance(store, RedisStore) else "tests.fakes.store.LEASE_SECONDS"
    monkeypatch.setattr(lapsed, 0)
    dead = await store.begin(ANNA, APP, "dead", [Intent("J1", rank(1), None), Intent("J2", rank(1), "t2")])
    assert isinstance(dead, Grant)
    monkeypatch.undo()
    taken = await store.begin(ANNA, APP, "new", [Intent("J1", rank(1), None), Intent("J2", rank(1), "t3")])
    assert isinstance(taken, Grant)
    assert dead.assignments["J1"].memory == link()
    assert taken.assignments["J1"].memory == link().unsure()
    assert taken.assignments["J2"].transaction_id == "t2"


async def test_who_takes_over_an_expired_lease_marks_what_its_run_may_have_touched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lapsed = "consumer.store.store._LEASE_MS" if isinstance(store, RedisStore) else "tests.fakes.store.LEASE_SECONDS"
    monkeypatch.setattr(lapsed, 0)
    dead = await store.begin(ANNA, APP, "dead", [Intent("J1", rank(1), "t1"), Intent("J/2 ü", rank(1), None)])
    assert isinstance(dead, Grant)
    monkeypatch.undo()
    assert await store.dirty("acme") == []
    # The same address of another site shares the app, and so the lease; the marks belong to the dead run's site.
    taken = await store.begin(Mailbox("other", ANNA.address), APP, "new", [Intent("J3", rank(1), "t3")])
    assert isinstance(taken, Grant)
    assert await store.dirty("acme") == [Mark(ANNA.address, "J/2 ü"), Mark(ANNA.address, "J1")]
    assert await store.dirty("other") == []
    assert not await store.finish(dead.lease, RunOutcome(links={"J1": link()}))
    assert await store.finish(taken.lease, RunOutcome())
    await store.clean("acme", await store.dirty("acme"))
    assert isinstance(await store.begin(ANNA, APP, "next", []), Grant)
    assert await store.dirty("acme") == []


async def test_a_lease_that_expired_and_that_nobody_took_may_still_be_renewed_and_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lapsed = "consumer.store.store._LEASE_MS" if isinstance(store, RedisStore) else "tests.fakes.store.LEASE_SECONDS"
    monkeypatch.setattr(lapsed, 0)
    granted = await begin(store)
    assert await store.renew(granted.lease)
    assert await store.finish(granted.lease, RunOutcome(links={"J1": link()}))
    assert await store.remembered("J1") == {ANNA: link()}


async def test_a_mailbox_is_known_once_its_events_were_listed(store: Store) -> None:
    first = await begin(store)
    assert not first.is_known
    assert await store.finish(first.lease, RunOutcome(listed_in=first.incarnation))
    second = await begin(store)
    assert second.is_known
    assert second.incarnation == first.incarnation
    await store.finish(second.lease, RunOutcome())
    assert not (await begin(store, BEN)).is_known


async def test_a_listing_from_before_data_was_lost_makes_no_mailbox_known(store: Store) -> None:
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(listed_in="an earlier incarnation"))
    assert not (await begin(store)).is_known


async def test_a_run_that_names_another_incarnation_is_refused_and_takes_no_lease(store: Store) -> None:
    refused = await store.begin(ANNA, APP, "t", [Intent("J1", rank(1), "t1")], incarnation="an earlier one")
    assert isinstance(refused, DataLost)
    again = await store.begin(ANNA, APP, "u", [Intent("J1", rank(1), "t1")], incarnation=refused.incarnation)
    assert isinstance(again, Grant)
    assert again.assignments["J1"].memory is None
    assert again.incarnation == refused.incarnation


async def test_found_events_are_linked_unless_something_is_known_of_their_job(store: Store) -> None:
    await linked(store)
    granted = await store.begin(ANNA, APP, "t", [Intent("J2", rank(1), "t2")])
    assert isinstance(granted, Grant)
    found = {job_id: link(event_id=f"found {job_id}") for job_id in ("J1", "J2", "J3", "J4")}
    assert await store.finish(granted.lease, RunOutcome(found=found, beyond={"J1", "J4"}))
    after = await store.begin(ANNA, APP, "u", [], everything=True)
    assert isinstance(after, Grant)
    assert after.links == {"J1": link(), "J2": Pending("t2", rank(1)), "J3": found["J3"], "J4": found["J4"]}
    assert await store.dirty("acme") == [Mark(ANNA.address, "J4")]
    assert await store.holders("J3") == [ANNA]


async def test_a_forgotten_create_and_a_found_event_of_one_job_leave_the_found_one(store: Store) -> None:
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(forgotten={"J1"}, found={"J1": link(event_id="found")}))
    assert await store.remembered("J1") == {ANNA: link(event_id="found")}


async def test_a_zone_is_fresh_for_an_hour_and_kept_for_longer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(zone="Tokyo Standard Time"))
    fresh = await begin(store)
    assert (fresh.zone, fresh.zone_is_fresh) == ("Tokyo Standard Time", True)
    await store.finish(fresh.lease, RunOutcome())
    kept = "consumer.store.store.KEPT_SECONDS" if isinstance(store, RedisStore) else "tests.fakes.store.KEPT_SECONDS"
    monkeypatch.setattr(kept, 0)
    stale = await begin(store, transaction_id=None)
    assert (stale.zone, stale.zone_is_fresh) == ("Tokyo Standard Time", False)


async def test_a_mailbox_parked_for_an_hour_is_free_when_it_has_answered_and_only_then(
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


async def test_offsets_of_a_topic_that_was_created_again_make_no_deletion_stale(store: Store) -> None:
    await store.route([replace(at(5, 700), log="first")])
    [same] = await store.route([replace(at(None, 3), log="first")])
    assert same.rank < same.newest
    [again] = await store.route([replace(at(None, 3), log="second")])
    assert again.rank == again.newest == rank(5, deleted=True)


async def test_an_emptied_redis_knows_no_mailbox_and_begins_an_incarnation(valkey_url: str) -> None:
    prefix = f"{uuid4()}:"
    store = RedisStore.connect(valkey_url, prefix, SystemClock())
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(listed_in=granted.incarnation))
    async with Redis.from_url(valkey_url) as redis:
        keys = [key async for key in redis.scan_iter(f"{prefix}*")]
        await redis.delete(*keys)  # as FLUSHALL would; the server is shared with other tests
    refused = await store.begin(ANNA, APP, "t", [], incarnation=granted.incarnation)
    assert isinstance(refused, DataLost)
    assert not (await begin(store)).is_known
    await store.close()


async def test_a_renewed_lease_outlives_the_time_it_was_first_kept(valkey_url: str) -> None:
    """Its key expires later than the lease, so that a run that takes over can mark what it may have touched."""
    prefix = f"{uuid4()}:"
    store = RedisStore.connect(valkey_url, prefix, SystemClock())
    granted = await begin(store)
    async with Redis.from_url(valkey_url) as redis:
        key = f"{prefix}lease:{APP}/{ANNA.address}"
        kept = await redis.pttl(key)
        await redis.pexpire(key, 1_000)  # as if the rest of the time had passed
        assert await store.renew(granted.lease)
        assert await redis.pttl(key) > kept / 2
    await store.close()


async def test_an_emptied_redis_is_told_from_the_one_before_by_every_client_of_it(valkey_url: str) -> None:
    """Whoever connects first afterwards makes the new mark; the others must see that it is another one."""
    prefix = f"{uuid4()}:"
    stores = [RedisStore.connect(valkey_url, prefix, SystemClock()) for _ in range(2)]
    granted = [await begin(store, mailbox) for store, mailbox in zip(stores, (ANNA, BEN), strict=True)]
    assert granted[0].incarnation == granted[1].incarnation
    async with Redis.from_url(valkey_url) as redis:
        await redis.delete(*[key async for key in redis.scan_iter(f"{prefix}*")])
    newcomer = RedisStore.connect(valkey_url, prefix, SystemClock())
    await newcomer.check()
    for store in stores:
        assert isinstance(await store.begin(ANNA, APP, "t", [], incarnation=granted[0].incarnation), DataLost)
    for store in (*stores, newcomer):
        await store.close()


async def test_events_that_other_mailboxes_are_linked_to_are_told_from_the_rest(store: Store) -> None:
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


async def test_a_user_who_may_not_ask_info_can_be_used(valkey_url: str) -> None:
    user = f"u{uuid4().hex}"
    async with Redis.from_url(valkey_url) as redis:
        await redis.acl_setuser(user, enabled=True, passwords="+secret", keys="*", categories=["+@all", "-@dangerous"])
        store = RedisStore.connect(valkey_url.replace("://", f"://{user}:secret@"), f"{uuid4()}:", SystemClock())
        await linked(store)
        await store.check()
        await store.close()
        await redis.acl_deluser(user)
