"""Write what this release keeps in Redis to a file: ``python -m tests.upgrade.make_dump``."""

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from consumer import __version__
from consumer.clock import SystemClock
from consumer.domain.job import rank
from consumer.domain.mailbox import Mailbox
from consumer.store.store import RedisStore
from consumer.sync.grant import Grant, Intent
from consumer.sync.parking import BY_HAND
from consumer.sync.ranks import RankRequest
from consumer.sync.run_outcome import RunOutcome
from sandbox.servers.embedded import embedded_valkey
from tests.upgrade.contents import ANNA, APP, BEN, DAN, LINKS, TOPIC, ZOE
from tests.upgrade.dump import save

FOLDER = Path(__file__).parent
PREFIX = "calsync:"


async def write(store: RedisStore) -> None:
    """Have the store write every kind of key that it has."""
    await store.born()
    await store.route([RankRequest("first", rank(1), 3, 70, topic_id="topic-id"), RankRequest("new", rank(9), 3, 71)])
    await _run(store, ANNA, ["first"], RunOutcome(links=dict(LINKS), zone="Tokyo Standard Time"), known=True)
    await _run(store, ANNA, ["gone"], RunOutcome(tombstones={"gone": rank(4)}))
    await _run(store, ANNA, ["pending"], RunOutcome())  # the outcome of its create is unknown
    await store.begin(BEN, APP, "token", [Intent("leased", rank(5), "transaction leased")])  # its replica dies
    await store.mark_dirty([(ANNA, "first"), (Mailbox("acme", ""), "moved")])
    await store.park(ZOE, BY_HAND, hourly=False, note="on leave")
    await store.park(DAN, "ErrorAccessDenied", hourly=True)
    await store.pause("globex")
    await store.block(TOPIC, 3, 72)
    await store.remember_replayed(f"{TOPIC}-dlq", {0: 12, 1: 0})
    await store.count_deletions("acme", ["gone", "gone too"], 300)
    await store.remember_events("acme", 57)
    await store.remember_unread("acme", {BEN.address: 2})
    await store.claim_sweep("acme", 300)
    await store.check()


async def _run(
    store: RedisStore, mailbox: Mailbox, jobs: list[str], outcome: RunOutcome, *, known: bool = False
) -> None:
    intents = [Intent(job_id, rank(1), f"transaction {job_id}") for job_id in jobs]
    granted = await store.begin(mailbox, APP, f"token {jobs}", intents)
    assert isinstance(granted, Grant)
    if known:
        outcome.listed_in = granted.incarnation
    assert await store.finish(granted.lease, outcome)


async def _write(url: str) -> None:
    store = RedisStore.connect(url, PREFIX, SystemClock(), new_id=lambda: "0" * 32)
    await write(store)
    await store.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overwrite", action="store_true", help="replace the file, if the release is not published")
    overwrite = parser.parse_args().overwrite
    path = FOLDER / f"redis-{__version__}.json"
    if path.exists() and not overwrite:
        sys.stderr.write(f"{path.name} exists: a published release's file must never change; see --overwrite\n")
        return 2
    with TemporaryDirectory() as folder, embedded_valkey(Path(folder)) as server:
        asyncio.run(_write(server.url))
        with redis.Redis(port=server.port) as client:
            save(client, PREFIX, __version__, path)
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
