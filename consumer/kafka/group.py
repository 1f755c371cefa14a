"""The group loop: join the consumer group, poll, follow rebalances, commit, leave."""

from collections.abc import Callable, Mapping
from queue import Empty
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from consumer.kafka.assigned_partitions import AssignedPartitions
from consumer.kafka.backpressure import BackPressure, Limits, Load
from consumer.kafka.blocks import Blocks
from consumer.kafka.commits import Commits
from consumer.kafka.config import Config
from consumer.kafka.librdkafka_log import ErrorLog, LibrdkafkaLog
from consumer.kafka.message import place_of, record_of
from consumer.kafka.overruns import Overruns
from consumer.kafka.pauses import Pauses
from consumer.kafka.record import Record
from consumer.kafka.recreation import Recreation
from consumer.kafka.requests import Handlers, Requests

log = structlog.get_logger(__name__)

ASK_SECONDS: Final = 3.0
"""How long a rebalance callback may wait for the broker's answers. No record is polled meanwhile, and /livez ages. What
is not answered by then is asked again outside the callback."""
IDENTIFY_SECONDS: Final = 2.0
"""How much of that is for the topic's id."""
_POLL_SECONDS: Final = 0.1
_POLL_RECORDS: Final = 500
COMMIT_SECONDS: Final = 1.0
"""The time between two commits."""


class GroupLoop:
    """A member of the consumer group. One thread calls ``step`` until it returns ``False``, then ``close``.

    The Consumer, the ledgers and the commits belong to that thread alone, so there are no locks. Other threads write to
    ``requests``, and read ``joined``, ``polled_at`` and ``oldest``.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        requests: Requests,
        handlers: Handlers,
        *,
        make_consumer: Callable[[Config], Consumer],
        monotonic: Callable[[], float],
        limits: Limits,
    ) -> None:
        """
        Args:
            config: see :func:`consumer.kafka.config.consumer_config`.
            topic: what to subscribe to.
            requests: what other threads ask.
            handlers: what to call.
            make_consumer: makes the client, for each membership a new one.
            monotonic: the clock.
            limits: how many records may wait.
        """
        self._topic = topic
        self._requests = requests
        self._handlers = handlers
        self._make_consumer = make_consumer
        self._monotonic = monotonic
        self._assigned = assigned = AssignedPartitions()
        self._overruns = Overruns(topic, handlers.on_overrun, monotonic)
        self._commits = Commits(topic, assigned, lambda: self._overruns.unsettled, monotonic)
        self._recreation = Recreation(topic, assigned, handlers.identify, monotonic)
        self._pauses = Pauses(topic)
        self._pressure = BackPressure(limits)
        self._blocks = Blocks(topic, assigned, self._commits)
        self._config = {
            **config,
            "error_cb": ErrorLog(monotonic).error,
            "on_commit": self._commits.on_commit,
            "logger": LibrdkafkaLog(),
        }
        self._consumer: Consumer | None = None
        self._commit_at = float("-inf")
        self.fault: str | None = None
        """Why the loop ended although nobody stopped it."""
        self.joined = False
        """Whether the group has assigned this replica its partitions; there may be none."""
        self.polled_at = monotonic()
        """When the last step began, for the liveness probe."""
        self.oldest: Mapping[int, float | None] = {}
        """Of each assigned partition: Unix time of its oldest record not yet done. Replaced as a whole."""

    def step(self) -> bool:
        """Join the group if needed, and poll once: blocks for about a tenth of a second if no record comes.

        Returns:
            ``False`` once it has left the group, because it was asked to or for the reason in ``fault``.
        """
        if self._requests.stopping.is_set():
            self._leave()
            return False
        consumer = self._consumer or self._join()
        self.polled_at = self._monotonic()
        self._take_receipts()
        self._recreation.saw_id(self._requests.topic_id)
        if self._left_old_topic():
            return True
        self._pause_and_rewind(consumer)
        self._poll(consumer)
        if self.fault is not None:
            self._leave()
            return False
        if self._left_old_topic():
            return True
        if self.polled_at >= self._commit_at:
            self._commit_at = self.polled_at + COMMIT_SECONDS
            self._commits.commit(consumer)
            self._publish_oldest()
        self._overruns.step(consumer)
        return True

    def close(self) -> None:
        """Close the client, if it is open, without a commit of what was done since the last one."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _join(self) -> Consumer:
        self._recreation.rejoining()
        self._commit_at = float("-inf")
        self._consumer = consumer = self._make_consumer(self._config)
        consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        return consumer

    def _leave(self) -> None:
        if self._consumer is not None:
            self._commits.commit_last(self._consumer, self._take_receipts)
        self.close()

    def _left_old_topic(self) -> bool:
        """If the topic was created again, leave the group, to join it again in the next step."""
        if not self._recreation.must_rejoin:
            return False
        # Before the client is closed, so that no offset of the old topic is committed to the new one.
        self._drop(list(self._assigned))
        self.close()
        return True

    def _take_receipts(self) -> None:
        while True:
            try:
                record, covered_by = self._requests.receipts.get_nowait()
            except Empty:
                return
            self._assigned.settle(record, covered_by)

    def _pause_and_rewind(self, consumer: Consumer) -> None:
        requests = self._requests
        loads = {number: Load(len(ledger), ledger.bytes) for number, ledger in self._assigned.ledgers.items()}
        draining = requests.draining.is_set()
        if self._pressure.update(loads, requests.waiting, self.polled_at, draining=draining):
            self._handlers.on_pressure()
        blocked = requests.blocked
        self._blocks.start(blocked)
        self._pause(consumer)
        self._blocks.advance(consumer, blocked)
        self._pause(consumer)

    def _pause(self, consumer: Consumer) -> None:
        wanted = set(self._assigned) if self._pressure.pause_all else self._blocks.paused | self._pressure.over_share
        self._pauses.set(consumer, wanted)

    def _poll(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_SECONDS)
        if first is None:
            return
        # consume(n, 0) does not wait: it returns what is already buffered.
        records = []
        for message in (first, *consumer.consume(_POLL_RECORDS, 0)):
            error = message.error()
            if error is None:
                records.extend(self._read(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._reached_end(message)
            elif error.fatal():
                self.fault = str(error)
                return
            else:
                ErrorLog.write(error)
        if records:
            self._handlers.deliver(records)

    def _read(self, message: Message) -> list[Record]:
        """The message as a record; an empty list if its partition is not assigned or its topic no longer exists."""
        partition, offset = place_of(message)
        assigned = self._assigned.get(partition)
        if assigned is None:
            return []
        self._recreation.saw_offset(offset, assigned.ledger.next)
        if self._recreation.must_rejoin:
            return []
        record = record_of(message, self._topic, assigned.epoch)
        self._overruns.read(partition, offset)
        assigned.ledger.add(offset, record.timestamp, len(record.key or b"") + len(record.value or b""))
        return [record]

    def _reached_end(self, message: Message) -> None:
        partition, offset = place_of(message)
        assigned = self._assigned.get(partition)
        if assigned is not None and not self._recreation.must_rejoin:
            assigned.ledger.reached(offset)

    def _publish_oldest(self) -> None:
        self.oldest = {
            partition: ledger.oldest() or self._blocks.waiting_since(partition)
            for partition, ledger in self._assigned.ledgers.items()
        }

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        started = self._monotonic()
        numbers = [partition.partition for partition in partitions]
        # A replica that is leaving the group gets no answers any more, and would wait for them.
        may_ask = bool(partitions) and not self._requests.stopping.is_set()
        if may_ask:
            # The id must be known before any record is routed: Redis compares offsets only within one topic id. If the
            # broker does not answer now, another thread asks for it regularly (``Requests.topic_id``).
            self._recreation.ask_id(started + IDENTIFY_SECONDS)
        for partition in partitions:
            self._assigned.add(partition.partition, self._recreation.topic_id)
            if self._recreation.from_beginning:
                partition.offset = OFFSET_BEGINNING
        self._publish_oldest()
        consumer.incremental_assign(partitions)
        self.joined = True
        self._blocks.assigned(numbers, self._requests.blocked)
        self._pauses.assigned(consumer, partitions)
        self._pause(consumer)
        if may_ask:
            self._overruns.assigned(numbers)
            self._overruns.ask(consumer, started + ASK_SECONDS - self._monotonic())
        log.info("partitions assigned", partitions=numbers)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._take_receipts()
        self._commits.commit_revoked(consumer, numbers)
        self._drop(numbers)
        log.info("partitions revoked", partitions=numbers)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._drop(numbers)  # without a commit: another replica may own them already
        log.warning("partitions lost", partitions=numbers)

    def _drop(self, partitions: list[int]) -> None:
        for partition in partitions:
            self._assigned.drop(partition)
            self._blocks.dropped(partition)
            self._pauses.dropped(partition)
            self._pressure.dropped(partition)
            self._overruns.dropped(partition)
        self._publish_oldest()
