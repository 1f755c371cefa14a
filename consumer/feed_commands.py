"""What the commands do that read the topics: dead letters, replay, and the check of Core's feed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from consumer.commands import opened
from consumer.domain.errors import ConfigurationError, InvalidRecordError, UndecodableError
from consumer.domain.job import Job
from consumer.engine import Engine
from consumer.kafka.config import Config, client_config, read_properties
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Changed, Decoder, Deleted, Incomplete
from consumer.kafka.feed_check import FeedCheck
from consumer.kafka.intake import Intake, decode
from consumer.kafka.letter import Letter, letter_of
from consumer.kafka.record import Record
from consumer.kafka.registry import Registry
from consumer.kafka.span import Span, span
from consumer.kafka.topic import cleanup_policy
from consumer.settings import Settings
from consumer.store.store import Block
from consumer.sync.receipts import Receipt
from consumer.sync.routing import Arrival

_ROUTED_AT_ONCE: Final = 200
_QUESTIONS_AT_ONCE: Final = 4

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of what was replayed."""

    records: int
    results: Counter[str]


async def letters(settings: Settings, *, everything: bool) -> tuple[list[Letter], dict[int, Block]]:
    """The dead letters that were not replayed yet, or all there are; and the partitions that are blocked.

    Raises:
        ConfigurationError: the dead-letter topic cannot be read.
    """
    async with opened(settings) as (engine, _):
        offsets = {} if everything else await engine.store.replayed()
        blocked = await engine.store.blocked()
        with span(_config(settings), settings.kafka_dlq_topic) as topic:
            await asyncio.to_thread(topic.from_offsets, offsets)
            found = [letter_of(record) async for record in _records(topic)]
    return sorted(found, key=lambda letter: (letter.written_at, letter.partition, letter.offset)), blocked


async def replay_letters(settings: Settings, progress: Progress) -> Replayed:
    """Put the bytes of each dead letter through the way they came once more. What fails again is a letter again.

    Raises:
        ConfigurationError: the dead-letter topic cannot be read.
    """
    async with opened(settings) as (engine, _), _ways_back(settings, engine) as (intake, returned):
        offsets = await engine.store.replayed()
        with span(_config(settings), settings.kafka_dlq_topic) as topic:
            await asyncio.to_thread(topic.from_offsets, offsets)
            async for batch in _batches(topic, progress):
                await intake.process([letter_of(record).record for record in batch])
                await returned.all(len(batch))
                await engine.store.remember_replayed({record.partition: record.offset + 1 for record in batch})
        return Replayed(returned.records, returned.results)


async def unblock(settings: Settings, partitions: Sequence[int]) -> list[int]:
    """Have the partitions read on, or all that are blocked. Raises ``ConfigurationError`` if one is not blocked."""
    async with opened(settings) as (engine, _):
        blocked = await engine.store.blocked()
        strange = [f"partition {number} is not blocked" for number in partitions if number not in blocked]
        if strange:
            raise ConfigurationError(strange)
        chosen = list(partitions or blocked)
        for partition in chosen:
            await engine.store.unblock(partition)
        return chosen


async def replay(settings: Settings, since: float, progress: Progress) -> Replayed:
    """Read the topic from this Unix time on, and bring every job it names to the state that Core has now.

    Raises:
        ConfigurationError: the topic cannot be read.
        CoreUnavailableError: Core cannot be asked.
    """
    async with opened(settings) as (engine, _), _ways_back(settings, engine) as (_, returned):
        with span(_config(settings), settings.kafka_topic) as topic:
            await asyncio.to_thread(topic.from_time, since)
            named: dict[str, tuple[str | None, Record]] = {}
            decoder, registry = _decoder(settings, engine)
            async for batch in _batches(topic, progress):
                for record in batch:
                    try:
                        decoded = await decode(decoder, registry, record)
                    except (UndecodableError, InvalidRecordError):
                        returned.results["unreadable"] += 1
                        continue
                    match decoded:
                        case Changed(job, _):
                            named[job.job_id] = job.site_id, record
                        case Incomplete(job_id, site_id, _):
                            named[job_id] = site_id, record
                        case Deleted(job_id, _):
                            named[job_id] = named.get(job_id, (None, record))[0], record
        questions = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

        async def arrival(job_id: str, site_id: str | None, record: Record) -> Arrival:
            async with questions:
                job = await _ask(engine, job_id, site_id)
            receipt = Receipt(record, returned.give_back, lambda: True)
            return Arrival(job_id, job, record.partition, record.offset, receipt, None)

        jobs = list(named.items())
        for first in range(0, len(jobs), _ROUTED_AT_ONCE):
            part = jobs[first : first + _ROUTED_AT_ONCE]
            arrivals = await asyncio.gather(*(arrival(job_id, *where) for job_id, where in part))
            await engine.router.route(arrivals)
            await returned.all(len(part))
            progress(first + len(part), len(jobs))
        return Replayed(returned.records, returned.results)


async def check_feed(settings: Settings, topic: str | None, count: int) -> FeedCheck:
    """Look at the newest ``count`` records of each partition, as Core's team would want to.

    Raises:
        ConfigurationError: the topic cannot be read.
    """
    name = topic or settings.kafka_topic
    async with opened(settings) as (engine, sites):
        check = FeedCheck(sites)
        decoder, registry = _decoder(settings, engine)
        with span(_config(settings), name) as found:
            await asyncio.to_thread(found.newest, count)
            async for record in _records(found):
                try:
                    check.read(record, await decode(decoder, registry, record))
                except (UndecodableError, InvalidRecordError) as error:
                    check.unreadable(record, str(error))
            policy = await asyncio.to_thread(cleanup_policy, _config(settings), name)
        if policy is not None and "compact" not in policy:
            check.topic_wide(
                "the topic is not compacted",
                "set cleanup.policy=compact: a new consumer then finds every job's last state, however old",
            )
    return check


class _Returned:
    """Counts receipts as they come back."""

    def __init__(self) -> None:
        self.records = 0
        self.results: Counter[str] = Counter()
        self._expected = 0
        self._complete = asyncio.Event()

    def give_back(self, _receipt: Receipt, result: str) -> None:
        self.records += 1
        self.results[result] += 1
        if self.records == self._expected:
            self._complete.set()

    async def all(self, more: int) -> None:
        """Wait until these too are back."""
        self._expected += more
        if self.records < self._expected:
            self._complete.clear()
            await self._complete.wait()


@asynccontextmanager
async def _ways_back(settings: Settings, engine: Engine) -> AsyncIterator[tuple[Intake, _Returned]]:
    """An intake of a command's own, and where its receipts come back."""
    returned = _Returned()
    decoder, registry = _decoder(settings, engine)

    async def never(_record: Record) -> None:
        """Letters are unreadable by their nature: no partition is blocked for them."""

    letters = DeadLetters(_config(settings), settings.kafka_dlq_topic)
    intake = Intake(
        decoder,
        registry,
        engine.router,
        engine.store,
        engine.core,
        letters,
        returned.give_back,
        lambda _kind: None,
        never,
    )
    engine.refuse = intake.refuse
    yield intake, returned


async def _ask(engine: Engine, job_id: str, site_id: str | None) -> Job | None:
    """The job as Core has it, at the site that the record names or at those that hold its events."""
    held = {mailbox.site for mailbox in await engine.store.holders(job_id)}
    for site in dict.fromkeys([*([site_id] if site_id else []), *sorted(held)]):
        job = await engine.core.job(site, job_id)
        if job is not None:
            return job
    return None


async def _records(topic: Span) -> AsyncIterator[Record]:
    while batch := await asyncio.to_thread(topic.read):
        for record in batch:
            yield record


async def _batches(topic: Span, progress: Progress) -> AsyncIterator[list[Record]]:
    done = 0
    progress(done, topic.length)
    while batch := await asyncio.to_thread(topic.read):
        yield batch
        done += len(batch)
        progress(done, topic.length)


def _decoder(settings: Settings, engine: Engine) -> tuple[Decoder, Registry]:
    registry = Registry(settings.schema_registry_url, settings.registry_user_info(), engine.http)
    return Decoder(registry), registry


def _config(settings: Settings) -> Config:
    return client_config(settings.kafka_bootstrap_servers, read_properties(settings.kafka_config_file))
