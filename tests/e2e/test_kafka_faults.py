"""What a real Kafka refuses, leaves out or deletes: one partition may wait for it, and the others continue."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sandbox.core.feed import Record
from sandbox.servers.kafka import Kafka
from tests.company import Company, eventually, found_company

PARTITIONS = 4


@asynccontextmanager
async def founded(
    folder: Path, kafka: Kafka, redis_url: str, *, dead_letters: dict[str, str] | None = None
) -> AsyncIterator[Company]:
    """A company with open mailboxes. Its dead-letter topic has the settings ``dead_letters``, or does not exist."""
    name = f"faults-{uuid4().hex[:8]}"
    kafka.create_topic(name, partitions=PARTITIONS)
    if dead_letters is not None:
        kafka.create_topic(f"{name}.dlq", partitions=1, config=dead_letters)
    async with found_company(folder, kafka.bootstrap_servers, redis_url, name=name) as company:
        company.publish(company.generate(workers=4, jobs=5))
        await company.open_mailboxes()
        await company.give_core_the_schedule()
        yield company


def change_everything(company: Company) -> None:
    """Changes every job: at least one on each partition."""
    for job_id in list(company.schedule.jobs):
        company.publish(company.schedule.change_job(job_id, notes=uuid4().hex))


async def lag(company: Company) -> list[float]:
    """The lag of each partition in records, by the service's metric."""
    return await samples(company, "calsync_kafka_lag")


async def waiting(company: Company) -> list[float]:
    """For how many seconds each waiting partition has waited."""
    return await samples(company, "calsync_kafka_waiting_seconds")


async def samples(company: Company, name: str) -> list[float]:
    async with httpx.AsyncClient(verify=False) as client:
        text = (await client.get(f"{company.services[0].url}/metrics")).text
    return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(f"{name}{{")]


async def only_one_partition_waits(company: Company, hint: str) -> None:
    """The record that cannot be finished stops its partition, the log shows why, and the other partitions continue."""
    service = company.services[0]

    async def logged() -> bool:
        log = service.process.log.read_text()
        return "partition waits" in log and hint in log

    await eventually(logged, f"the log has {hint!r}", 60)
    change_everything(company)

    async def others_go_on() -> bool:
        different = await company.differences()
        behind = await lag(company)
        return (
            0 < len(different) < len(company.schedule.jobs)
            and len(behind) == PARTITIONS
            and behind.count(0) == PARTITIONS - 1
            and len(await waiting(company)) == 1
        )

    await eventually(others_go_on, "the other partitions are worked off", 60)
    assert await company.ready(service)


@pytest.mark.parametrize(
    ("dead_letters", "hint"),
    [(None, "the topic does not exist: create it"), ({"max.message.bytes": "100"}, "raise max.message.bytes")],
    ids=["missing", "takes nothing"],
)
async def test_a_dead_letter_that_its_topic_refuses_stops_only_its_partition_until_the_topic_is_repaired(
    tmp_path: Path, kafka: Kafka, redis_url: str, dead_letters: dict[str, str] | None, hint: str
) -> None:
    async with founded(tmp_path, kafka, redis_url, dead_letters=dead_letters) as company:
        await company.start()
        await company.equal()
        company.publish_raw(Record(next(iter(company.schedule.jobs)).encode(), b"no framing of ours"))
        await only_one_partition_waits(company, hint)
        name = f"{company.stack.topic}.dlq"
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        if dead_letters is not None:
            admin.delete_topics([name])[name].result(10)
            await eventually(lambda: _is_gone(admin, name), "the dead-letter topic is gone")
        admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])[name].result(10)
        await company.consumed()
        await company.judge()
        assert len(company.dead_letters()) == 1


async def test_a_dead_letter_too_large_for_its_topic_is_compressed_or_cut_and_replayed_from_core(
    tmp_path: Path, kafka: Kafka, redis_url: str
) -> None:
    async with founded(tmp_path, kafka, redis_url, dead_letters={"max.message.bytes": "10000"}) as company:
        await company.start()
        await company.equal()
        wide, noisy = list(company.schedule.jobs)[:2]
        compressible = b"\x07" + bytes(200_000)
        noise = b"\x07" + Random(1).randbytes(200_000)
        # The change that the unreadable record stands for: the replay reads it from Core.
        company.schedule.change_job(noisy, notes="Bring a ladder.")
        await company.give_core_the_schedule()
        company.publish_raw(
            Record(wide.encode(), compressible),
            Record(noisy.encode(), noise, (("trace", b"x" * 20_000), ("tenant", b"acme"))),
        )
        await company.consumed()
        whole, cut = sorted(company.dead_letters(), key=lambda letter: letter.key() == noisy.encode())
        assert whole.value() == compressible
        about = dict(cut.headers())
        kept = int(about["calsync.truncated"])
        assert kept == len(cut.value()) > 2_000
        assert cut.value() == noise[: kept - kept // 2] + noise[len(noise) - kept // 2 :]
        assert (about["calsync.size"], about["calsync.sha256"]) == (
            str(len(noise)).encode(),
            hashlib.sha256(noise).hexdigest().encode(),
        )
        assert len(await company.differences()) > 0
        await company.command("dead-letters", "replay")
        await company.judge()


async def test_a_compacted_dead_letter_topic_takes_a_record_without_a_key(
    tmp_path: Path, kafka: Kafka, redis_url: str
) -> None:
    async with founded(tmp_path, kafka, redis_url, dead_letters={"cleanup.policy": "compact"}) as company:
        service = await company.start()
        company.publish_raw(Record(None, b"no framing of ours"))
        change_everything(company)
        await company.consumed()
        await company.judge()
        [letter] = company.dead_letters()
        assert dict(letter.headers())["calsync.key"] == b"none"
        assert letter.value() == b"no framing of ours"
        assert "cleanup.policy=delete" in service.process.log.read_text()


async def test_a_transactional_producers_markers_leave_no_lag(tmp_path: Path, kafka: Kafka, redis_url: str) -> None:
    async with founded(tmp_path, kafka, redis_url, dead_letters={}) as company:
        await company.start()
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": uuid4().hex})
        await asyncio.to_thread(producer.init_transactions, 30)
        for end in (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction):
            producer.begin_transaction()
            for job_id in list(company.schedule.jobs):
                if end == producer.abort_transaction:
                    producer.produce(company.stack.topic, b"never read", job_id.encode())
                    continue
                for change in company.schedule.change_job(job_id, notes=uuid4().hex):
                    for record in company.encoder.records(change):
                        producer.produce(company.stack.topic, record.value, record.key)
            # An abort drops what was not sent yet, and fails if nothing was (confluentinc/librdkafka#4849).
            await asyncio.to_thread(producer.flush, 30)
            await asyncio.to_thread(end, 30)
        await company.consumed()
        await company.judge()

        async def no_lag() -> bool:
            return await lag(company) == [0.0] * PARTITIONS

        await eventually(no_lag, "the lag is 0")


@pytest.mark.parametrize("filled", [False, True], ids=["short", "longer than the old one"])
async def test_a_topic_that_is_created_again_brings_deletions_and_is_committed_without_a_restart(
    tmp_path: Path, kafka: Kafka, redis_url: str, *, filled: bool
) -> None:
    async with founded(tmp_path, kafka, redis_url, dead_letters={}) as company:
        change_everything(company)
        service = await company.start(CALSYNC_SWEEP_INTERVAL_SECONDS="3600")
        await eventually(lambda: company.sweeps(service, "site-1"), "the site is swept, and not again")
        await company.consumed()
        await company.judge()
        topic = company.stack.topic
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.delete_topics([topic])[topic].result(10)
        await eventually(lambda: _is_gone(admin, topic), "the topic is gone")
        kafka.create_topic(topic, partitions=PARTITIONS)
        # Newest jobs first: their deletions have the lowest offsets.
        for job_id in list(company.schedule.jobs)[-3:]:
            company.publish(company.schedule.delete(job_id))
        if filled:
            for _ in range(4):
                change_everything(company)
        await company.give_core_the_schedule()
        # The service may commit the old offsets up to the end before it notices the new topic.
        await company.equal()
        await company.consumed()
        await company.judge()
        assert await company.metric(service, 'calsync_sweep_repairs_total{cause="orphaned",site="site-1"}') == 0
        change_everything(company)
        await company.consumed()
        await company.judge()
        assert service.process.running


async def test_a_kill_at_the_default_settings_is_recovered_from_within_seconds(
    tmp_path: Path, kafka: Kafka, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with founded(tmp_path, kafka, redis_url, dead_letters={}) as company:
        replicas = [
            await company.start(f"replica-{number}", CALSYNC_SWEEP_INTERVAL_SECONDS="3600") for number in (1, 2, 3)
        ]
        await company.consumed()
        hold = await company.graph.set_fault("hold", operation="update", when="after", times=10)
        change_everything(company)
        await company.graph.wait_for_fault(hold, hits=1, within=30)
        # The replica is killed between writes and their links.
        killed_at = time.monotonic()
        replicas[0].process.kill()
        await company.graph.remove_fault(hold)
        change_everything(company)
        # The session's timeout, then at most one lease; the deadline leaves room for a busy machine.
        await company.consumed(within=40)
        await company.equal(within=20)
        seconds = time.monotonic() - killed_at
        with capsys.disabled():
            print(f"\nexact {seconds:.1f} s after the kill of one of three replicas")
        await company.give_core_the_schedule()
        done = await company.sweep()
        assert done.status == 0, done.errors
        await company.judge()


async def _is_gone(admin: AdminClient, topic: str) -> bool:
    return topic not in (await asyncio.to_thread(admin.list_topics, timeout=10)).topics
