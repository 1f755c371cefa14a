"""The pump: the one thread that runs the group loop, and its connection to the event loop.

Records go to the event loop by ``call_soon_threadsafe``, receipts come back through a queue. The thread does nothing
but step the loop, which polls at least every tenth of a second, so the group does not consider this replica dead.
confluent-kafka's own asyncio consumer serialises every call behind a running poll (confluent-kafka-python#2322), so
there is a thread instead.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaException

from consumer.kafka.backpressure import Limits
from consumer.kafka.config import Config
from consumer.kafka.group import GroupLoop
from consumer.kafka.record import Record
from consumer.kafka.requests import Handlers, Requests

log = structlog.get_logger(__name__)


class Pump:
    """Reads records from the topic and commits those that are done. Its methods may be called from any thread."""

    def __init__(
        self,
        config: Config,
        topic: str,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Sequence[Record]], None],
        on_end: Callable[[str | None], None],
        on_overrun: Callable[[int], None],
        *,
        on_pressure: Callable[[], None],
        identify: Callable[[float], str | None],
        monotonic: Callable[[], float],
        make_consumer: Callable[[Config], Consumer] = Consumer,
        make_thread: Callable[[Callable[[], None]], threading.Thread] = lambda run: threading.Thread(
            target=run, name="kafka-pump", daemon=True
        ),
    ) -> None:
        """
        Args:
            config: see :func:`consumer.kafka.config.consumer_config`.
            topic: what to subscribe to.
            loop: where the following callables are called, except ``identify``.
            deliver, on_overrun, on_pressure: see :class:`consumer.kafka.group.Handlers`.
            on_end: called when the thread ends; with a reason if nobody stopped it.
            identify: see ``Handlers``; called in the Kafka thread.
            monotonic: the clock.
            make_consumer: makes the client.
            make_thread: makes the thread that is to run this function.
        """
        self._loop = loop
        self._on_end = on_end
        self._monotonic = monotonic
        self._requests = Requests()
        to_loop = loop.call_soon_threadsafe
        handlers = Handlers(
            deliver=lambda records: to_loop(deliver, records),
            on_overrun=lambda records: to_loop(on_overrun, records),
            on_pressure=lambda: to_loop(on_pressure),
            identify=identify,
        )
        self._group = GroupLoop(
            config,
            topic,
            self._requests,
            handlers,
            make_consumer=make_consumer,
            monotonic=monotonic,
            limits=Limits(),
        )
        self._thread = make_thread(self._run)

    @property
    def joined(self) -> bool:
        """Whether the group has assigned this replica its partitions; there may be none."""
        return self._group.joined

    @property
    def polled_at(self) -> float:
        """When the last step began, on the monotonic clock; the liveness probe reads it."""
        return self._group.polled_at

    @property
    def partitions(self) -> list[int]:
        """The partitions assigned now."""
        return list(self._group.oldest)

    @property
    def oldest(self) -> Mapping[int, float | None]:
        """Of each partition assigned: Unix time of its oldest record not yet done."""
        return self._group.oldest

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def done(self, record: Record, covered_by: int | None = None) -> None:
        """Give a record's receipt back. See :meth:`consumer.kafka.ledger.Ledger.done`."""
        self._requests.receipts.put((record, covered_by))

    def block(self, partitions: Mapping[int, int | None]) -> None:
        """Stop reading these partitions, and read all others. They stay assigned.

        Each has the offset at which reading resumes later, after every record before it is done; ``None`` for the
        present position.
        """
        self._requests.blocked = partitions

    def wait_for(self, partitions: frozenset[int]) -> None:
        """Records of these partitions cannot be finished now. The other partitions must be read on."""
        self._requests.waiting = partitions

    def saw(self, topic_id: str | None) -> None:
        """The topic's id as it is now, ``None`` if it is not known."""
        self._requests.topic_id = topic_id
        if topic_id is not None:
            self._requests.answered_at = self._monotonic()

    def drain(self) -> None:
        """Read no more records, but stay in the group and commit."""
        self._requests.draining.set()

    def stop(self, timeout: float) -> bool:
        """Commit what is done and leave the group; blocks for at most ``timeout`` seconds. ``False`` if it hangs."""
        self._requests.stopping.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        reason: str | None = "the Kafka thread ended"
        try:
            try:
                while self._group.step():
                    pass
                reason = self._group.fault
            finally:
                self._group.close()
        except KafkaException as error:
            reason = str(error)
        except Exception as error:
            log.critical("unexpected error in the Kafka thread", exc_info=True)
            reason = f"{type(error).__name__} in the Kafka thread"
        finally:
            self._loop.call_soon_threadsafe(self._on_end, reason)
