"""This release reads what every release wrote to Redis."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from consumer import __version__
from consumer.clock import SystemClock
from consumer.domain.job import rank
from consumer.domain.link import Pending, Tombstone
from consumer.domain.mailbox import Mailbox
from consumer.store import keys
from consumer.store.store import RedisStore
from consumer.sync.grant import Grant, Intent, Parked
from consumer.sync.marks import Mark
from consumer.sync.parking import BY_HAND, Parking
from consumer.sync.ranks import RankRequest
from consumer.sync.run_outcome import RunOutcome
from tests.company import eventually
from tests.upgrade.contents import ANNA, APP, BEN, DAN, LINKS, TOPIC, ZOE
from tests.upgrade.dump import load, names, save
from tests.upgrade.make_dump import write

DUMPS = sorted(Path(__file__).parent.glob("redis-*.json"))
KINDS = set(re.findall(r"^``(\w+)", keys.__doc__ or "", re.MULTILINE))
CURRENT = Path(__file__).with_name(f"redis-{__version__}.json")


def kinds(path: Path) -> set[str]:
    return {name.partition(":")[0] for name in names(path)}


@pytest.fixture(params=DUMPS, ids=lambda path: path.stem)
async def store(request: pytest.FixtureRequest, valkey_url: str) -> AsyncIterator[RedisStore]:
    """This release's store on what another release wrote."""
    prefix = f"{uuid4()}:"
    with redis.Redis.from_url(valkey_url) as client:
        load(client, prefix, request.param)
    opened = RedisStore.connect(valkey_url, prefix, SystemClock())
    yield opened
    await opened.close()


def test_the_dump_of_this_release_has_every_kind_of_key() -> None:
    assert kinds(CURRENT) == KINDS


async def test_the_dump_has_the_keys_that_this_release_writes(valkey_url: str, tmp_path: Path) -> None:
    """Otherwise the format has changed: see README.md."""
    prefix = f"{uuid4()}:"
    opened = RedisStore.connect(valkey_url, prefix, SystemClock())
    await write(opened)
    await opened.close()
    with redis.Redis.from_url(valkey_url) as client:
        save(client, prefix, __version__, tmp_path / "now.json")
    assert names(tmp_path / "now.json") == names(CURRENT)


async def test_the_store_takes_writes(store: RedisStore) -> None:
    await store.check()
    assert float(await store.born()) > 1e9


async def test_links_pending_links_and_tombstones_are_read(store: RedisStore) -> None:
    states = [("first", 1), ("gone", 4), ("pending", 1)]
    granted = await store.begin(
        ANNA, APP, "t", [Intent(job_id, rank(revision), None) for job_id, revision in states], everything=True
    )
    assert isinstance(granted, Grant)
    pending = Pending("transaction pending", rank(1))
    assert granted.links == {**LINKS, "pending": pending}
    assert all(memory.written_at > 1e9 for memory in granted.links.values())
    assert granted.assignments["first"].memory == LINKS["first"]
    assert granted.assignments["gone"].memory == Tombstone(rank(4))
    assert granted.assignments["pending"].memory == pending
    assert (granted.zone, granted.is_known) == ("Tokyo Standard Time", True)
    assert await store.finish(granted.lease, RunOutcome())


async def test_what_a_pending_link_stands_for_keeps_its_transaction_id(store: RedisStore) -> None:
    granted = await store.begin(ANNA, APP, "t", [Intent("pending", rank(2), "another")])
    assert isinstance(granted, Grant)
    assert granted.assignments["pending"].transaction_id == "transaction pending"


async def test_the_newest_rank_of_a_job_still_counts(store: RedisStore) -> None:
    stale, deleted, again = await store.route(
        [
            RankRequest("new", rank(8), 3, 80),
            RankRequest("first", None, 3, 81, topic_id="topic-id"),
            RankRequest("first", None, 3, 69, topic_id="topic-id"),
        ]
    )
    assert stale.newest == rank(9)
    assert (deleted.rank, deleted.holders, deleted.coming) == (rank(1, deleted=True), (ANNA,), 1)
    assert again.rank < again.newest


async def test_links_are_found_over_all_mailboxes(store: RedisStore) -> None:
    assert await store.linked("acme", "") == [ANNA.address, BEN.address]
    assert await store.holders("leased") == [BEN]
    assert await store.remembered("leased") == {BEN: Pending("transaction leased", rank(5))}
    assert await store.remembered("third é") == {ANNA: LINKS["third é"]}
    assert await store.linked_elsewhere(BEN, [("first", LINKS["first"].event_id)]) == {LINKS["first"].event_id}
    assert await store.coming("acme") == len(LINKS)


async def test_a_lease_that_was_never_released_is_taken_over_and_its_jobs_are_marked(store: RedisStore) -> None:
    async def granted() -> bool:
        return isinstance(await store.begin(BEN, APP, "t", []), Grant)

    await eventually(granted, "the lease is taken over")  # it has expired, unless the file is only seconds old
    assert Mark(BEN.address, "leased") in await store.dirty("acme")


async def test_marks_are_read_and_removed(store: RedisStore) -> None:
    marks = await store.dirty("acme")
    assert marks == [Mark("", "moved"), Mark(ANNA.address, "first")]
    assert await store.count_dirty("acme") == 2
    await store.clean("acme", marks)
    assert await store.dirty("acme") == []


async def test_what_operators_set_is_read(store: RedisStore) -> None:
    parked = dict(await store.list_parked())
    assert parked == {
        ZOE: Parking(BY_HAND, hourly=False, note="on leave"),
        DAN: Parking("ErrorAccessDenied", hourly=True),
    }
    assert all(parking.since > 1e9 for parking in parked.values())
    assert await store.begin(ZOE, APP, "t", []) == Parked(BY_HAND)
    [(site_id, since)] = (await store.paused()).items()
    assert (site_id, since > 1e9) == ("globex", True)
    await store.resume("globex")
    await store.enable(ZOE)
    assert await store.paused() == {}
    assert isinstance(await store.begin(ZOE, APP, "t", []), Grant)


async def test_blocked_partitions_and_replayed_dead_letters_are_read(store: RedisStore) -> None:
    blocked = await store.blocked(TOPIC)
    assert {partition: block.offset for partition, block in blocked.items()} == {3: 72}
    assert blocked[3].since > 1e9
    assert await store.replayed(f"{TOPIC}-dlq") == {0: 12, 1: 0}


async def test_what_sweeps_keep_is_read(store: RedisStore) -> None:
    assert await store.events("acme") == 57
    assert await store.unread("acme") == {BEN.address: 2}
    assert not await store.claim_sweep("acme", 300)
    assert await store.count_deletions("acme", ["gone", "a third"], 300) == (3, 57)


async def test_a_time_zone_can_be_forgotten(store: RedisStore) -> None:
    await store.forget_zone(ANNA)
    granted = await store.begin(ANNA, APP, "t", [])
    assert isinstance(granted, Grant)
    assert granted.zone is None


async def test_another_sites_data_are_not_mixed_in(store: RedisStore) -> None:
    assert await store.linked("globex", "") == []
    assert await store.dirty("globex") == []
    assert await store.remembered("first") == {ANNA: LINKS["first"]}
    assert Mailbox("globex", ANNA.address) not in dict(await store.list_parked())
