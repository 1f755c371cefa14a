"""What the commands do that read the topics: dead letters, replay, and the check of Core's feed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog

from consumer.commands import opened
from consumer.domain.errors import (
    ConfigurationError,
    InvalidRecordError,
    RequestRefusedError,
    TransientError,
    UndecodableError,
)
from consumer.domain.job import Job
from consumer.engine import Engine
from consumer.kafka.config import Config, checked_properties, client_config
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Changed, Decoded, Decoder, Deleted, Incomplete
from consumer.kafka.feed_check import FeedCheck
from consumer.kafka.intake import decode
from consumer.kafka.letter import Letter, letter_of
from consumer.kafka.parcel import own_headers
from consumer.kafka.record import Record
from consumer.kafka.registry import Registry
from consumer.kafka.span import Span, span
from consumer.kafka.topic import TopicIdentity, cleanup_policy
from consumer.settings import Settings
from consumer.store.store import Block
from consumer.sync.change import Change
from consumer.sync.lanes import HAND_OVER_SECONDS
from consumer.sync.receipts import Receipt
from consumer.sync.routing import Arrival

log = structlog.get_logger(__name__)

_ROUTED_AT_ONCE: Final = 200
_QUESTIONS_AT_ONCE: Final = 4
_PATIENCE_SECONDS: Final = 30.0
"""How long a command waits for the schema registry."""
_SILENT_SECONDS: Final = HAND_OVER_SECONDS + 60.0
"""A sick mailbox is handed over before; if nothing comes back for so long, all of Graph is away, or a tenant."""

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of what was replayed."""

    records: int
    results: Counter[str]

    @property
    def incomplete(self) -> bool:
        """Whether anything was left undone."""
        return any(self.results[result] for result in ("dead_lettered", "unreadable", "handed_over"))


async def letters(settings: Settings, *, everything: bool) -> tuple[list[Letter], dict[int, Block]]:
    """The dead letters that were not replayed yet, or all there are; and the partitions that are blocked.

    Raises:
        ConfigurationError: the dead-letter topic cannot be read.
        TransientError: its id is not known now, so neither is what was replayed.
    """
    async with opened(settings) as (engine, _):
        blocked = await engine.store.blocked(settings.kafka_topic)
        with span(_config(settings), settings.kafka_dlq_topic, settings.kafka_group) as topic:
            offsets = {} if everything else await engine.store.replayed(await _replayed_of(settings))
            await asyncio.to_thread(topic.from_offsets, offsets)
            found = [letter_of(record) async for record in _records(topic)]
    return sorted(found, key=lambda letter: (letter.written_at, letter.partition, letter.offset)), blocked


async def replay_letters(settings: Settings, progress: Progress) -> Replayed:
    """Have each dead letter decoded once more; what can be read names its job, whose state is read from Core.

    What still cannot be carried out is a letter again, its count raised.

    Raises:
        ConfigurationError: the dead-letter topic cannot be read.
        CoreUnavailableError: Core cannot be asked; what was not replayed stays so.
        TransientError: Graph serves nobody, or the topic's id is not known now; what was not replayed stays so.
    """
    async with opened(settings) as (engine, sites), _way(settings, engine, sites) as way:
        await engine.store.check()
        engine.states.pause(await engine.store.paused())
        with span(_config(settings), settings.kafka_dlq_topic, settings.kafka_group) as topic:
            replayed_of = await _replayed_of(settings)
            offsets = await engine.store.replayed(replayed_of)
            await asyncio.to_thread(topic.from_offsets, offsets)
            async for batch in _batches(topic, progress):
                found = [await way.arrival_of(letter_of(record)) for record in batch]
                await engine.router.route([arrival for arrival in found if arrival is not None])
                await way.all_back()
                done = {record.partition: record.offset + 1 for record in batch}
                await engine.store.remember_replayed(replayed_of, done)
        return Replayed(way.records, way.results)


async def unblock(settings: Settings, partitions: Sequence[int]) -> list[int]:
    """Have the partitions read on, or all that are blocked. Raises ``ConfigurationError`` if one is not blocked."""
    async with opened(settings) as (engine, _):
        blocked = await engine.store.blocked(settings.kafka_topic)
        strange = [f"partition {number} is not blocked" for number in partitions if number not in blocked]
        if strange:
            raise ConfigurationError(strange)
        chosen = list(partitions or blocked)
        for partition in chosen:
            await engine.store.unblock(settings.kafka_topic, partition)
        return chosen


async def replay(settings: Settings, since: float, progress: Progress) -> Replayed:
    """Read the topic from this Unix time on, and bring every job it names to the state that Core has now.

    Raises:
        ConfigurationError: the topic cannot be read.
        CoreUnavailableError: Core cannot be asked.
        TransientError: Graph serves nobody.
    """
    async with opened(settings) as (engine, sites), _way(settings, engine, sites) as way:
        await engine.store.check()
        engine.states.pause(await engine.store.paused())
        with span(_config(settings), settings.kafka_topic, settings.kafka_group) as topic:
            await asyncio.to_thread(topic.from_time, since)
            named: dict[str, tuple[str | None, Record]] = {}
            async for batch in _batches(topic, progress):
                for record in batch:
                    try:
                        job_id, site_id = _named(
                            await decode(way.decoder, way.registry, record, patience=_PATIENCE_SECONDS)
                        )
                    except (UndecodableError, InvalidRecordError):
                        way.results["unreadable"] += 1
                        continue
                    if job_id is not None:
                        named[job_id] = site_id or named.get(job_id, (None, record))[0], record
        questions = asyncio.Semaphore(_QUESTIONS_AT_ONCE)

        async def arrival(job_id: str, site_id: str | None, record: Record) -> Arrival | None:
            async with questions:
                try:
                    return await way.ask(job_id, site_id, record)
                except InvalidRecordError as error:
                    log.error("Core's row says something impossible", job=job_id, reason=str(error))
                    way.results["unreadable"] += 1
                    return None

        jobs = list(named.items())
        for first in range(0, len(jobs), _ROUTED_AT_ONCE):
            part = jobs[first : first + _ROUTED_AT_ONCE]
            found = await asyncio.gather(*(arrival(job_id, *where) for job_id, where in part))
            await engine.router.route([each for each in found if each is not None])
            await way.all_back()
            progress(first + len(part), len(jobs))
        return Replayed(way.records, way.results)


async def check_feed(settings: Settings, topic: str | None, count: int) -> FeedCheck:
    """Look at the newest ``count`` records of each partition, as Core's team would want to.

    Raises:
        ConfigurationError: the topic cannot be read.
    """
    name = topic or settings.kafka_topic
    async with opened(settings) as (engine, sites):
        check = FeedCheck(sites)
        decoder, registry = _decoder(engine)
        with span(_config(settings), name, settings.kafka_group) as found:
            await asyncio.to_thread(found.newest, count)
            async for record in _records(found):
                try:
                    check.read(record, await decode(decoder, registry, record, patience=_PATIENCE_SECONDS))
                except (UndecodableError, InvalidRecordError) as error:
                    check.unreadable(record, str(error))
            policy = await asyncio.to_thread(cleanup_policy, _config(settings), name)
        if policy is not None and "compact" not in policy:
            check.topic_wide(
                "the topic is not compacted",
                "set cleanup.policy=compact: a new consumer then finds every job's last state, however old",
            )
    return check


class _Way:
    """How a replayed record goes: decoded as ever, its job's state from Core, its receipt counted."""

    def __init__(self, settings: Settings, engine: Engine, sites: Collection[str]) -> None:
        self.records = 0
        self.results: Counter[str] = Counter()
        self.decoder, self.registry = _decoder(engine)
        self._engine = engine
        self._sites = sites
        self._letters = DeadLetters(_config(settings), settings.kafka_dlq_topic)
        self._out = 0
        self._none_out = asyncio.Event()
        self._none_out.set()

    async def arrival_of(self, letter: Letter) -> Arrival | None:
        """To be routed; ``None`` if there is nothing to be done, or it is a dead letter again."""
        record = letter.record
        try:
            if letter.truncated:
                # Its value cannot be read any more, and so its site is not known either.
                key_alone = replace(record, value=None, headers=own_headers(record))
                job_id, _ = _named(await decode(self.decoder, self.registry, key_alone, patience=_PATIENCE_SECONDS))
                return await self.ask(job_id or "", None, record, self._sites)
            job_id, site_id = _named(await decode(self.decoder, self.registry, record, patience=_PATIENCE_SECONDS))
            if job_id is not None:
                return await self.ask(job_id, site_id, record)
            result = "skipped"
        except UndecodableError as error:
            await self._letters.put(record, f"undecodable: {error}")
            result = "dead_lettered"
        except InvalidRecordError as error:
            await self._letters.put(record, f"invalid: {error}")
            result = "dead_lettered"
        self.records += 1
        self.results[result] += 1
        return None

    async def ask(self, job_id: str, site_id: str | None, record: Record, further: Collection[str] = ()) -> Arrival:
        """With the job as Core has it: at the site that the record names, those that hold its events, or a further one.

        Raises ``CoreUnavailableError``, and ``InvalidRecordError`` for a row that says something impossible.
        """
        held = {mailbox.site for mailbox in await self._engine.store.holders(job_id)}
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

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """Graph calls the event malformed, still."""
        records = [receipt.record for receipt in change.records_owed() if isinstance(receipt.record, Record)]
        for record in records[:1]:
            await self._letters.put(record, f"refused: {refusal}")

    def _give_back(self, _receipt: Receipt, result: str) -> None:
        self.records += 1
        self.results[result] += 1
        self._out -= 1
        if not self._out:
            self._none_out.set()


@asynccontextmanager
async def _way(settings: Settings, engine: Engine, sites: Collection[str]) -> AsyncIterator[_Way]:
    way = _Way(settings, engine, sites)
    engine.refuse = way.refuse
    yield way


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


def _decoder(engine: Engine) -> tuple[Decoder, Registry]:
    return Decoder(engine.registry), engine.registry


async def _replayed_of(settings: Settings) -> str:
    """Under what the replayed offsets are kept: the topic, with its id if it has one.

    The letters of a topic that was created again begin at offset 0, and none of them was replayed.

    Raises:
        TransientError: its id is not known now. Without it, letters would be replayed twice, or those of a topic that
            was created again would be taken for replayed.
    """
    topic = settings.kafka_dlq_topic
    identity = await asyncio.to_thread(TopicIdentity(_config(settings), topic).ask)
    if identity is None:
        raise TransientError(
            f"CALSYNC_KAFKA_BOOTSTRAP_SERVERS: the id of topic {topic} is not known, as no broker answered for it, so "
            "neither is what was replayed; run the command again when the brokers are well"
        )
    return f"{topic}@{identity}" if identity else topic


def _config(settings: Settings) -> Config:
    brokers = settings.kafka_bootstrap_servers
    return client_config(brokers, checked_properties(settings.kafka_config_file, brokers))
