"""Dead letters: records that cannot be carried out, kept with the reason before their offset is committed."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, cast

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consumer.kafka.config import Config, make
from consumer.kafka.hints import hint_of
from consumer.kafka.librdkafka_log import LibrdkafkaLog
from consumer.kafka.parcel import Parcel, Room, parcel
from consumer.kafka.record import Record
from consumer.kafka.waiting import Wait

log = structlog.get_logger(__name__)

_DELIVERY_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 5.0
"""How long after its delivery deadline a report may still come; then the letter is written once more."""
_POLL_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 5.0
_LARGEST_BYTES: Final = 100_000_000
_NO_REASON: Final = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
"""Errors that do not say why the topic does not take a letter: its metadata may."""


Kind = Literal["undecodable", "invalid", "refused"]
"""What is wrong with a record: its bytes, what it states, or the event that it asks of Graph."""


class DeadLetters:
    """The dead-letter topic. Many letters may be on their way at a time, each awaited by its own caller."""

    def __init__(self, config: Config, topic: str, on_written: Callable[[Kind], None] = lambda _kind: None) -> None:
        """``on_written`` gets the kind of each record that was kept."""
        self._on_written = on_written
        self._producer = make(
            Producer,
            {
                **config,
                "logger": LibrdkafkaLog(),
                "acks": "all",
                "delivery.timeout.ms": int(_DELIVERY_SECONDS * 1000),
                # Core's records may be compressed on their topic, so they can be too large only once uncompressed
                # (PostHog/posthog#16249).
                "compression.type": "zstd",
                # The broker's limit is on a batch: one letter must not be refused for the size of others.
                "batch.num.messages": 1,
                # What fits is for the broker to say.
                "message.max.bytes": _LARGEST_BYTES,
                # Not idempotent: that needs a further right, an error can end the producer for good, and a letter that
                # was written twice does no harm.
            },
        )
        self._topic = topic
        self._threads = ThreadPoolExecutor(1, "dead-letters")
        """Its own: a broker that does not answer must not take threads from tokens, lag and files."""
        self._on_their_way = 0
        self._poller: asyncio.Task[None] | None = None

    async def put(self, record: Record, kind: Kind, reason: str, wait: Wait | None = None) -> bool:
        """Keep the record; returns only when the broker has it. Until then its partition waits.

        Tries again until the letter is written. One that is too large for its topic is cut until it fits.

        Args:
            record: what to keep.
            kind, reason: why it cannot be carried out.
            wait: is given each failure.

        Returns:
            ``False`` if the record's partition was revoked meanwhile: its new owner gets the record again.
        """
        reason = f"{kind}: {reason}"
        wait = wait or Wait(record)
        room, make_key = Room.whole(record), False
        while record.epoch.live:
            sent = parcel(record, reason, room, make_key=make_key)
            try:
                await self._write(sent)
            except (KafkaException, BufferError, TimeoutError) as error:
                code = error.args[0].code() if isinstance(error, KafkaException) else None
                smaller = room.smaller() if code == KafkaError.MSG_SIZE_TOO_LARGE else None
                if smaller is not None:
                    room = smaller
                elif code == KafkaError.INVALID_RECORD and record.key is None and not make_key:
                    make_key = True
                else:
                    reason_now, hint = await self._explain(error)
                    await asyncio.sleep(wait.failed("dead_letter", reason_now, hint))
            else:
                self._log_written(record, reason, sent, make_key=make_key)
                self._on_written(kind)
                return True
        return False

    async def _write(self, sent: Parcel) -> None:
        """Raises ``KafkaException`` or ``BufferError``, or ``TimeoutError`` if librdkafka reports nothing."""
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if delivered.done():
                return
            if error is None:
                delivered.set_result(None)
            else:
                delivered.set_exception(KafkaException(error))

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(settle, error)

        self._producer.produce(
            self._topic, key=sent.key, value=sent.value, headers=sent.headers, on_delivery=on_delivery
        )
        self._on_their_way += 1
        if self._poller is None or self._poller.done():
            self._poller = loop.create_task(self._poll())
        try:
            async with asyncio.timeout(_DELIVERY_SECONDS + _SILENCE_SECONDS):
                await delivered
        finally:
            self._on_their_way -= 1

    async def _poll(self) -> None:
        """While letters are on their way: librdkafka reports deliveries only in a poll."""
        loop = asyncio.get_running_loop()
        while self._on_their_way:
            await loop.run_in_executor(self._threads, self._producer.poll, _POLL_SECONDS)

    async def _explain(self, error: KafkaException | BufferError | TimeoutError) -> tuple[str, str | None]:
        """The error in words, and what to do about it if a person must."""
        if isinstance(error, TimeoutError):
            return "librdkafka reported nothing", None
        if isinstance(error, BufferError):
            return str(error), None
        found: KafkaError = error.args[0]
        if found.code() in _NO_REASON:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, self._topics_error, found)
        if found.code() == KafkaError.INVALID_RECORD:
            # The letter had a key, so this is not the usual cause (a compacted topic and no key).
            hint = f"the broker finds something wrong with the record: see its log for {self._topic}"
        else:
            hint = hint_of(found) or f"see whether the brokers of {self._topic} are well"
        return f"{self._topic}: {found.str()}", hint

    def _topics_error(self, otherwise: KafkaError) -> KafkaError:
        """What the topic's metadata say is wrong; blocks."""
        try:
            return self._producer.list_topics(self._topic, timeout=_ASK_SECONDS).topics[self._topic].error or otherwise
        except KafkaException as error:
            return cast("KafkaError", error.args[0])

    def _log_written(self, record: Record, reason: str, sent: Parcel, *, make_key: bool) -> None:
        log.warning("record dead-lettered", partition=record.partition, offset=record.offset, reason=reason)
        if sent.shortened:
            log.error(
                "the dead letter was too large for its topic: a part of it was left out",
                topic=self._topic,
                partition=record.partition,
                offset=record.offset,
                kept=len(sent.value or b""),
                hint=hint_of(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)),
            )
        if make_key:
            log.warning(
                "the dead-letter topic is compacted: its letters replace one another",
                topic=self._topic,
                hint="set cleanup.policy=delete on the dead-letter topic",
            )
