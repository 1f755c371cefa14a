"""The pump: one plain thread that alone owns the Consumer, its ledgers and its commits.

Records go to the event loop by ``call_soon_threadsafe``, receipts come back through a queue. The thread never works:
it polls at least every tenth of a second, so the group never thinks it dead. confluent-kafka's own asyncio consumer
serialises every call behind a running poll (confluent-kafka-python#2322), hence a thread.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.kafka.config import Config
from consumer.kafka.headers import headers_of
from consumer.kafka.hints import hint_of
from consumer.kafka.ledger import Ledger
from consumer.kafka.librdkafka_log import LibrdkafkaLog
from consumer.kafka.overruns import Overruns
from consumer.kafka.pauses import Pauses, over_their_share
from consumer.kafka.record import Epoch, Record

log = structlog.get_logger(__name__)

HIGH_WATER: Final = 20_000
"""Records not done at which consumption pauses. Those that a later one covers are done."""
HIGH_WATER_BYTES: Final = 32 * 2**20
"""The same for their size: a job with long notes takes a multiple of the usual half a kilobyte."""
_RESUME_AT: Final = 0.95
"""How full it may be to resume. During an outage as much as waits for Graph stays: what is new must fit beside it."""
_ASK_SECONDS: Final = 3.0
"""How long everything that a rebalance callback asks the broker may take. Meanwhile nothing is polled, and /livez ages;
what is not answered by then is asked later, outside the callback."""
_IDENTIFY_SECONDS: Final = 2.0
"""How much of that is for the topic's id."""
_IDENTIFY_TRIES: Final = 3
_PRESSURE_AT: Final = 0.8
_PRESSURE_SECONDS: Final = 1.0
_FROM_BEGINNING_SECONDS: Final = 60.0
"""How long after a topic was found to be another one its partitions are read from their beginning when assigned."""
_POLL_SECONDS: Final = 0.1
_POLL_RECORDS: Final = 500
_COMMIT_SECONDS: Final = 1.0
_LAST_COMMIT_SECONDS: Final = 2.0
_TOLD_SECONDS: Final = 30.0
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


class Pump:
    """Takes records from the topic and commits what is done."""

    def __init__(
        self,
        config: Config,
        topic: str,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Sequence[Record]], None],
        on_end: Callable[[str | None], None],
        on_overrun: Callable[[], None],
        *,
        on_pressure: Callable[[], None],
        identify: Callable[[float], str | None],
        high_water: int = HIGH_WATER,
    ) -> None:
        """
        Args:
            config: see :func:`consumer.kafka.config.consumer_config`.
            topic: what to subscribe to.
            loop: where the callables below are called.
            deliver: takes the records of one poll.
            on_end: called when the thread ends; with a reason if it must not have ended.
            on_overrun: called when the broker has deleted records that were not consumed.
            on_pressure: called once a second while the high-water mark is nearly reached.
            identify: gets how many seconds it may block, and returns the topic's id, as
                :meth:`consumer.kafka.topic.TopicIdentity.ask`; called in the pump's thread.
            high_water: see ``HIGH_WATER``.
        """
        self._config = {**config, "error_cb": self._on_error, "on_commit": self._on_commit, "logger": LibrdkafkaLog()}
        self._topic = topic
        self._loop = loop
        self._deliver = deliver
        self._on_end = on_end
        self._overruns = Overruns(topic, partial(self._loop.call_soon_threadsafe, on_overrun))
        self._on_pressure = on_pressure
        self._identify = identify
        self._high_water = high_water
        self._inbox: SimpleQueue[tuple[Record, int | None]] = SimpleQueue()
        self._ledgers: dict[int, tuple[Epoch, Ledger]] = {}
        self._pauses = Pauses(topic)
        self._full = False
        self._pressed_at = float("-inf")
        self._waiting: frozenset[int] = frozenset()
        self._over_share: set[int] = set()
        self._log = ""
        """The topic's id, empty while it is not known."""
        self._seen_log: str | None = None
        """What another thread has read of it last."""
        self._recreated = False
        """Whether the group must be joined again, because what is held is of a topic that is gone."""
        self._from_beginning_until = float("-inf")
        """On the monotonic clock."""
        self._blocked: Mapping[int, int | None] = {}
        self._held: dict[int, int | None] = {}
        """Partitions that are paused for a block, and where each began."""
        self._waiting_since: dict[int, float] = {}
        """Of held partitions: Unix time of the first record that was not read."""
        self._told: dict[int, float] = {}
        self._draining = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-pump", daemon=True)
        self.joined = False
        """Whether the group has given us our share of the partitions, be it none."""
        self.polled_at = time.monotonic()
        """When the thread last came round; the liveness probe looks at it."""
        self.oldest: dict[int, float | None] = {}
        """Of each partition held: Unix time of its oldest record not yet done."""

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    @property
    def partitions(self) -> list[int]:
        """The partitions held now."""
        return list(self.oldest)

    def done(self, record: Record, covered_by: int | None = None) -> None:
        """Give a record's receipt back; from any thread. See :meth:`consumer.kafka.ledger.Ledger.done`."""
        self._inbox.put((record, covered_by))

    def block(self, partitions: Mapping[int, int | None]) -> None:
        """Read these partitions no further, and all others on; from any thread. They stay ours.

        Each with the offset to come back to, once everything before it is done; ``None`` for wherever it stands.
        """
        self._blocked = partitions

    def wait_for(self, partitions: frozenset[int]) -> None:
        """Records of these partitions cannot be finished now; from any thread. The others must be read on."""
        self._waiting = partitions

    def saw(self, log: str | None) -> None:
        """The topic's id as it is now, ``None`` if it is not known; from any thread."""
        self._seen_log = log

    def drain(self) -> None:
        """Take no more records, but stay in the group and keep committing."""
        self._draining.set()

    def stop(self, timeout: float) -> bool:
        """Commit what is done and leave the group; blocks, at most ``timeout`` seconds. ``False`` if it hangs."""
        self._stopping.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        reason: str | None = "the pump's thread ended"
        try:
            while True:
                reason = self._session()
                if not self._recreated or self._stopping.is_set():
                    break
        except KafkaException as error:
            reason = str(error)
        except Exception as error:
            log.critical("the pump failed in a way that is ours", exc_info=True)
            reason = f"{type(error).__name__} in the pump"
        finally:
            self._loop.call_soon_threadsafe(self._on_end, reason)

    def _session(self) -> str | None:
        """One membership of the group; as :meth:`_pump`."""
        self._recreated = False
        consumer = Consumer(self._config)
        try:
            consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            reason = self._pump(consumer)
            if self._recreated:
                # What was read of the topic that is gone says nothing about the offsets of the new one.
                self._drop(list(self._ledgers))
            else:
                self._commit_last(consumer)
        finally:
            consumer.close()
        return reason

    def _pump(self, consumer: Consumer) -> str | None:
        """Until it is stopped or the topic is another one (``None``), or something fatal happens (the reason)."""
        commit_at = 0.0
        while not self._stopping.is_set() and not self._recreated:
            self.polled_at = time.monotonic()
            self._take_receipts()
            self._look_at_log(self._seen_log)
            self._press(consumer)
            self._hold(consumer)
            first = consumer.poll(_POLL_SECONDS)
            if first is not None:
                # One is there; whatever else is buffered comes along without waiting.
                records = []
                for message in (first, *consumer.consume(_POLL_RECORDS, 0)):
                    error = message.error()
                    if error is None:
                        records.extend(self._take(message))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        self._reached_end(message)
                    elif error.fatal():
                        return str(error)
                    else:
                        log.warning("Kafka", error=error.name(), reason=error.str(), hint=hint_of(error))
                if records:
                    self._loop.call_soon_threadsafe(self._deliver, records)
            if self.polled_at >= commit_at:
                commit_at = self.polled_at + _COMMIT_SECONDS
                self._commit(consumer)
                for partition, (_, ledger) in self._ledgers.items():
                    self.oldest[partition] = ledger.oldest() or self._waiting_since.get(partition)
            self._overruns.step(consumer)
        return None

    def _take(self, message: Message) -> list[Record]:
        held = self._ledgers.get(_number(message.partition()))
        if held is None:
            return []
        epoch, ledger = held
        offset = _number(message.offset())
        if not self._recreated and ledger.next is not None and offset < ledger.next:
            self._from_beginning("offsets went backwards")
            self._recreated = True
        if self._recreated:
            return []
        timestamp = message.timestamp()[1] / 1000
        key, value = _bytes(message.key()), _bytes(message.value())
        self._overruns.read(epoch.partition, offset)
        ledger.add(offset, timestamp, len(key or b"") + len(value or b""))
        return [Record(self._topic, epoch.partition, offset, key, value, headers_of(message), timestamp, epoch)]

    def _reached_end(self, message: Message) -> None:
        held = self._ledgers.get(_number(message.partition()))
        if held is not None and not self._recreated:
            held[1].reached(_number(message.offset()))

    def _look_at_log(self, log: str | None) -> None:
        """Whether the topic is still the one that is being read."""
        if not log or log == self._log:
            return
        if self._log:
            self._from_beginning("the topic has another id")
            # While no partition is held, nothing of the old topic is left to forget.
            self._recreated = bool(self._ledgers)
        self._log = log
        for epoch, _ in self._ledgers.values():
            epoch.log = log

    def _from_beginning(self, reason: str) -> None:
        """The topic was deleted and created again: what is assigned from now on is read from its beginning.

        librdkafka goes on reading in the new topic. But it commits nothing below the old topic's offsets, and it skips
        what the new topic already holds below the offset reached in the old one (librdkafka#3255).
        """
        self._from_beginning_until = time.monotonic() + _FROM_BEGINNING_SECONDS
        log.error("the topic was created again: it is read from its beginning", topic=self._topic, reason=reason)

    def _take_receipts(self) -> None:
        while True:
            try:
                record, covered_by = self._inbox.get_nowait()
            except Empty:
                break
            if record.epoch.live:
                self._ledgers[record.partition][1].done(record.offset, covered_by)

    def _press(self, consumer: Consumer) -> None:
        """Pause everything above the high-water mark until a twentieth of it is free.

        Also pause each partition that holds more than its share while a record of it waits.
        """
        ledgers = {partition: ledger for partition, (_, ledger) in self._ledgers.items()}
        waiting = sum(len(ledger) for ledger in ledgers.values())
        size = sum(ledger.bytes for ledger in ledgers.values())
        fullness = max(waiting / self._high_water, size / HIGH_WATER_BYTES)
        full = self._draining.is_set() or fullness > (_RESUME_AT if self._full else 1.0)
        if full != self._full:
            self._full = full
            log.info("consumption paused" if full else "consumption resumed", records=waiting, bytes=size)
        if fullness > _PRESSURE_AT and self.polled_at - self._pressed_at >= _PRESSURE_SECONDS:
            self._pressed_at = self.polled_at
            self._loop.call_soon_threadsafe(self._on_pressure)
        self._share(ledgers)
        self._pause(consumer)

    def _share(self, ledgers: Mapping[int, Ledger]) -> None:
        """Half of the mark, in equal shares, is for partitions that wait: the other half is there for the rest."""
        if not self._waiting and not self._over_share:
            return
        shares = 2 * len(ledgers)
        fullness = {
            partition: max(len(ledger) * shares / self._high_water, ledger.bytes * shares / HIGH_WATER_BYTES)
            for partition, ledger in ledgers.items()
        }
        over = over_their_share(self._waiting, fullness, self._over_share)
        for partition in sorted(over - self._over_share):
            log.warning("partition paused: a record of it waits, and it holds its share", partition=partition)
        self._over_share = over

    def _pause(self, consumer: Consumer) -> None:
        self._pauses.set(consumer, set(self._ledgers) if self._full else set(self._held) | self._over_share)

    def _hold(self, consumer: Consumer) -> None:
        """Pause newly blocked partitions and rewind what was read past the block; resume unblocked ones."""
        blocked = self._blocked
        for partition in [number for number in blocked if number in self._ledgers and number not in self._held]:
            self._held[partition] = blocked[partition]
            log.error("partition blocked", partition=partition)
        self._pause(consumer)
        for partition, stop in list(self._held.items()):
            first = self._ledgers[partition][1].first_open()
            if first is not None and stop is not None and first < stop:
                continue  # what was read before the block is still under way: else it would be read again
            if first is not None and not self._rewind(consumer, partition, first):
                continue
            if partition not in blocked:
                # The intake has stopped reading the old epoch, whether anything came behind or not.
                epoch, ledger = self._ledgers[partition]
                epoch.live = False
                self._ledgers[partition] = (Epoch(partition, self._log), ledger)
                del self._held[partition]
                self._waiting_since.pop(partition, None)
                log.info("partition no longer blocked", partition=partition)
        self._pause(consumer)

    def _rewind(self, consumer: Consumer, partition: int, offset: int) -> bool:
        """Forget what was taken from ``offset`` on: it comes again. ``False`` if that cannot be done yet."""
        self._commit(consumer)
        try:
            consumer.seek(TopicPartition(self._topic, partition, offset))
        except KafkaException as error:
            log.info("seek postponed", error=error.args[0].name())
            return False
        epoch, ledger = self._ledgers[partition]
        epoch.live = False
        self._waiting_since[partition] = ledger.oldest() or time.time()
        self._ledgers[partition] = (Epoch(partition, self._log), Ledger())
        return True

    def _commit(self, consumer: Consumer) -> None:
        offsets = self._positions(sorted(self._ledgers.keys() - self._overruns.unsettled))
        if not offsets:
            return
        try:
            # store_offsets refuses partitions that are no longer ours; commit(offsets=…) would overwrite their
            # new owner's position.
            consumer.store_offsets(offsets=offsets)
            consumer.commit(asynchronous=True)
        except KafkaException as error:
            self._uncommitted(offsets, error.args[0])

    def _commit_last(self, consumer: Consumer) -> None:
        deadline = time.monotonic() + _LAST_COMMIT_SECONDS
        while True:
            self._take_receipts()
            offsets = self._positions(list(self._ledgers))
            try:
                if offsets:
                    consumer.store_offsets(offsets=offsets)
                consumer.commit(asynchronous=False)
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError._NO_OFFSET:
                    return
                self._uncommitted(offsets, error.args[0])
                if code not in _RETRIABLE or time.monotonic() > deadline:
                    return
                consumer.poll(_POLL_SECONDS)  # serves the rebalance that is in the way
            else:
                return

    def _positions(self, partitions: list[int]) -> list[TopicPartition]:
        offsets = []
        for partition in partitions:
            position = self._ledgers[partition][1].take_position()
            if position is not None:
                offsets.append(TopicPartition(self._topic, partition, position))
        return offsets

    def _uncommitted(self, offsets: list[TopicPartition], error: KafkaError) -> None:
        """Not lost: the positions are given again with the next commit."""
        for offset in offsets:
            held = self._ledgers.get(offset.partition)
            if held is not None:
                held[1].forget_position()
        log.info("commit postponed", error=error.name())

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """How a commit ended. Without this, one that failed would stand until its partition's next record."""
        if error is not None and error.code() == KafkaError._NO_OFFSET:
            return
        for offset in offsets:
            fault = error or offset.error
            if fault is not None:
                self._uncommitted([offset], fault)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        deadline = time.monotonic() + _ASK_SECONDS
        # One that is leaving the group gets no answer any more, and would wait for it.
        may_ask = bool(partitions) and not self._stopping.is_set()
        if may_ask:
            # Before any record is routed: Redis compares offsets only within one topic id. One that is not known now
            # is asked for again and again by another thread: see `saw`.
            self._look_at_log(self._identity(deadline - _ASK_SECONDS + _IDENTIFY_SECONDS))
        for partition in partitions:
            self._ledgers[partition.partition] = (Epoch(partition.partition, self._log), Ledger())
            self.oldest[partition.partition] = None
            if time.monotonic() < self._from_beginning_until:
                partition.offset = OFFSET_BEGINNING
        consumer.incremental_assign(partitions)
        self.joined = True
        self._held |= {partition.partition: None for partition in partitions if partition.partition in self._blocked}
        self._pauses.assigned(consumer, partitions)
        self._pause(consumer)
        if may_ask:
            self._overruns.assigned(partition.partition for partition in partitions)
            self._overruns.ask(consumer, deadline - time.monotonic())
        log.info("partitions assigned", partitions=[partition.partition for partition in partitions])

    def _identity(self, deadline: float) -> str | None:
        """The topic's id; ``None`` if nobody says it before the deadline, on the monotonic clock."""
        for _ in range(_IDENTIFY_TRIES):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            log_id = self._identify(left)
            if log_id is not None:
                return log_id
        return None

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        try:
            self._take_receipts()
            offsets = self._positions([number for number in numbers if number in self._ledgers])
            if offsets:
                # Not waited for: a broker that does not answer would hold the thread for more than a minute. librdkafka
                # sends it before it rejoins the group, so the new owner of the partitions finds it.
                consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            # An exception in here would be raised from poll() and again from close(): the records come again instead.
            log.info("commit at revocation failed", error=error.args[0].name())
        finally:
            self._drop(numbers)
        log.info("partitions revoked", partitions=numbers)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._drop(numbers)
        log.warning("partitions lost", partitions=numbers)

    def _drop(self, partitions: list[int]) -> None:
        for partition in partitions:
            held = self._ledgers.pop(partition, None)
            if held is not None:
                held[0].live = False
            self._held.pop(partition, None)
            self._waiting_since.pop(partition, None)
            self.oldest.pop(partition, None)
            self._pauses.dropped(partition)
            self._over_share.discard(partition)
            self._overruns.dropped(partition)

    def _on_error(self, error: KafkaError) -> None:
        # While a broker is away, librdkafka says so twenty times a second.
        now = time.monotonic()
        if now - self._told.get(error.code(), float("-inf")) < _TOLD_SECONDS:
            return
        self._told[error.code()] = now
        log.warning("Kafka", error=error.name(), reason=error.str(), hint=hint_of(error), fatal=error.fatal())


def _number(value: int | None) -> int:
    assert value is not None  # noqa: S101 (a message that was consumed has partition and offset)
    return value


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
