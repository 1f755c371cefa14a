"""The intake: records are decoded, completed and routed, each partition in its order.

What can be routed at once goes in one round trip for all partitions. A record that cannot be finished now (its dead
letter is refused, its schema or its missing values cannot be read) has a task of its own; what comes behind it in its
partition waits for that task, and every other partition goes on.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from consumer.domain.errors import (
    CoreUnavailableError,
    InvalidRecordError,
    StoreUnavailableError,
    TransientError,
    UndecodableError,
)
from consumer.domain.mailbox import Mailbox
from consumer.kafka.core_questions import CoreQuestions, JobSource
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Changed, Decoded, Decoder, Deleted, Ignored, Incomplete, SchemaNeededError, Truncated
from consumer.kafka.record import Epoch, Record
from consumer.kafka.registry import Registry
from consumer.kafka.waiting import LOG_SECONDS, Wait, Waits
from consumer.sync.ports import Store
from consumer.sync.receipts import Place, Receipt
from consumer.sync.routing import Arrival, Router

log = structlog.get_logger(__name__)

UNREADABLE_RUN: Final = 50
"""This many unreadable records in a row block their partition until ``calsync dead-letters resume``."""
ROUTED_AT_ONCE: Final = 1_000
"""Records in one round trip: those of a poll, or of two that came while the last trip was under way."""
_RETRY_SECONDS: Final = 1.0
_SCHEMA_HINT: Final = "check CALSYNC_SCHEMA_REGISTRY_URL and CALSYNC_SCHEMA_REGISTRY_USER_INFO, and the registry itself"


class RevokedError(Exception):
    """The record's partition was revoked: its new owner gets the record again."""


class Intake:
    """Consumes what the pump delivers. The pump bounds what waits here: it stops reading a partition that waits."""

    def __init__(
        self,
        decoder: Decoder,
        registry: Registry,
        router: Router,
        store: Store,
        core: JobSource,
        dead_letters: DeadLetters,
        waits: Waits,
        give_back: Callable[[Receipt, str], None],
        block: Callable[[Record], Awaitable[None]],
    ) -> None:
        """
        Args:
            decoder, registry, router, store, core, dead_letters: what the intake works with.
            waits: shows the records that cannot be finished now.
            give_back: takes each receipt when its record is done.
            block: gets the last of ``UNREADABLE_RUN`` unreadable records in a row of one partition.
        """
        self._decoder = decoder
        self._registry = registry
        self._router = router
        self._store = store
        self._core = CoreQuestions(core)
        self._dead_letters = dead_letters
        self._give_back = give_back
        self._block = block
        self._waits = waits
        self._unreadable: dict[Epoch, int] = {}
        """Of each partition held: how many unreadable records came in a row."""
        self._ready: deque[tuple[Record, Arrival | None]] = deque()
        """Each record, with what it says if that is known already."""
        self._behind: dict[Epoch, deque[tuple[Record, Arrival | None]]] = {}
        """Of each partition that waits: the records that came behind the one it waits for."""
        self._something_is_ready = asyncio.Event()

    def deliver(self, records: Sequence[Record]) -> None:
        """Take the records of one poll."""
        self._ready.extend((record, None) for record in records)
        self._something_is_ready.set()

    async def run(self) -> None:
        """Until cancelled. An unexpected error in a partition's task ends it too, as the only error of a group."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._something_is_ready.wait()
                while self._ready:
                    await self._route(self._take(tasks))
                self._something_is_ready.clear()

    def _take(self, tasks: asyncio.TaskGroup) -> list[Arrival]:
        """What can be routed now, in order; what cannot gets a task, and what comes behind it waits."""
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
                self._understand(record, arrivals, tasks)
        return arrivals

    def _understand(self, record: Record, arrivals: list[Arrival], tasks: asyncio.TaskGroup) -> None:
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
        """Until Redis has taken them: no partition can go on without it."""
        logged_at = float("-inf")
        while arrivals:
            try:
                await self._router.route(arrivals)
            except StoreUnavailableError as error:
                if time.monotonic() - logged_at >= LOG_SECONDS:
                    logged_at = time.monotonic()
                    log.error("Redis is unavailable, consumption waits", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _finish(self, record: Record, receipt: Receipt) -> None:
        """Work off a record that takes time, then let its partition go on."""
        with self._waits.of(record) as wait:
            arrival = await self._arrival(record, receipt, wait)
        behind = self._behind.pop(record.epoch)
        if arrival is not None:
            behind.appendleft((record, arrival))
        self._ready.extendleft(reversed(behind))
        self._something_is_ready.set()

    async def _arrival(self, record: Record, receipt: Receipt, wait: Wait) -> Arrival | None:
        try:
            decoded = await decode(self._decoder, self._registry, record, wait)
            if isinstance(decoded, Incomplete):
                arrival = await self._complete(record, receipt, decoded, wait)
            else:
                arrival = _arrival(record, receipt, decoded)
        except RevokedError:
            return None
        except UndecodableError as error:
            safe = await self._dead_letters.put(record, "undecodable", str(error), wait)
        except InvalidRecordError as error:
            safe = await self._dead_letters.put(record, "invalid", str(error), wait)
        else:
            self._unreadable.pop(record.epoch, None)
            return arrival
        if safe:
            await self._count_unreadable(record)
            receipt.part_done("dead_lettered")
        return None

    async def _count_unreadable(self, record: Record) -> None:
        """A bad deployment of Core's feed must not be drained into the dead-letter topic."""
        epoch = record.epoch
        self._unreadable = {each: count for each, count in self._unreadable.items() if each.live}
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
            log.warning("record without all its values is left to the sweep", job=job_id, reason=str(error))
            if await self._mark(Mailbox(site_id, ""), job_id, wait):
                receipt.part_done("handed_over")
            return None
        if job is None:
            receipt.part_done("stale")  # its row is gone by now; the deletion follows
            return None
        return Arrival(job_id, job, record.partition, record.offset, receipt, incomplete.committed_at, record.epoch.log)

    async def _mark(self, mailbox: Mailbox, job_id: str, wait: Wait) -> bool:
        """``False`` if the partition was revoked before the sweep's mark could be written."""
        while wait.record.epoch.live:
            try:
                await self._store.mark_dirty([(mailbox, job_id)])
            except StoreUnavailableError as error:
                await asyncio.sleep(wait.failed("store", str(error), None))
            else:
                return True
        return False


def _arrival(record: Record, receipt: Receipt, decoded: Changed | Deleted | Truncated | Ignored) -> Arrival | None:
    """To be routed; ``None``, with the receipt given back, if there is nothing to route."""
    match decoded:
        case Changed(job, committed_at):
            return Arrival(job.job_id, job, record.partition, record.offset, receipt, committed_at, record.epoch.log)
        case Deleted(job_id, committed_at):
            return Arrival(job_id, None, record.partition, record.offset, receipt, committed_at, record.epoch.log)
        case Truncated():
            log.error("Core's table was truncated: nothing is deleted for that, the sweep decides")
        case Ignored():
            pass
    receipt.part_done("skipped")
    return None


async def decode(
    decoder: Decoder, registry: Registry, record: Record, wait: Wait | None = None, *, patience: float = math.inf
) -> Decoded:
    """What a record says, its schema fetched if need be. While the registry gives no answer, this waits.

    Raises:
        TransientError: the registry has given no answer for ``patience`` seconds.
        RevokedError: the record's partition was revoked before its schema could be read.
        UndecodableError: these bytes are not a record of ours.
        InvalidRecordError: it can be read, but states something impossible.
    """
    wait = wait or Wait(record)
    give_up_at = asyncio.get_running_loop().time() + patience
    while record.epoch.live:
        try:
            return decoder.decode(record)
        except SchemaNeededError as needed:
            try:
                await registry.fetch(needed.schema_id)
            except TransientError as error:
                if asyncio.get_running_loop().time() >= give_up_at:
                    raise
                reason = f"schema {needed.schema_id}: {error}"
                await asyncio.sleep(wait.failed("schema", reason, _SCHEMA_HINT))
    raise RevokedError
