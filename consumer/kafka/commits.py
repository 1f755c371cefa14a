"""Commits: stores the offsets that are done, and commits them again if the broker refuses them."""

from collections.abc import Callable, Iterable
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.kafka.assigned_partitions import AssignedPartitions

log = structlog.get_logger(__name__)

LAST_COMMIT_SECONDS: Final = 2.0
"""How long the last commit is tried again."""
_POLL_SECONDS: Final = 0.1
_RETRIABLE: Final = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError._TRANSPORT,
        KafkaError.REQUEST_TIMED_OUT,
    }
)


class Commits:
    """Commits the positions of the assigned partitions."""

    def __init__(
        self, topic: str, assigned: AssignedPartitions, keep: Callable[[], set[int]], monotonic: Callable[[], float]
    ) -> None:
        """``keep`` returns the partitions whose committed offset must not be replaced yet."""
        self._topic = topic
        self._assigned = assigned
        self._keep = keep
        self._monotonic = monotonic

    def commit(self, consumer: Consumer) -> None:
        """Start a commit of the positions that have moved. Does not block."""
        offsets = self._moved(sorted(set(self._assigned) - self._keep()))
        if not offsets:
            return
        try:
            # store_offsets refuses partitions that are not assigned any more. commit(offsets=…) would overwrite the
            # position of their new owner.
            consumer.store_offsets(offsets=offsets)
            consumer.commit(asynchronous=True)
        except KafkaException as error:
            self._postponed(offsets, error.args[0])

    def commit_last(self, consumer: Consumer, take_receipts: Callable[[], None]) -> None:
        """Commit before leaving the group. Blocks, and tries again for up to two seconds.

        ``take_receipts`` is called before each try, so that records that end meanwhile are committed too.
        """
        deadline = self._monotonic() + LAST_COMMIT_SECONDS
        while True:
            take_receipts()
            offsets = self._moved(self._assigned)
            try:
                if offsets:
                    consumer.store_offsets(offsets=offsets)
                consumer.commit(asynchronous=False)
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError._NO_OFFSET:
                    return
                self._postponed(offsets, error.args[0])
                if code not in _RETRIABLE or self._monotonic() > deadline:
                    return
                consumer.poll(_POLL_SECONDS)  # serves the rebalance that made the commit fail
            else:
                return

    def commit_revoked(self, consumer: Consumer, partitions: list[int]) -> None:
        """Start a commit of partitions that are being revoked. Raises nothing."""
        offsets = self._moved(partitions)
        if not offsets:
            return
        try:
            # Not awaited: a broker that does not answer would block the thread for more than a minute. librdkafka
            # sends the commit before it rejoins the group, so the new owner of the partitions finds it.
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            # An exception in a rebalance callback is raised from poll() and again from close(). Without this commit,
            # the new owner only reads some records a second time.
            log.info("commit of revoked partitions failed", error=error.args[0].name())

    def on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """Take the result of a commit. If it failed, its offsets are given again with the next commit."""
        if error is not None and error.code() == KafkaError._NO_OFFSET:
            return
        for offset in offsets:
            fault = error or offset.error
            if fault is not None:
                self._postponed([offset], fault)

    def _moved(self, partitions: Iterable[int]) -> list[TopicPartition]:
        positions = self._assigned.positions(partitions)
        return [TopicPartition(self._topic, partition, position) for partition, position in positions.items()]

    def _postponed(self, offsets: list[TopicPartition], error: KafkaError) -> None:
        for offset in offsets:
            assigned = self._assigned.get(offset.partition)
            if assigned is not None:
                assigned.ledger.forget_position()
        log.info("commit postponed", error=error.name())
