"""Which partitions are paused."""

from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, TopicPartition

_RESUME_SHARE: Final = 0.5
"""How much of its share a partition may hold to be read on."""


class Pauses:
    """What is paused now: librdkafka cannot be asked for it (librdkafka#2703). Of the pump's thread."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._paused: set[int] = set()

    def set(self, consumer: Consumer, wanted: set[int]) -> None:
        """Pause these partitions, and resume every other that is paused; all must be assigned."""
        if wanted == self._paused:
            return
        # Pausing discards what was fetched ahead, so nothing that is paused already is paused again.
        if more := wanted - self._paused:
            consumer.pause(self._of(more))
        if fewer := self._paused - wanted:
            consumer.resume(self._of(fewer))
        self._paused = set(wanted)

    def assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """These are ours now. In librdkafka a pause outlives a rebalance: a partition that comes back stays silent."""
        self._paused.difference_update(partition.partition for partition in partitions)
        consumer.resume(partitions)

    def dropped(self, partition: int) -> None:
        """It is not ours any more."""
        self._paused.discard(partition)

    def _of(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in sorted(partitions)]


def over_their_share(waiting: frozenset[int], fullness: dict[int, float], paused: set[int]) -> set[int]:
    """The partitions to pause because they hold more than their share while a record of theirs waits. Pure.

    A partition that waits would otherwise fill the whole high-water mark, and then no partition is read.

    Args:
        waiting: partitions with a record that cannot be finished now.
        fullness: of each partition held, how much of its share it holds; 1 is all of it.
        paused: what this function returned last. A partition stays paused until it holds half of its share.
    """
    over = {partition for partition in waiting if fullness.get(partition, 0.0) > 1.0}
    return over | {partition for partition in paused if fullness.get(partition, 0.0) > _RESUME_SHARE}
