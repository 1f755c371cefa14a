"""The intake: what a poll brought is decoded, completed, and routed, poll by poll, in order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from consumer.domain.errors import (
    CoreUnavailableError,
    InvalidRecordError,
    RequestRefusedError,
    StoreUnavailableError,
    TransientError,
    UndecodableError,
)
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Changed, Decoded, Decoder, Deleted, Ignored, Incomplete, SchemaNeededError, Truncated
from consumer.kafka.record import Record
from consumer.kafka.registry import Registry
from consumer.sync.change import Change
from consumer.sync.ports import Store
from consumer.sync.receipts import Place, Receipt
from consumer.sync.routing import Arrival, Router

log = structlog.get_logger(__name__)

UNREADABLE_RUN: Final = 50
"""So many unreadable records in a row block their partition until ``calsync dead-letters resume``."""
_RETRY_SECONDS: Final = 1.0


class JobSource(Protocol):
    """Where a job's whole state can be read."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """The job, or ``None`` if Core has none. Raises ``CoreUnavailableError`` or ``InvalidRecordError``."""


class Intake:
    """Consumes what the pump delivers. While it waits for Redis or the registry, the pump fills up and pauses."""

    def __init__(
        self,
        decoder: Decoder,
        registry: Registry,
        router: Router,
        store: Store,
        core: JobSource,
        dead_letters: DeadLetters,
        give_back: Callable[[Receipt, str], None],
        on_dead_letter: Callable[[str], None],
        block: Callable[[Record], Awaitable[None]],
    ) -> None:
        """``on_dead_letter`` is told the kind of fault: undecodable, invalid or refused.

        ``block`` is given the last of ``UNREADABLE_RUN`` unreadable records in a row of one partition.
        """
        self._decoder = decoder
        self._registry = registry
        self._router = router
        self._store = store
        self._core = core
        self._dead_letters = dead_letters
        self._give_back = give_back
        self._on_dead_letter = on_dead_letter
        self._block = block
        self._unreadable: dict[int, int] = {}
        """Of each partition: how many unreadable records came in a row."""
        self._queue: asyncio.Queue[Sequence[Record]] = asyncio.Queue()

    def deliver(self, records: Sequence[Record]) -> None:
        """Take the records of one poll."""
        self._queue.put_nowait(records)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.process(await self._queue.get())

    async def process(self, records: Sequence[Record]) -> None:
        """Decode and route these records; their receipts come back as they are done."""
        arrivals = [arrival for record in records if (arrival := await self._arrival(record))]
        await self._route(arrivals)

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """Dead-letter the record of a change that Graph calls malformed."""
        if isinstance(change.receipt.record, Record):
            await self._bury(change.receipt.record, "refused", str(refusal))

    async def _route(self, arrivals: list[Arrival]) -> None:
        while arrivals:
            try:
                await self._router.route(arrivals)
            except StoreUnavailableError as error:
                log.error("Redis is not there, consumption waits", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _arrival(self, record: Record) -> Arrival | None:
        if not record.epoch.live or record.epoch.stopped:
            return None
        place = Place(record.partition, record.offset)
        receipt = Receipt(record, self._give_back, lambda: record.epoch.live, place)
        try:
            decoded = await decode(self._decoder, self._registry, record)
            arrival = await self._understand(record, receipt, decoded)
        except UndecodableError as error:
            await self._bury(record, "undecodable", str(error))
        except InvalidRecordError as error:
            await self._bury(record, "invalid", str(error))
        else:
            self._unreadable.pop(record.partition, None)
            return arrival
        await self._count_unreadable(record)
        receipt.part_done("dead_lettered")
        return None

    async def _count_unreadable(self, record: Record) -> None:
        """A bad deployment of Core's feed is not to be drained into the dead-letter topic."""
        run = self._unreadable.get(record.partition, 0) + 1
        self._unreadable[record.partition] = run
        if run >= UNREADABLE_RUN:
            del self._unreadable[record.partition]
            await self._block(record)
            record.epoch.stopped = True

    async def _understand(self, record: Record, receipt: Receipt, decoded: Decoded) -> Arrival | None:
        match decoded:
            case Changed(job, committed_at):
                return Arrival(job.job_id, job, record.partition, record.offset, receipt, committed_at)
            case Deleted(job_id, committed_at):
                return Arrival(job_id, None, record.partition, record.offset, receipt, committed_at)
            case Incomplete():
                return await self._complete(record, receipt, decoded)
            case Truncated():
                log.error("Core's table was truncated: nothing is deleted for that, the sweep decides")
            case Ignored():
                pass
        receipt.part_done("skipped")
        return None

    async def _complete(self, record: Record, receipt: Receipt, incomplete: Incomplete) -> Arrival | None:
        job_id, site_id = incomplete.job_id, incomplete.site_id
        try:
            job = await self._core.job(site_id, job_id)
        except CoreUnavailableError as error:
            log.warning("record without all its values is left to the sweep", job=job_id, reason=str(error))
            await self._mark(Mailbox(site_id, ""), job_id)
            receipt.part_done("handed_over")
            return None
        if job is None:
            receipt.part_done("stale")  # its row is gone by now; the deletion follows
            return None
        return Arrival(job_id, job, record.partition, record.offset, receipt, incomplete.committed_at)

    async def _mark(self, mailbox: Mailbox, job_id: str) -> None:
        while True:
            try:
                await self._store.mark_dirty([(mailbox, job_id)])
            except StoreUnavailableError as error:
                log.error("Redis is not there, consumption waits", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _bury(self, record: Record, kind: str, reason: str) -> None:
        await self._dead_letters.put(record, f"{kind}: {reason}")
        self._on_dead_letter(kind)


async def decode(decoder: Decoder, registry: Registry, record: Record) -> Decoded:
    """What a record says, its schema fetched if need be: while the registry is away, this waits.

    Raises:
        UndecodableError: these bytes are no record of ours.
        InvalidRecordError: it can be read, but states something impossible.
    """
    while True:
        try:
            return decoder.decode(record)
        except SchemaNeededError as needed:
            try:
                await registry.fetch(needed.schema_id)
            except TransientError as error:
                log.error("waiting for the schema registry", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
