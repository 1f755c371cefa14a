"""Reading a span of a topic, beside the live group and without moving its offsets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.domain.errors import ConfigurationError, TransientError
from consumer.kafka.config import Config, make
from consumer.kafka.headers import headers_of
from consumer.kafka.hints import hint_of
from consumer.kafka.librdkafka_log import LibrdkafkaLog
from consumer.kafka.record import Epoch, Record

_TIMEOUT_SECONDS: Final = 10.0
_BATCH: Final = 500
_AWAY: Final = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})


class OffsetRange:
    """What a topic holds from some offsets on to where its partitions ended when it was opened."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        """Blocks. Raises ``ConfigurationError`` if the topic cannot be read."""
        self._consumer = consumer
        self._topic = topic
        self._open: dict[int, int] = {}
        """Of each partition that is not read to its end: that end."""
        self.length = 0
        """Records at most: compaction leaves gaps."""
        try:
            found = consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        except KafkaException as error:
            raise _unreadable(topic, error.args[0]) from None
        if found.error is not None:
            raise _unreadable(topic, found.error)
        self.partitions = sorted(found.partitions)

    def from_offsets(self, offsets: Mapping[int, int]) -> None:
        """Read from these offsets on, and partitions that are not named from their beginning. Blocks."""
        # An offset behind the end is of a topic that was there before this one.
        self._begin(
            lambda partition, low, high: low if offsets.get(partition, low) > high else offsets.get(partition, low)
        )

    def from_time(self, unix_time: float) -> None:
        """Read what was written at this time and later. Blocks."""
        asked = [TopicPartition(self._topic, partition, int(unix_time * 1000)) for partition in self.partitions]
        try:
            answers = self._consumer.offsets_for_times(asked, timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise _unreadable(self._topic, error.args[0]) from None
        for answer in answers:
            if answer.error is not None:
                raise _unreadable(self._topic, answer.error)
        found = {at.partition: at.offset for at in answers}
        # Negative: there is nothing so young.
        self._begin(lambda partition, _low, high: found[partition] if found[partition] >= 0 else high)

    def newest(self, count: int) -> None:
        """Read the last ``count`` records of each partition. Blocks."""
        self._begin(lambda _partition, low, high: max(low, high - count))

    def read(self) -> list[Record]:
        """The next records; none at the end. Blocks until there are some."""
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
        partition, offset = message.partition() or 0, message.offset() or 0
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._open.pop(partition, None)
            elif hint_of(error) is not None:
                raise _unreadable(self._topic, error)
            return None
        end = self._open.get(partition)
        if end is None or offset >= end:
            self._open.pop(partition, None)
            return None
        if offset == end - 1:
            del self._open[partition]
        headers = headers_of(message)
        key, value = message.key(), message.value()
        return Record(
            self._topic, partition, offset, key, value, headers, message.timestamp()[1] / 1000, Epoch(partition)
        )


@contextmanager
def offset_range(config: Config, topic: str, group: str) -> Iterator[OffsetRange]:
    """A span of a topic, closed at the end; ``group`` is named, as librdkafka wants, and never joined.

    Raises:
        ConfigurationError: the topic cannot be read.
        TransientError: no broker answers.
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
    if error.code() in _AWAY:
        return TransientError(f"CALSYNC_KAFKA_BOOTSTRAP_SERVERS: no broker answers: {error.str()}")
    advice = hint_of(error)
    return ConfigurationError([f"topic {topic} cannot be read: {error.str()}{f': {advice}' if advice else ''}"])
