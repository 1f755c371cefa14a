"""Reads a range of a topic beside the live consumer group, without changing the group's offsets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.domain.errors import ConfigurationError, TransientError
from consumer.kafka.config import Config, make
from consumer.kafka.hints import hint_of
from consumer.kafka.librdkafka_log import UNAVAILABLE, LibrdkafkaLog
from consumer.kafka.message import place_of, record_of
from consumer.kafka.record import Epoch, Record

_TIMEOUT_SECONDS: Final = 10.0
_BATCH: Final = 500


class OffsetRange:
    """The records of a topic, from chosen offsets to the ends of its partitions at the time of the choice."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        """Blocks. Raises ``ConfigurationError`` if the topic cannot be read."""
        self._consumer = consumer
        self._topic = topic
        self._open: dict[int, int] = {}
        """The end of each partition that is not read to its end. At most one entry for each partition."""
        self.length = 0
        """The most records that there can be. Compaction leaves gaps, so there may be fewer."""
        try:
            found = consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        except KafkaException as error:
            raise _unreadable(topic, error.args[0]) from None
        if found.error is not None:
            raise _unreadable(topic, found.error)
        self.partitions = sorted(found.partitions)

    def from_offsets(self, offsets: Mapping[int, int]) -> None:
        """Read from these offsets on, and all other partitions from their beginning. Blocks."""
        # An offset after the end belongs to an earlier topic of this name.
        self._begin(
            lambda partition, low, high: low if offsets.get(partition, low) > high else offsets.get(partition, low)
        )

    def from_time(self, unix_time: float) -> None:
        """Read the records written at this time and later. Blocks."""
        asked = [TopicPartition(self._topic, partition, int(unix_time * 1000)) for partition in self.partitions]
        try:
            answers = self._consumer.offsets_for_times(asked, timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise _unreadable(self._topic, error.args[0]) from None
        for answer in answers:
            if answer.error is not None:
                raise _unreadable(self._topic, answer.error)
        found = {at.partition: at.offset for at in answers}
        # Negative if the partition has no such record.
        self._begin(lambda partition, _low, high: found[partition] if found[partition] >= 0 else high)

    def newest(self, count: int) -> None:
        """Read the last ``count`` records of each partition. Blocks."""
        self._begin(lambda _partition, low, high: max(low, high - count))

    def read(self) -> list[Record]:
        """The next records, up to 500; an empty list at the end. Blocks until there are some."""
        records: list[Record] = []
        while self._open and not records:
            for message in self._consumer.consume(_BATCH, 0.2):
                record = self._take(message)
                if record is not None:
                    records.append(record)
        return records

    def _begin(self, start: Callable[[int, int, int], int]) -> None:
        starts = []
        for partition in self.partitions:
            try:
                low, high = self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), timeout=_TIMEOUT_SECONDS
                )
            except KafkaException as error:
                raise _unreadable(self._topic, error.args[0]) from None
            first = start(partition, low, high)
            if first < high:
                self._open[partition] = high
                self.length += high - first
                starts.append(TopicPartition(self._topic, partition, first))
        self._consumer.assign(starts)

    def _take(self, message: Message) -> Record | None:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._open.pop(place_of(message)[0], None)
            elif hint_of(error) is not None:
                raise _unreadable(self._topic, error)
            return None
        partition, offset = place_of(message)
        end = self._open.get(partition)
        if end is None or offset >= end:
            self._open.pop(partition, None)
            return None
        if offset == end - 1:
            del self._open[partition]
        return record_of(message, self._topic, Epoch(partition))


@contextmanager
def offset_range(config: Config, topic: str, group: str) -> Iterator[OffsetRange]:
    """A range of a topic, closed with the context. librdkafka requires a ``group``, but it is never joined.

    Raises:
        ConfigurationError: the topic cannot be read.
        TransientError: the brokers do not answer.
    """
    consumer = make(
        Consumer,
        {
            **config,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "logger": LibrdkafkaLog(),
        },
    )
    try:
        yield OffsetRange(consumer, topic)
    finally:
        consumer.close()


def _unreadable(topic: str, error: KafkaError) -> ConfigurationError | TransientError:
    if error.code() in UNAVAILABLE:
        return TransientError(f"CALSYNC_KAFKA_BOOTSTRAP_SERVERS: no broker answers: {error.str()}")
    advice = hint_of(error)
    return ConfigurationError([f"topic {topic} cannot be read: {error.str()}{f': {advice}' if advice else ''}"])
