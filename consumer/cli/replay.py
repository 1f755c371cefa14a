"""``calsync replay``: a part of the topic, read again."""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import structlog
import typer

from consumer.cli.console import Json, configured, errors, run_until_done
from consumer.cli.progress import counted_progress
from consumer.cli.replayer import Progress, Replayed, batches, replaying, report_replayed
from consumer.cli.topics import client_properties
from consumer.domain.errors import ConfigurationError, InvalidRecordError, UndecodableError
from consumer.kafka.offset_range import offset_range
from consumer.kafka.record import Record
from consumer.settings import Settings
from consumer.sync.bounded import each
from consumer.sync.routing import Arrival

log = structlog.get_logger(__name__)
cli = typer.Typer(add_completion=False)

_ROUTED_AT_ONCE: Final = 200
_QUESTIONS_AT_ONCE: Final = 4


@cli.command()
def replay(
    since: Annotated[str, typer.Option("--from", help="RFC 3339, or an age such as 90m, 6h, 2d.")],
    as_json: Json = False,
) -> None:
    """Read the topic again from a time on, and bring every job it names to the state that Core has now."""
    start = _unix_time(since)
    with counted_progress(errors, "replaying") as progress:
        replayed = run_until_done(replay_from(configured(), start, progress))
    report_replayed(replayed, as_json=as_json)


async def replay_from(settings: Settings, since: float, progress: Progress) -> Replayed:
    """Read the topic from this Unix time on, and bring every job it names to the state that Core has now.

    Raises:
        ConfigurationError: the topic cannot be read.
        CoreUnavailableError: Core cannot be asked.
        TransientError: Graph serves nobody.
    """
    async with replaying(settings) as (engine, replayer):
        with offset_range(client_properties(settings), settings.kafka_topic, settings.kafka_group) as topic:
            await asyncio.to_thread(topic.from_time, since)
            named: dict[str, tuple[str | None, Record]] = {}
            async for batch in batches(topic, progress):
                for record in batch:
                    try:
                        job_id, site_id = await replayer.named_by(record)
                    except (UndecodableError, InvalidRecordError):
                        replayer.results["unreadable"] += 1
                        continue
                    if job_id is not None:
                        named[job_id] = site_id or named.get(job_id, (None, record))[0], record
        questions, arrivals = asyncio.Semaphore(_QUESTIONS_AT_ONCE), list[Arrival]()

        async def ask(named_by: tuple[str, tuple[str | None, Record]]) -> None:
            job_id, (site_id, record) = named_by
            try:
                arrivals.append(await replayer.ask(job_id, site_id, record))
            except InvalidRecordError as error:
                log.error("Core's row says something impossible", job=job_id, reason=str(error))
                replayer.results["unreadable"] += 1

        jobs = list(named.items())
        for first in range(0, len(jobs), _ROUTED_AT_ONCE):
            part = jobs[first : first + _ROUTED_AT_ONCE]
            arrivals.clear()
            await each(part, questions, ask)
            await engine.router.route(arrivals)
            await replayer.all_back()
            progress(first + len(part), len(jobs))
        return Replayed(replayer.records, replayer.results)


def _unix_time(text: str) -> float:
    """The Unix time of a moment or an age. Raises ``ConfigurationError``."""
    age = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if age:
        return time.time() - int(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[age[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError([f"--from {text}: neither RFC 3339 nor an age such as 90m, 6h, 2d"]) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
