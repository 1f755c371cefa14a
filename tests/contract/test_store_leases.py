"""Leases, and what a run reads and writes under one, on the fake and on real Valkeys."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from consumer.clock import SystemClock
from consumer.domain.job import rank
from consumer.domain.link import Pending, Tombstone
from consumer.domain.mailbox import Mailbox
from consumer.store.store import RedisStore
from consumer.sync.grant import Busy, Grant, Intent, Precedence
from consumer.sync.marks import Mark
from consumer.sync.run_outcome import RunOutcome
from tests.contract.store_steps import ANNA, APP, at, begin, link, linked
from tests.contract.whole_store import Store


async def test_a_link_is_read_as_it_was_written(store: Store) -> None:
    await linked(store)
    granted = await begin(store)
    assert granted.assignments["J1"].memory == link()
    assert granted.assignments["J1"].precedence is Precedence.NEWEST
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


async def test_one_of_many_simultaneous_runs_gets_the_lease(store: Store) -> None:
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
    await store.finish(first.lease, RunOutcome())  # the outcome of the create is unknown
    second = await begin(store, revision=2, transaction_id="second")
    assert second.assignments["J1"].memory == Pending("first", rank(1))
    assert second.assignments["J1"].transaction_id == "first"
    assert not second.assignments["J1"].fresh


async def test_a_forgotten_job_leaves_nothing(store: Store) -> None:
    first = await begin(store)
    await store.finish(first.lease, RunOutcome(forgotten={"J1"}))
    second = await begin(store, transaction_id="second")
    assert second.assignments["J1"].memory is None
    assert second.assignments["J1"].transaction_id == "second"


async def test_a_tombstone_stops_the_same_and_older_states(store: Store) -> None:
    await linked(store)
    granted = await begin(store, revision=2, transaction_id=None)
    await store.finish(granted.lease, RunOutcome(tombstones={"J1": rank(2)}))
    again = await begin(store, revision=2)
    assert again.assignments["J1"].memory == Tombstone(rank(2))
    assert again.assignments["J1"].transaction_id is None
    await store.finish(again.lease, RunOutcome())
    newer = await begin(store, revision=3, transaction_id="new")
    assert newer.assignments["J1"].transaction_id == "new"


async def test_a_time_zone_is_remembered_even_if_empty(store: Store) -> None:
    granted = await begin(store)
    assert granted.zone is None
    await store.finish(granted.lease, RunOutcome(zone=""))
    again = await begin(store)
    assert again.zone == ""
    await store.finish(again.lease, RunOutcome(zone="Tokyo Standard Time"))
    assert (await begin(store)).zone == "Tokyo Standard Time"


async def test_a_released_lease_changes_nothing(store: Store) -> None:
    await store.park(ANNA, "ErrorAccessDenied", hourly=True)
    await store.enable(ANNA)
    granted = await begin(store, transaction_id=None)
    await store.release(granted.lease)
    again = await begin(store, transaction_id=None)
    assert again.assignments["J1"].memory is None
    stranger = replace(again.lease, token="somebody else's")
    await store.release(stranger)
    assert isinstance(await store.begin(ANNA, APP, "other", []), Busy)


async def test_a_sweeps_state_does_not_win_over_a_recent_newer_one(store: Store) -> None:
    await store.route([at(5, 1)])
    await linked(store, revision=5)
    for forced in (False, True):
        older = Intent("J1", rank(4), "t", swept=True, forced=forced)
        granted = await store.begin(ANNA, APP, uuid4().hex, [older])
        assert isinstance(granted, Grant)
        assignment = granted.assignments["J1"]
        assert assignment.precedence is Precedence.SUPERSEDED
        await store.finish(granted.lease, RunOutcome())


async def test_a_sweeps_state_wins_over_a_newer_one_known_for_long_only_if_it_is_forced(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("consumer.store.leases", "tests.fakes.store"):
        monkeypatch.setattr(f"{module}.NEWER_RANK_SECONDS", 0.0)
    await store.route([at(5, 1)])
    await linked(store, revision=5)
    for forced, expected in ((False, Precedence.OUTRANKED), (True, Precedence.FORCED), (False, Precedence.OUTRANKED)):
        older = Intent("J1", rank(4), "t", swept=True, forced=forced)
        granted = await store.begin(ANNA, APP, uuid4().hex, [older])
        assert isinstance(granted, Grant)
        assignment = granted.assignments["J1"]
        assert (assignment.precedence, assignment.wins) == (expected, forced)
        await store.finish(granted.lease, RunOutcome())


async def test_a_run_can_read_every_link_with_the_time_it_was_written(store: Store) -> None:
    before = await store.time()
    await linked(store)
    granted = await store.begin(ANNA, APP, "t", [Intent("J2", rank(1), "t2")], everything=True)
    assert isinstance(granted, Grant)
    assert granted.links == {"J1": link(), "J2": Pending("t2", rank(1))}
    assert before - 0.01 <= granted.links["J1"].written_at <= await store.time()


async def test_a_repeated_begin_with_one_token_is_granted(store: Store) -> None:
    """The client repeats a call whose answer was lost."""
    for _ in range(2):
        assert isinstance(await store.begin(ANNA, APP, "token", [Intent("J1", rank(1), "t1")]), Grant)


async def test_a_lease_that_another_run_has_is_neither_renewed_nor_finished(store: Store) -> None:
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
    lapsed = "consumer.store.leases._LEASE_MS" if isinstance(store, RedisStore) else "tests.fakes.store.LEASE_SECONDS"
    monkeypatch.setattr(lapsed, 0)
    dead = await store.begin(ANNA, APP, "dead", [Intent("J1", rank(1), None), Intent("J2", rank(1), "t2")])
    assert isinstance(dead, Grant)
    monkeypatch.undo()
    taken = await store.begin(ANNA, APP, "new", [Intent("J1", rank(1), None), Intent("J2", rank(1), "t3")])
    assert isinstance(taken, Grant)
    assert dead.assignments["J1"].memory == link()
    assert taken.assignments["J1"].memory == link().unsure()
    assert taken.assignments["J2"].transaction_id == "t2"


async def test_taking_over_an_expired_lease_marks_the_jobs_of_its_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lapsed = "consumer.store.leases._LEASE_MS" if isinstance(store, RedisStore) else "tests.fakes.store.LEASE_SECONDS"
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


async def test_an_expired_lease_that_no_run_took_over_can_be_renewed_and_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lapsed = "consumer.store.leases._LEASE_MS" if isinstance(store, RedisStore) else "tests.fakes.store.LEASE_SECONDS"
    monkeypatch.setattr(lapsed, 0)
    granted = await begin(store)
    assert await store.renew(granted.lease)
    assert await store.finish(granted.lease, RunOutcome(links={"J1": link()}))
    assert await store.remembered("J1") == {ANNA: link()}


async def test_found_events_are_linked_unless_their_job_has_a_link(store: Store) -> None:
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


async def test_a_time_zone_is_fresh_for_an_hour_and_kept_longer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(zone="Tokyo Standard Time"))
    fresh = await begin(store)
    assert (fresh.zone, fresh.zone_is_fresh) == ("Tokyo Standard Time", True)
    await store.finish(fresh.lease, RunOutcome())
    kept = "consumer.store.leases.KEPT_SECONDS" if isinstance(store, RedisStore) else "tests.fakes.store.KEPT_SECONDS"
    monkeypatch.setattr(kept, 0)
    stale = await begin(store, transaction_id=None)
    assert (stale.zone, stale.zone_is_fresh) == ("Tokyo Standard Time", False)


async def test_a_renewal_extends_the_life_of_the_leases_key(valkey_url: str) -> None:
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
