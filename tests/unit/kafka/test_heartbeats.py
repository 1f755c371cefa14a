"""Debezium's heartbeats: the newest one counts, and a missing topic is reported once with what to do."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.testing import capture_logs

from consumer.kafka import heartbeats as module
from consumer.kafka.heartbeats import Heartbeats

TOPIC = "__debezium-heartbeat.core"


class Broker:
    """A topic of two partitions with the offsets 0 to 6, and what the test puts into the next batch."""

    def __init__(self) -> None:
        self.topic_error: KafkaError | None = None
        self.failure: KafkaException | None = None
        self.batch: list[Any] = []
        self.assigned: dict[int, int] = {}
        self.closed = False

    def list_topics(self, topic: str, timeout: float) -> Any:
        if self.failure is not None:
            raise self.failure
        return SimpleNamespace(topics={topic: SimpleNamespace(error=self.topic_error, partitions={0: None, 1: None})})

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        return (0, 7) if partition.partition == 0 else (7, 7)

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = {each.partition: each.offset for each in partitions}

    def consume(self, _number: int, _timeout: float) -> list[Any]:
        batch, self.batch = self.batch, []
        return batch

    def close(self) -> None:
        self.closed = True


Made = tuple[Broker, Heartbeats]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    broker = Broker()
    make: Callable[..., Any] = lambda *_: broker  # noqa: E731
    monkeypatch.setattr(module, "make", make)
    return broker, Heartbeats({}, TOPIC)


def heartbeat(seconds: float, error: KafkaError | None = None) -> Any:
    return SimpleNamespace(error=lambda: error, timestamp=lambda: (1, int(seconds * 1000)))


def test_the_newest_heartbeat_counts_and_stays_until_a_newer_one_comes(made: Made) -> None:
    broker, heartbeats = made
    assert heartbeats.newest() is None
    assert broker.assigned == {0: 6, 1: 7}, "from the last record on"
    broker.batch = [heartbeat(20), heartbeat(10), heartbeat(99, KafkaError(KafkaError._TRANSPORT))]
    assert heartbeats.newest() == 20
    assert heartbeats.newest() == 20
    broker.batch = [heartbeat(30)]
    assert heartbeats.newest() == 30


def test_a_missing_topic_is_reported_once_and_read_as_soon_as_it_exists(made: Made) -> None:
    broker, heartbeats = made
    broker.topic_error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    with capture_logs() as logs:
        assert [heartbeats.newest() for _ in range(3)] == [None] * 3
    [line] = logs
    assert (line["event"], line["topic"]) == ("heartbeat topic missing", TOPIC)
    assert "CALSYNC_KAFKA_HEARTBEAT_TOPIC" in line["hint"]
    broker.topic_error, broker.batch = None, [heartbeat(10)]
    assert heartbeats.newest() == 10


def test_a_broker_that_does_not_answer_raises_nothing_and_the_next_read_succeeds(made: Made) -> None:
    broker, heartbeats = made
    broker.failure = KafkaException(KafkaError(KafkaError._TRANSPORT))
    with capture_logs() as logs:
        assert heartbeats.newest() is None
    assert [(line["event"], line["error"]) for line in logs] == [("reading heartbeats failed", "_TRANSPORT")]
    broker.failure, broker.batch = None, [heartbeat(10)]
    assert heartbeats.newest() == 10
    heartbeats.close()
    assert broker.closed
