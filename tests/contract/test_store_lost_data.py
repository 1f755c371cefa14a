"""Incarnations and known mailboxes: how the loss of data is noticed, on the fake and on real Valkeys."""

from uuid import uuid4

from redis.asyncio import Redis

from consumer.clock import SystemClock
from consumer.domain.job import rank
from consumer.domain.link import Pending
from consumer.store.store import RedisStore
from consumer.sync.grant import DataLost, Grant, Intent
from consumer.sync.marks import Mark
from consumer.sync.run_outcome import RunOutcome
from tests.contract.store_steps import ANNA, APP, BEN, begin
from tests.contract.whole_store import Store


async def test_a_create_of_unknown_outcome_is_marked_while_it_may_land_and_then_forgotten(
    store: Store,
) -> None:
    await store.finish((await begin(store)).lease, RunOutcome())
    again = await begin(store, revision=2, transaction_id=None)
    assert await store.finish(again.lease, RunOutcome(doubtful={"J1": 600.0}))
    assert await store.dirty("acme") == [Mark(ANNA.address, "J1")]
    kept = await begin(store, revision=3, transaction_id="t3")
    assert (kept.assignments["J1"].memory, kept.assignments["J1"].transaction_id) == (Pending("t1", rank(1)), "t1")
    assert await store.finish(kept.lease, RunOutcome(doubtful={"J1": 0.0}))
    assert (await begin(store, revision=3, transaction_id=None)).assignments["J1"].memory is None
    assert await store.linked("acme", "") == []


async def test_a_forgotten_time_zone_is_unknown(store: Store) -> None:
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(zone="UTC"))
    await store.forget_zone(ANNA)
    assert (await begin(store)).zone is None


async def test_a_mailbox_is_known_once_its_events_were_listed(store: Store) -> None:
    first = await begin(store)
    assert not first.is_known
    assert await store.finish(first.lease, RunOutcome(listed_in=first.incarnation))
    second = await begin(store)
    assert second.is_known
    assert second.incarnation == first.incarnation
    await store.finish(second.lease, RunOutcome())
    assert not (await begin(store, BEN)).is_known


async def test_a_listing_from_an_earlier_incarnation_does_not_make_a_mailbox_known(store: Store) -> None:
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


async def test_an_emptied_redis_begins_a_new_incarnation_without_known_mailboxes(valkey_url: str) -> None:
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


async def test_every_client_notices_that_redis_was_emptied(valkey_url: str) -> None:
    """The first client that connects afterwards writes the new incarnation; the others must see that it differs."""
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
