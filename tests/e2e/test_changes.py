"""The service against a real Kafka and a real Redis, with replicas killed while they work."""

import asyncio
from datetime import timedelta
from pathlib import Path

from sandbox.core.generate import random_change
from sandbox.servers.kafka import Kafka
from tests.company import Company, eventually, found_company, now

CHANGES = 5_000


async def test_five_thousand_changes_three_replicas_one_killed_one_stopped(
    tmp_path: Path, kafka: Kafka, redis_url: str
) -> None:
    kafka.create_topic("killed", partitions=12)
    kafka.create_topic("killed.dlq", partitions=1)
    async with found_company(
        tmp_path, kafka.bootstrap_servers, redis_url, name="killed", site_ids=("site-1", "site-2")
    ) as company:
        changes = company.generate(workers=100, jobs=6)
        while len(changes) < CHANGES:
            changes += random_change(company.schedule, company.random, start=now() + timedelta(days=1), days=19)
        await company.open_mailboxes(changes)
        first, second, third = [await company.start(f"replica-{n}") for n in (1, 2, 3)]
        half = len(changes) // 2
        company.publish(changes[: half // 2])
        await eventually(lambda: _writes(company, 200), "the first events are made", 60)
        # Creates are carried out and their answers held back, so the replica is killed between a write and its link.
        hold = await company.graph.set_fault("hold", operation="create", when="after", times=40)
        company.publish(changes[half // 2 : half])
        await company.graph.wait_for_fault(hold, hits=1, within=30)
        first.process.kill()
        await company.graph.remove_fault(hold)
        company.publish(changes[half:])
        await eventually(lambda: _writes(company, 700), "half of the events are made", 90)
        await asyncio.to_thread(second.process.stop)
        await company.consumed(within=180)
        # The fuse left these deletions to a sweep because there were many in one interval. An operator allows them.
        await company.give_core_the_schedule()
        done = await company.sweep("--allow-mass-delete")
        assert done.status == 0, done.errors
        await company.judge()
        assert third.process.running
        stats = await company.graph.stats()
        assert stats["max_in_flight"] <= 4


async def _writes(company: Company, count: int) -> bool:
    return sum(len(events) for events in (await company.graph.events()).values()) >= count
