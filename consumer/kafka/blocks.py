"""Blocked partitions: they stay assigned but are not read, and reading resumes where the block begins."""

from collections.abc import Mapping
from typing import Literal

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.kafka.assigned_partitions import AssignedPartitions
from consumer.kafka.commits import Commits

log = structlog.get_logger(__name__)

Action = Literal["rewind", "lift"]


def due_actions(first_open: int | None, begins_at: int | None, *, lifted: bool) -> tuple[Action, ...]:
    """What to do now with a blocked partition, in this order. Pure.

    Args:
        first_open: the first offset that was read and is not done; ``None`` if all are.
        begins_at: where the block begins; ``None`` for wherever the partition stands.
        lifted: whether the block no longer exists.
    """
    if first_open is not None and begins_at is not None and first_open < begins_at:
        return ()  # a rewind would read this record a second time while it is still under way
    rewind: tuple[Action, ...] = () if first_open is None else ("rewind",)
    lift: tuple[Action, ...] = ("lift",) if lifted else ()
    return rewind + lift


class Blocks:
    """Pauses newly blocked partitions, rewinds what was read past the block, and lifts blocks that no longer exist.

    Holds at most one entry for each assigned partition.
    """

    def __init__(self, topic: str, assigned: AssignedPartitions, commits: Commits) -> None:
        self._topic = topic
        self._assigned = assigned
        self._commits = commits
        self._begins_at: dict[int, int | None] = {}
        """Of each partition that is paused for a block: the offset at which the block begins."""
        self._waiting_since: dict[int, float] = {}
        """Of each partition that was rewound: Unix time of its first record that is not read."""

    @property
    def paused(self) -> set[int]:
        """The partitions to pause."""
        return set(self._begins_at)

    def waiting_since(self, partition: int) -> float | None:
        """Unix time of the first record that a block keeps from being read; ``None`` if there is none."""
        return self._waiting_since.get(partition)

    def assigned(self, partitions: list[int], blocked: Mapping[int, int | None]) -> None:
        """These partitions are assigned now. Nothing was read from them, so a block begins where they stand."""
        self._begins_at |= {partition: None for partition in partitions if partition in blocked}

    def dropped(self, partition: int) -> None:
        """The partition is not assigned any more."""
        self._begins_at.pop(partition, None)
        self._waiting_since.pop(partition, None)

    def start(self, blocked: Mapping[int, int | None]) -> None:
        """Note newly blocked partitions. Those that are not assigned are ignored."""
        for partition, begins_at in blocked.items():
            if partition in self._assigned and partition not in self._begins_at:
                self._begins_at[partition] = begins_at
                log.error("partition blocked", partition=partition)

    def advance(self, consumer: Consumer, blocked: Mapping[int, int | None]) -> None:
        """Rewind and lift what is due. The blocked partitions must be paused."""
        for partition, begins_at in list(self._begins_at.items()):
            first_open = self._assigned[partition].ledger.first_open()
            actions = due_actions(first_open, begins_at, lifted=partition not in blocked)
            if "rewind" in actions and first_open is not None and not self._rewind(consumer, partition, first_open):
                continue
            if "lift" in actions:
                self._lift(partition)

    def _rewind(self, consumer: Consumer, partition: int, offset: int) -> bool:
        """Forget what was read from the offset on: it is read again. ``False`` if that must be tried again."""
        self._commits.commit(consumer)  # the new ledger does not know the position of the old one
        try:
            consumer.seek(TopicPartition(self._topic, partition, offset))
        except KafkaException as error:
            log.info("seek postponed", partition=partition, error=error.args[0].name())
            return False
        oldest = self._assigned[partition].ledger.oldest()
        if oldest is not None:
            self._waiting_since[partition] = oldest
        self._assigned.restart(partition, keep_ledger=False)
        return True

    def _lift(self, partition: int) -> None:
        # The intake reads no more records of the old epoch, even if no record came after the block.
        self._assigned.restart(partition, keep_ledger=True)
        self.dropped(partition)
        log.info("partition unblocked", partition=partition)
