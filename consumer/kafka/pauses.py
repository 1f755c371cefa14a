"""Which partitions are paused in librdkafka."""

from collections.abc import Iterable

from confluent_kafka import Consumer, TopicPartition


class Pauses:
    """What is paused now, because librdkafka cannot be asked (librdkafka#2703). Used by the Kafka thread alone."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._paused: set[int] = set()
        """At most all assigned partitions."""

    def set(self, consumer: Consumer, wanted: set[int]) -> None:
        """Pause these partitions, and resume all others. Each must be assigned."""
        if wanted == self._paused:
            return
        # A pause discards what was fetched ahead, so a partition that is paused already is not paused again.
        if more := wanted - self._paused:
            consumer.pause(self._of(more))
        if fewer := self._paused - wanted:
            consumer.resume(self._of(fewer))
        self._paused = set(wanted)

    def assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Resume partitions that are assigned now. In librdkafka a pause outlives a rebalance."""
        self._paused.difference_update(partition.partition for partition in partitions)
        consumer.resume(partitions)

    def dropped(self, partition: int) -> None:
        """The partition is not assigned any more."""
        self._paused.discard(partition)

    def _of(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
