"""A client on a Redis that is unreachable, shared or read-only."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from consumer.clock import SystemClock
from consumer.domain.errors import ReadOnlyError, StoreUnavailableError
from consumer.domain.job import rank
from consumer.store.store import RedisStore
from consumer.sync.grant import Grant, Intent
from consumer.sync.marks import Mark
from consumer.sync.run_outcome import RunOutcome
from tests.contract.store_steps import ANNA, APP, BEN, at, begin, link, linked


async def test_a_read_only_store_writes_only_leases(valkey_url: str) -> None:
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


async def test_an_unreachable_redis_raises_store_unavailable() -> None:
    store = RedisStore.connect("redis://127.0.0.1:1/0", "p:", SystemClock())
    with pytest.raises(StoreUnavailableError):
        await store.route([at(1, 0)])
    with pytest.raises(StoreUnavailableError):
        await store.check()
    await store.close()


async def test_a_redis_user_without_the_right_to_info_can_be_used(valkey_url: str) -> None:
    user = f"u{uuid4().hex}"
    async with Redis.from_url(valkey_url) as redis:
        await redis.acl_setuser(
            user, enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all", "-@dangerous"]
        )
        store = RedisStore.connect(valkey_url.replace("://", f"://{user}:secret@"), f"{uuid4()}:", SystemClock())
        await linked(store)
        await store.check()
        await store.close()
        await redis.acl_deluser(user)
