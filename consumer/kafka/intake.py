"""The intake: decodes, completes and routes records, each partition in its order.

Records that can be routed now go in one round trip for all partitions. A record that cannot be finished now (its dead
letter is refused, its schema or its missing values cannot be read) has a task of its own. The records after it in its
partition wait for that task. Every other partition continues.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from consumer.domain.errors import (
    CoreUnavailableError,
    InvalidRecordError,
    StoreUnavailableError,
    UndecodableError,
)
from consumer.domain.mailbox import Mailbox
from consumer.kafka.core_questions import CoreQuestions
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Changed, Decoder, Deleted, Ignored, Incomplete, SchemaNeededError, Truncated
from consumer.kafka.decode_with_registry import RevokedError, decode
from consumer.kafka.record import Epoch, Record
from consumer.kafka.registry import Registry
from consumer.kafka.waiting import LOG_SECONDS, Wait, Waits
from consumer.sync.dirty_marks import DirtyMarks
from consumer.sync.receipts import Place, Receipt
from consumer.sync.routing import Arrival, Router

log = structlog.get_logger(__name__)

UNREADABLE_RUN: Final = 50
"""This many unreadable records in a row block their partition until ``calsync dead-letters resume``."""
ROUTED_AT_ONCE: Final = 1_000
"""The most records in one round trip: those of two polls."""
RETRY_SECONDS: Final = 1.0
"""How long the intake waits before it tries Redis again."""


class Intake:
    """Takes the records that the pump delivers.

    Everything that waits here was read and is not done, so back-pressure bounds it: see
    :class:`consumer.kafka.backpressure.Limits`.
    """

    def __init__(
        self,
        decoder: Decoder,
        registry: Registry,
        router: Router,
        store: DirtyMarks,
        core: CoreQuestions,
        dead_letters: DeadLetters,
        waits: Waits,
        give_back: Callable[[Receipt, str], None],
        block: Callable[[Record], Awaitable[None]],
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """
        Args:
            decoder, registry, router, store, core, dead_letters: what the intake calls.
            waits: where the records that cannot be finished now are noted.
            give_back: takes each receipt when its record is done.
            block: gets the last of ``UNREADABLE_RUN`` unreadable records in a row of one partition.
            retry_seconds: how long to wait before Redis is tried again.
        """
        self._decoder = decoder
        self._registry = registry
        self._router = router
        self._store = store
        self._core = core
        self._dead_letters = dead_letters
        self._give_back = give_back
        self._block = block
        self._waits = waits
        self._retry_seconds = retry_seconds
        self._unreadable: dict[Epoch, int] = {}
        """How many unreadable records came in a row, by epoch. Ended epochs are dropped with the next such record."""
        self._ready: deque[tuple[Record, Arrival | None]] = deque()
        """Each record, with its arrival if it is decoded already."""
        self._behind: dict[Epoch, deque[tuple[Record, Arrival | None]]] = {}
        """Of each partition that waits: the records after the one that it waits for."""
        self._something_is_ready = asyncio.Event()

    def deliver(self, records: Sequence[Record]) -> None:
        """Take the records of one poll."""
        self._ready.extend((record, None) for record in records)
        self._something_is_ready.set()

    async def run(self) -> None:
        """Route what is delivered, until cancelled.

        Raises an ``ExceptionGroup`` with one error if a partition's task fails unexpectedly.
        """
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._something_is_ready.wait()
                while self._ready:
                    await self._route(self._take(tasks))
                self._something_is_ready.clear()

    def _take(self, tasks: asyncio.TaskGroup) -> list[Arrival]:
        """The records that can be routed now, in order. One that cannot gets a task, and those after it wait."""
        arrivals: list[Arrival] = []
        while self._ready and len(arrivals) < ROUTED_AT_ONCE:
            record, arrival = self._ready.popleft()
            epoch = record.epoch
            if not epoch.live or epoch.stopped:
                continue
            if epoch in self._behind:
                self._behind[epoch].append((record, arrival))
            elif arrival is not None:
                arrivals.append(arrival)
            else:
                self._decode(record, arrivals, tasks)
        return arrivals

    def _decode(self, record: Record, arrivals: list[Arrival], tasks: asyncio.TaskGroup) -> None:
        try:
            decoded = self._decoder.decode(record)
        except (SchemaNeededError, UndecodableError, InvalidRecordError):
            decoded = None
        receipt = self._receipt(record)
        if decoded is None or isinstance(decoded, Incomplete):
            self._behind[record.epoch] = deque()
            tasks.create_task(self._finish(record, receipt), name=f"partition {record.partition}")
            return
        self._unreadable.pop(record.epoch, None)
        arrival = _arrival(record, receipt, decoded)
        if arrival is not None:
            arrivals.append(arrival)

    def _receipt(self, record: Record) -> Receipt:
        place = Place(record.partition, record.offset)
        return Receipt(record, self._give_back, lambda: record.epoch.live, place)

    async def _route(self, arrivals: list[Arrival]) -> None:
        """Route them, as often as it takes: no partition can continue without Redis."""
        monotonic = asyncio.get_running_loop().time
        logged_at = float("-inf")
        while arrivals:
            try:
                await self._router.route(arrivals)
            except StoreUnavailableError as error:
                if monotonic() - logged_at >= LOG_SECONDS:
                    logged_at = monotonic()
                    log.error("consumption waits for Redis", reason=str(error))
                await asyncio.sleep(self._retry_seconds)
            else:
                return

    async def _finish(self, record: Record, receipt: Receipt) -> None:
        """Finish a record that takes time, then let its partition continue."""
        with self._waits.of(record) as wait:
            arrival = await self._arrival(record, receipt, wait)
        behind = self._behind.pop(record.epoch)
        if arrival is not None:
            behind.appendleft((record, arrival))
        self._ready.extendleft(reversed(behind))
        self._something_is_ready.set()

    async def _arrival(self, record: Record, receipt: Receipt, wait: Wait) -> Arrival | None:
        """What to route; ``None`` if the record was skipped, handed over or dead-lettered, or its partition revoked."""
        try:
            decoded = await decode(self._decoder, self._registry, record, wait)
            if isinstance(decoded, Incomplete):
                arrival = await self._complete(record, receipt, decoded, wait)
            else:
                arrival = _arrival(record, receipt, decoded)
        except RevokedError:
            return None
        except UndecodableError as error:
            written = await self._dead_letters.put(record, "undecodable", str(error), wait)
        except InvalidRecordError as error:
            written = await self._dead_letters.put(record, "invalid", str(error), wait)
        else:
            self._unreadable.pop(record.epoch, None)
            return arrival
        if written:
            await self._count_unreadable(record)
            receipt.part_done("dead_lettered")
        return None

    async def _count_unreadable(self, record: Record) -> None:
        """Block the partition after too many: a faulty feed must not become a topic full of dead letters."""
        epoch = record.epoch
        self._unreadable = {known: count for known, count in self._unreadable.items() if known.live}
        run = self._unreadable.get(epoch, 0) + 1
        self._unreadable[epoch] = run
        if run >= UNREADABLE_RUN:
            del self._unreadable[epoch]
            await self._block(record)
            epoch.stopped = True

    async def _complete(self, record: Record, receipt: Receipt, incomplete: Incomplete, wait: Wait) -> Arrival | None:
        job_id, site_id = incomplete.job_id, incomplete.site_id
        if not self._router.is_named(site_id):
            receipt.part_done("skipped")
            return None
        try:
            job = await self._core.job(site_id, job_id)
        except CoreUnavailableError as error:
            log.warning("incomplete record left to the sweep", job=job_id, reason=str(error))
            if await self._mark(Mailbox(site_id, ""), job_id, wait):
                receipt.part_done("handed_over")
            return None
        if job is None:
            receipt.part_done("stale")  # the row no longer exists; the record of its deletion follows
            return None
        return Arrival(
            job_id, job, record.partition, record.offset, receipt, incomplete.committed_at, record.epoch.topic_id
        )

    async def _mark(self, mailbox: Mailbox, job_id: str, wait: Wait) -> bool:
        """Mark the job for the sweep. ``False`` if the partition was revoked before that was possible."""
        while wait.record.epoch.live:
            try:
                await self._store.mark_dirty([(mailbox, job_id)])
            except StoreUnavailableError as error:
                await asyncio.sleep(wait.failed("store", str(error), None))
            else:
                return True
        return False


def _arrival(record: Record, receipt: Receipt, decoded: Changed | Deleted | Truncated | Ignored) -> Arrival | None:
    """What to route. If there is nothing to route, the receipt is given back, and this is ``None``."""
    match decoded:
        case Changed(job, committed_at):
            return Arrival(
                job.job_id, job, record.partition, record.offset, receipt, committed_at, record.epoch.topic_id
            )
        case Deleted(job_id, committed_at):
            return Arrival(job_id, None, record.partition, record.offset, receipt, committed_at, record.epoch.topic_id)
        case Truncated():
            log.error(
                "Core's table was truncated", hint="no event is deleted for this; the next sweep compares with Core"
            )
        case Ignored():
            pass
    receipt.part_done("skipped")
    return None
