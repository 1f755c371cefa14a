"""Ranks are ordered as numbers, whatever the server's locale says about the bytes they are stored as."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from uuid import uuid4

import pytest

from consumer.clock import SystemClock
from consumer.domain.job import rank
from consumer.domain.link import Tombstone
from consumer.store.store import RedisStore
from consumer.sync.ports import Findings, Grant, Intent, Sighting
from tests.contract.test_store import ANNA, APP, link

# Neighbours whose bytes a locale may order otherwise: letters of both cases, digits, punctuation, zero bytes.
_EDGES = [0, 1, 32, 44, 45, 47, 48, 64, 65, 66, 96, 97, 98, 127, 128, 200, 254, 255, 256, 2**16, 2**24 + 65, 2**31]
REVISIONS = sorted({edge + near for edge in _EDGES for near in (0, 1, 2)} | {2**61, 2**62 - 1})


@pytest.fixture(params=["valkey_url", "foreign_valkey_url"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RedisStore]:
    real = RedisStore.connect(request.getfixturevalue(request.param), f"{uuid4()}:", SystemClock())
    yield real
    await real.close()


async def test_the_newest_of_two_states_is_kept_in_whatever_order_they_come(store: RedisStore) -> None:
    random = Random(1)
    pairs = [tuple(random.sample(REVISIONS, 2)) for _ in range(400)]
    sightings = [
        Sighting(f"J{number}", rank(revision), 0, offset)
        for number, pair in enumerate(pairs)
        for offset, revision in enumerate(pair)
    ]
    routed = await store.route(sightings)
    wrong = [pair for number, pair in enumerate(pairs) if routed[2 * number + 1].newest != rank(max(pair))]
    assert wrong == []


async def test_a_run_is_refused_a_state_older_than_the_newest_and_granted_a_newer_one(store: RedisStore) -> None:
    random = Random(2)
    pairs = [tuple(random.sample(REVISIONS, 2)) for _ in range(200)]
    await store.route([Sighting(f"J{n}", rank(known), 0, n) for n, (known, _) in enumerate(pairs)])
    intents = [Intent(f"J{n}", rank(wanted), f"t{n}") for n, (_, wanted) in enumerate(pairs)]
    granted = await store.begin(ANNA, APP, "token", intents)
    assert isinstance(granted, Grant)
    for number, (known, wanted) in enumerate(pairs):
        assert granted.standings[f"J{number}"].newest == (wanted > known), (known, wanted)


async def test_a_tombstone_stops_older_states_and_no_newer_ones(store: RedisStore) -> None:
    random = Random(3)
    pairs = [tuple(random.choices(REVISIONS, k=2)) for _ in range(200)]
    first = await store.begin(ANNA, APP, "first", [])
    assert isinstance(first, Grant)
    await store.finish(first.lease, Findings(buried={f"J{n}": rank(gone) for n, (gone, _) in enumerate(pairs)}))
    intents = [Intent(f"J{n}", rank(wanted), f"t{n}") for n, (_, wanted) in enumerate(pairs)]
    second = await store.begin(ANNA, APP, "second", intents)
    assert isinstance(second, Grant)
    for number, (gone, wanted) in enumerate(pairs):
        standing = second.standings[f"J{number}"]
        assert standing.memory == Tombstone(rank(gone))
        assert (standing.transaction_id is not None) == (wanted > gone), (gone, wanted)


async def test_a_deletion_outranks_the_newest_of_its_links(store: RedisStore) -> None:
    for number, revision in enumerate(REVISIONS[:-1]):
        job_id = f"J{number}"
        for mailbox, held in ((ANNA, revision), (ANNA._replace(address="ben@acme.example"), revision + 1)):
            granted = await store.begin(mailbox, APP, uuid4().hex, [])
            assert isinstance(granted, Grant)
            await store.finish(granted.lease, Findings(links={job_id: link(held)}))
    deleted = await store.route([Sighting(f"J{number}", None, 0, number) for number in range(len(REVISIONS) - 1)])
    assert [answer.rank for answer in deleted] == [rank(revision + 1, deleted=True) for revision in REVISIONS[:-1]]


async def test_a_deletion_met_again_is_told_by_its_offset(store: RedisStore) -> None:
    offsets = [offset for offset in REVISIONS if offset]

    async def met_again(offset: int) -> bool:
        job_id = uuid4().hex
        await store.route([Sighting(job_id, rank(7), 3, offset)])
        [again, after] = await store.route(
            [Sighting(job_id, None, 3, offset - 1), Sighting(job_id, None, 3, offset + 1)]
        )
        return again.rank < again.newest and after.rank == after.newest == rank(7, deleted=True)

    assert all(await asyncio.gather(*map(met_again, offsets)))
