"""Core and the registry in their own processes, and the feed on a real topic."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from sandbox.core.feed import Encoder, single_object
from sandbox.core.generate import generate
from sandbox.core.producer import FeedProducer
from sandbox.core.schedule import Schedule

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@contextmanager
def started(module: str, *arguments: str) -> Iterator[str]:
    """Runs a module as a process and yields its address. The process must end cleanly at SIGTERM."""
    command = [sys.executable, "-m", module, "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            opening, _, address = process.stdout.readline().strip().partition(" ")
            assert opening == "listening"
            yield address
        finally:
            os.kill(process.pid, signal.SIGTERM)
            code = process.wait(10)
    assert code == 0


def read(bootstrap_servers: str, topic: str, count: int) -> list[Message]:
    """Returns the topic's first records."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "unused"})
    messages: list[Message] = []
    deadline = time.monotonic() + 20
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        while len(messages) < count:
            assert time.monotonic() < deadline, f"{len(messages)} of {count} records"
            message = consumer.poll(1.0)
            if message is not None:
                assert message.error() is None
                messages.append(message)
    finally:
        consumer.close()
    return messages


def test_core_serves_and_sends_its_changes_at_once(broker: str) -> None:
    topic = f"core-{uuid4()}"
    with started("sandbox.core", "--bootstrap-servers", broker, "--topic", topic, "--token", "secret") as address:
        with httpx.Client(base_url=address) as core:
            core.put("/_sandbox/sites/acme", json={"name": "Acme", "timezone": "Europe/London"}).raise_for_status()
            worker = {"site_id": "acme", "calendar_email": "ann@acme.example"}
            core.put("/_sandbox/workers/w1", json=worker).raise_for_status()
            row = {"job_id": "J-1", "site_id": "acme", "workers": ["w1"]}
            core.post("/_sandbox/jobs", json=row).raise_for_status()
            core.delete("/_sandbox/jobs/J-1").raise_for_status()
            answer = core.get("/sites/acme/jobs/J-1", headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 404
        messages = read(broker, topic, 3)

    assert {message.key() for message in messages} == {b"J-1"}
    values = [message.value() for message in messages]
    assert [value is None for value in values] == [False, False, True]
    assert values[0] is not None
    assert values[0].startswith(single_object(Encoder().value_schema))


def test_the_registry_serves() -> None:
    with started("sandbox.registry", "--user", "me:pw") as address:
        assert httpx.get(f"{address}/subjects").status_code == 401
        assert httpx.get(f"{address}/subjects", auth=("me", "pw")).json() == []


def test_the_producer_counts_what_has_arrived(broker: str) -> None:
    topic, schedule, encoder = f"feed-{uuid4()}", Schedule(lambda: NOW), Encoder()
    changes = generate(schedule, Random(1), site_count=1, workers=10, jobs=5, start=NOW)
    producer = FeedProducer(broker, topic)

    for change in changes:
        producer.send(encoder.records(change))
    producer.flush()

    assert (producer.sent, producer.delivered) == (50, 50)
    assert {message.key() for message in read(broker, topic, 50)} == {job_id.encode() for job_id in schedule.jobs}


def test_the_producer_reports_records_that_never_arrive() -> None:
    producer = FeedProducer("127.0.0.1:1", "nowhere", {"message.timeout.ms": 200, "log_level": 0, "linger.ms": 0})
    (change,) = generate(Schedule(lambda: NOW), Random(1), site_count=1, workers=1, jobs=1, start=NOW)
    producer.send(Encoder().records(change))

    with pytest.raises(KafkaException):
        producer.flush()
