"""Writes dead letters: records that cannot be processed, with the reason, before their offset is committed."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, Literal, cast

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consumer.kafka.config import Config, make
from consumer.kafka.hints import hint_of
from consumer.kafka.librdkafka_log import QUIET
from consumer.kafka.parcel import Parcel, Room, parcel
from consumer.kafka.record import Record
from consumer.kafka.waiting import Backoff, Wait
from consumer.repeated import Repeated

log = structlog.get_logger(__name__)

_DELIVERY_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 5.0
"""How long after its delivery deadline a report may still come. Then the dead letter is written again."""
_POLL_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 5.0
_LARGEST_BYTES: Final = 100_000_000
_NO_REASON: Final = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
"""Errors that do not show why the topic refuses a dead letter. The topic's metadata may show it."""

Kind = Literal["undecodable", "invalid", "refused"]
"""What is wrong with a record: its bytes, its values, or the event that Graph refuses."""


class DeadLetters:
    """Writes to the dead-letter topic. Many dead letters may be under way, each awaited by its own caller.

    Each stands for a record that is not done, so back-pressure bounds them.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        threads: Executor,
        on_written: Callable[[Kind], None] = lambda _kind: None,
        *,
        make_producer: Callable[[Config], Producer] = Producer,
    ) -> None:
        """
        Args:
            config: where the broker is and how to log in; see :func:`consumer.kafka.config.client_config`.
            topic: the dead-letter topic.
            threads: runs the calls that block, one at a time. It must have no other users: a broker that does not
                answer must not take threads from tokens, lag and files.
            on_written: gets the kind of each record whose dead letter was written.
            make_producer: makes the client.
        """
        self._on_written = on_written
        self._producer = make(
            make_producer,
            {
                **config,
                **QUIET,
                "acks": "all",
                "delivery.timeout.ms": int(_DELIVERY_SECONDS * 1000),
                # Core's records may be compressed on their topic. Uncompressed, they may be too large for this one
                # (PostHog/posthog#16249).
                "compression.type": "zstd",
                # The broker limits the size of a batch. No dead letter must be refused because of others in its batch.
                "batch.num.messages": 1,
                # The broker decides what is too large, not librdkafka.
                "message.max.bytes": _LARGEST_BYTES,
                # Not idempotent: that needs one more permission, and a fatal error would end the producer. A dead
                # letter that is written twice does no harm.
            },
        )
        self._topic = topic
        self._repeated = Repeated(time.monotonic)
        self._threads = threads
        self._under_way = 0
        self._poller: asyncio.Task[None] | None = None

    async def put(self, record: Record, kind: Kind, reason: str, wait: Wait | None = None) -> bool:
        """Write the record's dead letter. Returns when the broker has confirmed it; until then the partition waits.

        Tries again until the dead letter is written. One that is too large for its topic is cut until it fits.

        Args:
            record: the record to keep.
            kind, reason: why it cannot be processed.
            wait: where failures are noted.

        Returns:
            ``False`` if the record's partition was revoked meanwhile. Its new owner reads the record again.
        """
        reason = f"{kind}: {reason}"
        wait = wait or Wait(record, asyncio.get_running_loop().time, Backoff())
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
                self._log_written(record, kind, reason, sent, make_key=make_key)
                self._on_written(kind)
                return True
        return False

    async def _write(self, sent: Parcel) -> None:
        """Write once. Raises ``KafkaException``, ``BufferError``, or ``TimeoutError`` if no delivery report comes."""
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
        self._under_way += 1
        if self._poller is None or self._poller.done():
            self._poller = loop.create_task(self._poll())
        try:
            async with asyncio.timeout(_DELIVERY_SECONDS + _SILENCE_SECONDS):
                await delivered
        finally:
            self._under_way -= 1

    async def _poll(self) -> None:
        """Poll while dead letters are under way: librdkafka calls delivery callbacks only in a poll."""
        loop = asyncio.get_running_loop()
        while self._under_way:
            await loop.run_in_executor(self._threads, self._producer.poll, _POLL_SECONDS)

    async def _explain(self, error: KafkaException | BufferError | TimeoutError) -> tuple[str, str | None]:
        """The error as a text, and a hint what to do; ``None`` if it heals by itself."""
        if isinstance(error, TimeoutError):
            return "librdkafka gave no delivery report", None
        if isinstance(error, BufferError):
            return str(error), None
        found: KafkaError = error.args[0]
        if found.code() in _NO_REASON:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, self._topics_error, found)
        if found.code() == KafkaError.INVALID_RECORD:
            # The dead letter has a key, so this is not the usual cause (a compacted topic and no key).
            hint = f"the broker calls the record invalid: see its log for {self._topic}"
        else:
            hint = hint_of(found) or f"check the brokers of {self._topic}"
        return f"{self._topic}: {found.str()}", hint

    def _topics_error(self, otherwise: KafkaError) -> KafkaError:
        """The error in the topic's metadata, or ``otherwise`` if there is none. Blocks."""
        try:
            return self._producer.list_topics(self._topic, timeout=_ASK_SECONDS).topics[self._topic].error or otherwise
        except KafkaException as error:
            return cast("KafkaError", error.args[0])

    def _log_written(self, record: Record, kind: Kind, reason: str, sent: Parcel, *, make_key: bool) -> None:
        place = {"partition": record.partition, "offset": record.offset}
        if sent.shortened:
            hint = hint_of(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
            kept = len(sent.value or b"")
            log.error("record dead-lettered, shortened to fit its topic", **place, reason=reason, kept=kept, hint=hint)
        elif kind != "refused":  # the lane has logged Graph's refusal
            log.warning("record dead-lettered", **place, reason=reason)
        if make_key:
            self._repeated.happened(
                "compacted",
                log.warning,
                "dead-letter topic is compacted: dead letters with the same key replace one another",
                topic=self._topic,
                hint="set cleanup.policy=delete on the dead-letter topic",
            )
