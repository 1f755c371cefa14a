"""The consumer group's lag, as the broker gives it: librdkafka's own figures do not change while it is paused."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.kafka.config import Config, make
from consumer.kafka.librdkafka_log import QUIET, level_of
from consumer.repeated import Repeated
from consumer.sync.partition_lag import PartitionLag

_TIMEOUT_SECONDS: Final = 5.0
_SHORT_SECONDS: Final = 0.5
"""The timeout after one partition did not answer: its broker may lead many."""
_READ_SECONDS: Final = 1.0
"""How long the record at a committed offset is waited for; a partition without an answer is asked again next time."""


class Lag:
    """Measures with its own client, which never joins the group."""

    def __init__(self, config: Config, topic: str, make_consumer: Callable[[Config], Consumer] = Consumer) -> None:
        self._consumer = make(make_consumer, {**config, **QUIET, "enable.auto.commit": False})
        self._topic = topic
        self._repeated = Repeated(time.monotonic)
        self._measured: dict[int, PartitionLag] = {}
        """The last measurement of each partition that was asked for last."""

    def measure(self, oldest: Mapping[int, float | None]) -> dict[int, PartitionLag]:
        """The lag of these partitions. Blocks.

        Args:
            oldest: the partitions, each with the Unix time of its oldest record that was read and is not done.

        Returns:
            For a partition about which the broker does not answer, its last measurement; without one, none.

        If nothing of a partition was read although it has lag, its next record is read here for its time: reading may
        be paused, blocked, or not have begun. Only an offset that did not move since the last measurement is read, so
        nothing is read in normal operation.
        """
        before, self._measured = self._measured, {p: self._measured[p] for p in oldest if p in self._measured}
        errors: dict[int, KafkaError] = {}
        for committed in self._committed(list(oldest)):
            if committed.error is not None:
                errors[committed.error.code()] = committed.error
                continue
            try:
                self._measure(
                    committed,
                    oldest[committed.partition],
                    before.get(committed.partition),
                    _SHORT_SECONDS if errors else _TIMEOUT_SECONDS,
                )
            except KafkaException as error:
                errors[error.args[0].code()] = error.args[0]
        for fault in errors.values():
            self._failed(fault)
        return {
            number: lag if oldest[number] is None else replace(lag, oldest=oldest[number], is_age_known=True)
            for number, lag in self._measured.items()
        }

    def _committed(self, partitions: list[int]) -> list[TopicPartition]:
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        try:
            return self._consumer.committed(asked, timeout=_TIMEOUT_SECONDS) if asked else []
        except KafkaException as error:
            self._failed(error.args[0])
            return []

    def _failed(self, fault: KafkaError) -> None:
        self._repeated.happened(fault.code(), level_of(fault), "lag measurement failed", error=fault.name())

    def _measure(
        self, committed: TopicPartition, since: float | None, before: PartitionLag | None, timeout: float
    ) -> None:
        low, high = self._consumer.get_watermark_offsets(committed, timeout=timeout, cached=False)
        # The old offset stays committed when a topic is created again, and may be past its end.
        position = min(max(low, committed.offset), high)
        is_known = True
        if since is None and position < high and (before is None or before.committed == position):
            # If the offset has moved since, what is done is only not committed yet.
            since = None if before is None else before.oldest or self._read_time(committed.partition, position)
            is_known = since is not None
        self._measured[committed.partition] = PartitionLag(high - position, position, since, is_known)

    def _read_time(self, partition: int, position: int) -> float | None:
        """Unix time of the record at ``position``; ``None`` if it cannot be read now."""
        self._consumer.assign([TopicPartition(self._topic, partition, position)])
        try:
            message = self._consumer.poll(_READ_SECONDS)
        finally:
            self._consumer.unassign()
        if message is None or message.error() is not None:
            return None
        _, milliseconds = message.timestamp()
        return milliseconds / 1000 if milliseconds > 0 else None

    def partition_count(self) -> int | None:
        """How many partitions the topic has, 0 if there is no such topic; ``None`` if no broker answers. Blocks."""
        try:
            topic = self._consumer.list_topics(self._topic, timeout=_TIMEOUT_SECONDS).topics[self._topic]
        except KafkaException:
            return None
        return len(topic.partitions)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()
