"""A range of a topic: where it begins and ends, and how a topic that cannot be read is reported."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.domain.errors import ConfigurationError, TransientError
from consumer.kafka.offset_range import OffsetRange
from tests.unit.kafka.group_world import Message


def failed(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


class Broker:
    """A topic of two partitions with the offsets 3 to 9 each. What a test sets as a failure is raised."""

    def __init__(self, **failures: Any) -> None:
        self.failures = failures
        self.assigned: dict[int, int] = {}
        self.batches: list[list[Any]] = []

    def _may_fail(self, name: str) -> None:
        if isinstance(self.failures.get(name), Exception):
            raise self.failures[name]

    def list_topics(self, topic: str, timeout: float) -> Any:
        self._may_fail("metadata")
        found = SimpleNamespace(error=self.failures.get("topic"), partitions={1: None, 0: None})
        return SimpleNamespace(topics={topic: found})

    def get_watermark_offsets(self, _partition: TopicPartition, timeout: float) -> tuple[int, int]:
        self._may_fail("watermarks")
        return 3, 10

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[Any]:
        self._may_fail("times")
        error = self.failures.get("time of a partition")
        # Partition 1 has no record that new.
        return [
            SimpleNamespace(partition=each.partition, offset=-1 if each.partition else 6, error=error) for each in asked
        ]

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = {each.partition: each.offset for each in partitions}

    def consume(self, _number: int, _timeout: float) -> list[Any]:
        return self.batches.pop(0)


def range_of(broker: Broker) -> OffsetRange:
    consumer: Any = broker
    return OffsetRange(consumer, "topic")


def fault(code: int) -> Any:
    return SimpleNamespace(error=lambda: KafkaError(code))


DOWN, DENIED = KafkaError._ALL_BROKERS_DOWN, KafkaError.TOPIC_AUTHORIZATION_FAILED
FAILURES: dict[str, Callable[[int], Any]] = {
    "metadata": failed,
    "topic": KafkaError,
    "watermarks": failed,
    "times": failed,
    "time of a partition": KafkaError,
}


@pytest.mark.parametrize("where", FAILURES)
@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (DOWN, TransientError, "CALSYNC_KAFKA_BOOTSTRAP_SERVERS: no broker answers"),
        (DENIED, ConfigurationError, "topic topic cannot be read: .*: grant the service's user READ"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ConfigurationError, "create it, or check CALSYNC_KAFKA_TOPIC"),
    ],
)
def test_a_topic_that_cannot_be_read_is_reported_with_what_to_do(
    where: str, code: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        range_of(Broker(**{where: FAILURES[where](code)})).from_time(1000.0)


def test_a_read_that_the_broker_refuses_ends_with_what_to_do() -> None:
    broker = Broker()
    topic = range_of(broker)
    topic.newest(2)
    broker.batches = [[fault(KafkaError._TRANSPORT)], [fault(DENIED)]]
    with pytest.raises(ConfigurationError, match="grant the service's user READ"):
        topic.read()


def test_a_range_from_a_time_leaves_out_partitions_without_so_new_a_record() -> None:
    broker = Broker()
    topic = range_of(broker)
    topic.from_time(1000.0)
    assert (broker.assigned, topic.length) == ({0: 6}, 4)


def test_an_offset_after_the_end_belongs_to_an_earlier_topic_and_the_partition_is_read_from_its_beginning() -> None:
    broker = Broker()
    topic = range_of(broker)
    topic.from_offsets({0: 10, 1: 11})
    assert (broker.assigned, topic.length) == ({1: 3}, 7)


def test_a_range_ends_where_the_topic_ended_when_it_was_chosen() -> None:
    broker = Broker()
    topic = range_of(broker)
    topic.newest(2)
    broker.batches = [
        [Message(0, 8), Message(0, 9), Message(0, 10), Message(1, 8)],
        # The last offset was a transaction's marker: the next record is past the end.
        [Message(1, 10)],
    ]
    assert [(record.partition, record.offset) for record in topic.read()] == [(0, 8), (0, 9), (1, 8)]
    assert topic.read() == []


def test_a_partition_that_ends_with_a_marker_is_read_to_its_end() -> None:
    broker = Broker()
    topic = range_of(broker)
    topic.newest(1)
    broker.batches = [[Message(0, 10, end=True), Message(1, 10, end=True)]]
    assert topic.read() == []
    assert broker.batches == []
