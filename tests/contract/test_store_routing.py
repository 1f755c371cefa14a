"""Ranks, holders and the count of deletions, on the fake and on real Valkeys."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from redis.asyncio import Redis

from consumer.clock import SystemClock
from consumer.domain.job import rank
from consumer.domain.mailbox import Mailbox
from consumer.store.store import RedisStore
from consumer.sync.grant import Precedence
from consumer.sync.ranks import RankRequest
from consumer.sync.run_outcome import RunOutcome
from tests.contract.store_steps import ANNA, BEN, at, begin, link, linked
from tests.contract.whole_store import Store


async def test_routing_returns_every_holder_and_pending_ones_too(store: Store) -> None:
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
    assert granted.assignments["J1"].precedence is Precedence.SUPERSEDED
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


async def test_a_deletion_counts_the_events_that_are_not_over(store: Store) -> None:
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


async def test_deleted_jobs_are_counted_once_each_within_the_interval(store: Store) -> None:
    assert await store.count_deletions("acme", ["J1", "J2"], 60) == (2, 0)
    await store.remember_events("acme", 70)
    assert await store.count_deletions("acme", ["J1", "J3"], 60) == (3, 70)
    assert await store.count_deletions("other", ["J1"], 60) == (1, 0)


async def test_a_deleted_job_takes_eight_bytes(valkey_url: str) -> None:
    prefix, redis = f"{uuid4()}:", Redis.from_url(valkey_url)
    store = RedisStore.connect(valkey_url, prefix, SystemClock())
    await store.count_deletions("acme", ["J" * 500, "ü"], 60)
    assert {len(member) for member in await redis.smembers(f"{prefix}deleted:acme")} == {8}
    assert 0 < await redis.pttl(f"{prefix}deleted:acme") <= 60_000
    await redis.aclose()
    await store.close()


async def test_offsets_of_a_recreated_topic_make_no_deletion_stale(store: Store) -> None:
    await store.route([replace(at(5, 700), topic_id="first")])
    [same] = await store.route([replace(at(None, 3), topic_id="first")])
    assert same.rank < same.newest
    [again] = await store.route([replace(at(None, 3), topic_id="second")])
    assert again.rank == again.newest == rank(5, deleted=True)
