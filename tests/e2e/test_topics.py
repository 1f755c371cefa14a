"""Commands that read the real Kafka's topics."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient

from sandbox.core.feed import Record
from sandbox.core.producer import FeedProducer
from sandbox.servers.kafka import Kafka
from tests.company import Company, eventually, found_company, now


@pytest.fixture
async def company(tmp_path: Path, kafka: Kafka, redis_url: str) -> AsyncIterator[Company]:
    name = f"topics-{uuid4().hex[:8]}"
    kafka.create_topic(name, partitions=3, config={"cleanup.policy": "compact"})
    kafka.create_topic(f"{name}.dlq", partitions=1)
    async with found_company(tmp_path, kafka.bootstrap_servers, redis_url, name=name) as founded:
        yield founded


async def test_a_replay_brings_every_job_it_names_to_cores_state_and_moves_no_offset(company: Company) -> None:
    began = now()
    changes = company.generate(workers=3, jobs=4)
    company.publish(changes)
    await company.open_mailboxes()
    for job in list(company.schedule.jobs.values())[:3]:
        company.schedule.change_job(job.job_id, notes="Changed without a record.")
    company.schedule.delete(list(company.schedule.jobs)[-1])
    await company.give_core_the_schedule()
    done = await company.command("replay", "--from", (began - timedelta(seconds=5)).isoformat())
    assert done.returncode == 0, done.stderr
    assert "applied" in done.stdout
    await company.judge()
    service = await company.start()
    await company.consumed()
    handled = await company.metric(service, 'calsync_events_total{result="unchanged"}')
    handled += await company.metric(service, 'calsync_events_total{result="stale"}')
    assert handled > 0
    later = await company.command("replay", "--from", "0s")
    assert later.returncode == 0, later.stderr
    assert "Replayed: 0" in later.stdout
    wrong = await company.command("replay", "--from", "yesterday")
    assert wrong.returncode == 2
    assert "yesterday" in wrong.stderr


async def test_dead_letters_of_a_recreated_topic_do_not_count_as_replayed(company: Company, kafka: Kafka) -> None:
    name = f"{company.stack.topic}.dlq"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    beside = FeedProducer(kafka.bootstrap_servers, name)
    for listed in (2, 1):
        beside.send([Record(b"J-1", b"no framing of ours")] * listed)
        beside.flush()
        found = await company.command("dead-letters", "list", "--json")
        assert len(json.loads(found.stdout)["letters"]) == listed, found.stderr
        # Each record fails again and becomes a new dead letter behind the replayed ones.
        await company.command("dead-letters", "replay")
        admin.delete_topics([name])[name].result(10)

        async def is_gone() -> bool:
            return name not in (await asyncio.to_thread(admin.list_topics, timeout=10)).topics

        await eventually(is_gone, "the dead-letter topic is gone")
        kafka.create_topic(name, partitions=1)


@pytest.mark.parametrize("command", [("dead-letters", "list"), ("check-feed",), ("replay", "--from", "1h")])
async def test_a_missing_topic_is_reported_by_name(company: Company, command: tuple[str, ...]) -> None:
    company.stack.topic = "nowhere"
    done = await company.command(*command)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "CALSYNC_KAFKA_TOPIC" in done.stderr


async def test_a_topic_that_is_not_compacted_is_reported_for_cores_team(company: Company, kafka: Kafka) -> None:
    company.publish(company.generate(workers=2, jobs=3))
    assert json.loads((await company.command("check-feed", "--json")).stdout)["faults"] == []
    short = f"{company.stack.topic}-short"
    kafka.create_topic(short, partitions=1)
    found = await company.command("check-feed", "--json", "--topic", short)
    assert found.returncode == 1
    assert [fault["fault"] for fault in json.loads(found.stdout)["faults"]] == ["the topic is not compacted"]


async def test_a_block_outlives_the_replica_that_set_it(company: Company) -> None:
    company.publish_raw(*[Record(b"J-unreadable", b"no framing of ours")] * 55)
    first = await company.start("first")

    async def is_blocked() -> bool:
        listed = await company.command("dead-letters", "list", "--json")
        return bool(json.loads(listed.stdout)["blocked"])

    await eventually(is_blocked, "the partition is blocked")
    second = await company.start("second")
    await asyncio.to_thread(first.process.stop)
    company.publish(company.generate(workers=3, jobs=2))
    await company.open_mailboxes()

    async def works() -> bool:
        return await company.metric(second, 'calsync_events_total{result="applied"}') > 0

    await eventually(works, "the second replica works")
    assert len(company.dead_letters()) == 50
