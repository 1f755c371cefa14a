"""Which of two states is the newer, and how old a time-zone setting is, on the fake and on real Valkeys."""

from random import Random
from uuid import uuid4

import pytest

from consumer.clock import SystemClock
from consumer.domain.job import rank
from consumer.domain.link import Pending
from consumer.domain.mailbox import Mailbox
from consumer.store.keys import KEPT_SECONDS
from consumer.store.store import RedisStore
from consumer.sync.grant import AssignmentState, Grant, Intent, Precedence
from consumer.sync.ranks import RankRequest
from consumer.sync.run_outcome import RunOutcome
from tests.contract.whole_store import Store

ANNA = Mailbox("acme", "anna@acme.example")
APP = "tenant/app"


async def intend(store: Store, revision: int, transaction_id: str | None, *, deleted: bool = False) -> AssignmentState:
    """The store's state when a run that may create the event begins; its lease is released."""
    intent = Intent("J1", rank(revision, deleted=deleted), transaction_id)
    granted = await store.begin(ANNA, APP, uuid4().hex, [intent])
    assert isinstance(granted, Grant)
    await store.release(granted.lease)
    return granted.assignments["J1"]


async def test_the_higher_of_two_revisions_is_the_newer_in_any_locale_of_the_server(store: Store) -> None:
    random = Random(1)
    pairs = [sorted(random.sample(range(1, 2 ** random.choice([8, 16, 31, 62])), 2)) for _ in range(300)]
    for at in (1, 0):
        routed = await store.route(
            [RankRequest(f"J{number}", rank(pair[at]), 0, 1 - at) for number, pair in enumerate(pairs)]
        )
        assert [each.newest for each in routed] == [rank(higher) for _, higher in pairs]


async def test_the_newest_state_read_again_is_not_superseded(store: Store) -> None:
    await store.route([RankRequest("J1", rank(7), 0, 1)])
    await store.route([RankRequest("J1", rank(7), 0, 1)])
    assert (await intend(store, 7, None)).precedence is Precedence.NEWEST


@pytest.mark.parametrize("revision", [7, 8])
async def test_a_create_of_unknown_outcome_keeps_its_transaction_id_at_the_same_and_at_a_newer_revision(
    store: Store, revision: int
) -> None:
    assert (await intend(store, 7, "first")).transaction_id == "first"
    again = await intend(store, revision, "second")
    assert again.transaction_id == "first"
    assert again.memory == Pending("first", rank(7))


async def test_a_create_of_unknown_outcome_is_not_repeated_for_an_older_state(store: Store) -> None:
    await intend(store, 7, "first")
    assert (await intend(store, 6, "second")).transaction_id is None


async def test_a_tombstone_stops_a_create_of_its_own_rank(store: Store) -> None:
    granted = await store.begin(ANNA, APP, uuid4().hex, [Intent("J1", rank(7), "first")])
    assert isinstance(granted, Grant)
    await store.finish(granted.lease, RunOutcome(tombstones={"J1": rank(7)}))
    assert (await intend(store, 7, "second")).transaction_id is None
    assert (await intend(store, 8, "third")).transaction_id == "third"


async def test_a_time_zone_is_fresh_until_an_hour_has_passed_on_the_stores_clock(valkey_url: str) -> None:
    store = RedisStore.connect(valkey_url, f"{uuid4()}:", SystemClock())
    granted = await store.begin(ANNA, APP, "first", [])
    assert isinstance(granted, Grant)
    await store.finish(granted.lease, RunOutcome(zone="Tokyo Standard Time"))
    key, redis = store._client.key(f"timezone:{ANNA}"), store._client.redis
    entry = await redis.get(key)
    assert isinstance(entry, bytes)
    for seconds, fresh in ((KEPT_SECONDS - 60, True), (KEPT_SECONDS + 1, False)):
        read_at = int.from_bytes(entry[:8], "big") - seconds * 1000
        await redis.set(key, read_at.to_bytes(8, "big") + entry[8:])
        granted = await store.begin(ANNA, APP, "second", [])
        assert isinstance(granted, Grant)
        assert granted.zone == "Tokyo Standard Time"
        assert granted.zone_is_fresh is fresh
    await store.close()
