"""Records that are put through the service once more, by ``dead-letters replay`` and by ``replay``."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

import typer
from rich.table import Table

from consumer.cli.console import output, print_document
from consumer.cli.entry import FAULT
from consumer.cli.opened import opened
from consumer.cli.topics import REGISTRY_WAIT_SECONDS, client_properties
from consumer.domain.errors import InvalidRecordError, RequestRefusedError, TransientError, UndecodableError
from consumer.domain.job import Job
from consumer.engine import Engine
from consumer.kafka.dead_letter import DeadLetter
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Changed, Decoded, Decoder, Deleted, Incomplete
from consumer.kafka.decode_with_registry import decode
from consumer.kafka.offset_range import OffsetRange
from consumer.kafka.parcel import own_headers
from consumer.kafka.record import Record
from consumer.settings import Settings
from consumer.sync.after_run import HAND_OVER_SECONDS
from consumer.sync.change import Change
from consumer.sync.receipts import Receipt
from consumer.sync.routing import Arrival

_SILENT_SECONDS: Final = HAND_OVER_SECONDS + 60.0
"""A mailbox that fails is handed over before. If nothing comes back in this time, Graph or a tenant is unavailable."""
Progress = Callable[[int, int], None]
"""Gets how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of what was replayed."""

    records: int
    results: Counter[str]

    @property
    def incomplete(self) -> bool:
        """Whether anything was left undone."""
        return any(self.results[result] for result in ("dead_lettered", "unreadable", "handed_over"))


class _RefusedAgain:
    """Dead-letters what Graph still calls malformed."""

    def __init__(self, dead_letters: DeadLetters) -> None:
        self._dead_letters = dead_letters

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """The newest record of the change becomes a dead letter again."""
        records = [receipt.record for receipt in change.records_owed() if isinstance(receipt.record, Record)]
        for record in records[:1]:
            await self._dead_letters.put(record, "refused", str(refusal))


class Replayer:
    """Puts records through the service again: decoded as ever, their jobs' states from Core, their receipts counted."""

    def __init__(self, engine: Engine, sites: Collection[str], dead_letters: DeadLetters) -> None:
        """``dead_letters`` takes what still cannot be read."""
        self.records = 0
        self.results: Counter[str] = Counter()
        self._decoder, self._registry = Decoder(engine.registry), engine.registry
        self._engine = engine
        self._sites = sites
        self._dead_letters = dead_letters
        self._out = 0
        self._none_out = asyncio.Event()
        self._none_out.set()

    async def named_by(self, record: Record) -> tuple[str | None, str | None]:
        """The job and the site that a record names. Raises ``UndecodableError``, ``InvalidRecordError``."""
        return _named(await decode(self._decoder, self._registry, record, patience=REGISTRY_WAIT_SECONDS))

    async def arrival_of(self, dead_letter: DeadLetter) -> Arrival | None:
        """To be routed; ``None`` if there is nothing to be done, or it is a dead letter again."""
        record = dead_letter.record
        try:
            if dead_letter.truncated:
                # Its value cannot be read any more, and so its site is not known either.
                key_alone = replace(record, value=None, headers=own_headers(record))
                job_id, _ = await self.named_by(key_alone)
                return await self.ask(job_id or "", None, record, self._sites)
            job_id, site_id = await self.named_by(record)
            if job_id is not None:
                return await self.ask(job_id, site_id, record)
            result = "skipped"
        except UndecodableError as error:
            await self._dead_letters.put(record, "undecodable", str(error))
            result = "dead_lettered"
        except InvalidRecordError as error:
            await self._dead_letters.put(record, "invalid", str(error))
            result = "dead_lettered"
        self.records += 1
        self.results[result] += 1
        return None

    async def ask(self, job_id: str, site_id: str | None, record: Record, further: Collection[str] = ()) -> Arrival:
        """With the job as Core has it: at the site that the record names, those that hold its events, or a further one.

        Raises ``CoreUnavailableError``, and ``InvalidRecordError`` for a row that says something impossible.
        """
        held = {mailbox.site for mailbox in await self._engine.status.holders(job_id)}
        job: Job | None = None
        for site in dict.fromkeys([*([site_id] if site_id else []), *sorted(held), *further]):
            job = job or await self._engine.core.job(site, job_id)
        self._out += 1
        self._none_out.clear()
        receipt = Receipt(record, self._give_back, lambda: True)
        return Arrival(job_id, job, record.partition, record.offset, receipt, None)

    async def all_back(self) -> None:
        """Wait until every receipt is back. Raises ``TransientError`` when none has come back for minutes."""
        while before := self._out:
            try:
                async with asyncio.timeout(_SILENT_SECONDS):
                    await self._none_out.wait()
            except TimeoutError:
                if self._out == before:
                    raise TransientError(
                        f"{before} records wait, and Graph serves nobody: see the log, and replay again later"
                    ) from None

    def _give_back(self, _receipt: Receipt, result: str) -> None:
        self.records += 1
        self.results[result] += 1
        self._out -= 1
        if not self._out:
            self._none_out.set()


async def batches(topic: OffsetRange, progress: Progress) -> AsyncIterator[list[Record]]:
    """What is read, batch by batch; one is done when the next is asked for."""
    done = 0
    progress(done, topic.length)
    while batch := await asyncio.to_thread(topic.read):
        yield batch
        done += len(batch)
        progress(done, topic.length)


@asynccontextmanager
async def replaying(settings: Settings) -> AsyncIterator[tuple[Engine, Replayer]]:
    """An engine over a store that takes writes, and a replayer for it.

    Raises ``ConfigurationError`` and ``StoreUnavailableError``.
    """
    threads = ThreadPoolExecutor(1, "dead-letters")
    dead_letters = DeadLetters(client_properties(settings), settings.kafka_dlq_topic, threads)
    async with opened(settings, refused=_RefusedAgain(dead_letters)) as (engine, sites):
        await engine.status.check()
        engine.sites.pause(await engine.operators.paused())
        yield engine, Replayer(engine, sites, dead_letters)


def _named(decoded: Decoded) -> tuple[str | None, str | None]:
    """The job and the site that a record names."""
    match decoded:
        case Changed(job, _):
            return job.job_id, job.site_id
        case Incomplete(job_id, site_id, _):
            return job_id, site_id
        case Deleted(job_id, _):
            return job_id, None
    return None, None


def report_replayed(replayed: Replayed, *, as_json: bool) -> NoReturn:
    """Print what became of what was replayed, and end with the exit code that says how it went."""
    results = dict(sorted(replayed.results.items()))
    if as_json:
        print_document(document(replayed.records, results))
    else:
        output.print(table(replayed.records, results))
    raise typer.Exit(FAULT if replayed.incomplete else 0)


def table(records: int, results: Mapping[str, int]) -> Table:
    """A row a result."""
    table = Table(title=f"Replayed: {records}", title_justify="left")
    table.add_column("result")
    table.add_column("records", justify="right")
    for result, count in results.items():
        table.add_row(result, str(count))
    return table


def document(records: int, results: Mapping[str, int]) -> dict[str, Any]:
    """``{"records": …, "results": {result: records}}``."""
    return {"records": records, "results": results}
