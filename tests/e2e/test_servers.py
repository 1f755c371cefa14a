"""The real Kafka and the real Redis, as the sandbox starts them, keep what they acknowledged."""

import uuid
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from sandbox.servers.kafka import Kafka
from sandbox.servers.redis import debian_redis


def test_kafka_keeps_records_and_commits_over_a_restart(kafka: Kafka) -> None:
    topic = f"restart-{uuid.uuid4()}"
    kafka.create_topic(topic, partitions=1)
    produce(kafka, topic, [b"first", b"second"])

    consumer = join(kafka, topic)
    first = next_record(consumer)
    assert first.value() == b"first"
    consumer.commit(message=first, asynchronous=False)
    consumer.close()

    kafka.restart()

    consumer = join(kafka, topic)
    assert next_record(consumer).value() == b"second"
    (committed,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
    assert committed.offset == 1
    consumer.close()


def test_kafka_keeps_acknowledged_records_over_a_kill(kafka: Kafka) -> None:
    topic = f"kill-{uuid.uuid4()}"
    kafka.create_topic(topic, partitions=1)
    produce(kafka, topic, [b"first"])

    kafka.kill()
    kafka.start()

    consumer = join(kafka, topic)
    assert next_record(consumer).value() == b"first"
    consumer.close()


def test_kafka_gives_a_topic_its_partitions_and_config(kafka: Kafka) -> None:
    topic = f"config-{uuid.uuid4()}"
    kafka.create_topic(topic, partitions=3, config={"max.message.bytes": "1000"})
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    assert len(producer.list_topics(topic, timeout=10).topics[topic].partitions) == 3
    refused: list[KafkaError | None] = []
    producer.produce(topic, bytes(2_000), on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(10) == 0
    assert [error and error.code() for error in refused] == [KafkaError.MSG_SIZE_TOO_LARGE]


def test_kafka_refuses_a_topic_that_exists(kafka: Kafka) -> None:
    topic = f"twice-{uuid.uuid4()}"
    kafka.create_topic(topic, partitions=1)
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        kafka.create_topic(topic, partitions=1)


def test_kafka_serves_the_newer_group_protocol(kafka: Kafka) -> None:
    topic = f"kip-848-{uuid.uuid4()}"
    kafka.create_topic(topic, partitions=1)
    produce(kafka, topic, [b"first"])
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": topic,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    assert next_record(consumer).value() == b"first"
    consumer.close()


def test_redis_keeps_writes_over_a_restart_and_a_kill(tmp_path: Path) -> None:
    with debian_redis(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            client.set("link", "event-1")
        server.stop()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("link") == b"event-1"
            client.set("link", "event-2")
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("link") == b"event-2"


def test_the_shared_redis_runs_scripts(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.eval("return ARGV[1]", 0, "done") == b"done"


def produce(kafka: Kafka, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(10) == 0


def join(kafka: Kafka, topic: str) -> Consumer:
    """A member of the group named after the topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 1_000,
            "heartbeat.interval.ms": 200,
        }
    )
    consumer.subscribe([topic])
    return consumer


def next_record(consumer: Consumer) -> Message:
    record = consumer.poll(20)
    assert record is not None
    assert record.error() is None
    return record
