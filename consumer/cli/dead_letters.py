"""``calsync dead-letters``: records that could not be carried out, and the partitions that they block."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from consumer.cli.console import Json, configured, errors, moment, output, print_document, run_until_done
from consumer.cli.opened import opened
from consumer.cli.progress import counted_progress
from consumer.cli.replayer import Progress, Replayed, batches, replaying, report_replayed
from consumer.cli.topics import client_properties, records
from consumer.domain.errors import ConfigurationError, TransientError
from consumer.kafka.dead_letter import DeadLetter, dead_letter_of
from consumer.kafka.offset_range import offset_range
from consumer.kafka.topic import TopicIdentity
from consumer.settings import Settings
from consumer.sync.partition_block import Block

cli = typer.Typer(help="Records that could not be carried out.", no_args_is_help=True, add_completion=False)


@cli.command("list")
def list_letters(
    everything: Annotated[bool, typer.Option("--all", help="Those too that were replayed already.")] = False,
    as_json: Json = False,
) -> None:
    """The records that could not be carried out, and the partitions that are blocked for them."""
    found, blocked = run_until_done(read_dead_letters(configured(), everything=everything))
    print_document(document(found, blocked)) if as_json else output.print(table(found, blocked))


@cli.command("replay")
def replay(as_json: Json = False) -> None:
    """Decode every dead letter that was not replayed yet, and bring its job to the state that Core has now."""
    with counted_progress(errors, "replaying") as progress:
        replayed = run_until_done(replay_letters(configured(), progress))
    report_replayed(replayed, as_json=as_json)


@cli.command("resume")
def resume(
    partition: Annotated[list[int] | None, typer.Option(help="Only this one; may be given several times.")] = None,
) -> None:
    """Have blocked partitions read on, once what was unreadable there is mended."""
    resumed = run_until_done(unblock(configured(), partition or []))
    numbers = ", ".join(str(number) for number in resumed)
    output.print(f"resumed: {numbers}; its replica knows within five seconds" if resumed else "nothing is blocked")


async def read_dead_letters(settings: Settings, *, everything: bool) -> tuple[list[DeadLetter], dict[int, Block]]:
    """The dead letters that were not replayed yet, or all there are; and the partitions that are blocked.

    Raises:
        ConfigurationError: the dead-letter topic cannot be read.
        TransientError: its id is not known now, so neither is what was replayed.
    """
    async with opened(settings) as (engine, _):
        blocked = await engine.partitions.blocked(settings.kafka_topic)
        with offset_range(client_properties(settings), settings.kafka_dlq_topic, settings.kafka_group) as topic:
            offsets = {} if everything else await engine.partitions.replayed(await _replayed_of(settings))
            await asyncio.to_thread(topic.from_offsets, offsets)
            found = [dead_letter_of(record) async for record in records(topic)]
    return sorted(
        found, key=lambda dead_letter: (dead_letter.written_at, dead_letter.partition, dead_letter.offset)
    ), blocked


async def replay_letters(settings: Settings, progress: Progress) -> Replayed:
    """Have each dead letter decoded once more; what can be read names its job, whose state is read from Core.

    What still cannot be carried out is a letter again, its count raised.

    Raises:
        ConfigurationError: the dead-letter topic cannot be read.
        CoreUnavailableError: Core cannot be asked; what was not replayed stays so.
        TransientError: Graph serves nobody, or the topic's id is not known now; what was not replayed stays so.
    """
    async with replaying(settings) as (engine, replayer):
        with offset_range(client_properties(settings), settings.kafka_dlq_topic, settings.kafka_group) as topic:
            replayed_of = await _replayed_of(settings)
            offsets = await engine.partitions.replayed(replayed_of)
            await asyncio.to_thread(topic.from_offsets, offsets)
            async for batch in batches(topic, progress):
                found = [await replayer.arrival_of(dead_letter_of(record)) for record in batch]
                await engine.router.route([arrival for arrival in found if arrival is not None])
                await replayer.all_back()
                done = {record.partition: record.offset + 1 for record in batch}
                await engine.partitions.remember_replayed(replayed_of, done)
        return Replayed(replayer.records, replayer.results)


async def unblock(settings: Settings, partitions: Sequence[int]) -> list[int]:
    """Have the partitions read on, or all that are blocked. Raises ``ConfigurationError`` if one is not blocked."""
    async with opened(settings) as (engine, _):
        blocked = await engine.partitions.blocked(settings.kafka_topic)
        strange = [f"partition {number} is not blocked" for number in partitions if number not in blocked]
        if strange:
            raise ConfigurationError(strange)
        chosen = list(partitions or blocked)
        for partition in chosen:
            await engine.partitions.unblock(settings.kafka_topic, partition)
        return chosen


async def _replayed_of(settings: Settings) -> str:
    """Under what the replayed offsets are kept: the topic, with its id if it has one.

    The letters of a topic that was created again begin at offset 0, and none of them was replayed.

    Raises:
        TransientError: its id is not known now. Without it, letters would be replayed twice, or those of a topic that
            was created again would be taken for replayed.
    """
    topic = settings.kafka_dlq_topic
    identity = await asyncio.to_thread(TopicIdentity(client_properties(settings), topic).ask)
    if identity is None:
        raise TransientError(
            f"CALSYNC_KAFKA_BOOTSTRAP_SERVERS: the id of topic {topic} is not known, as no broker answered for it, so "
            "neither is what was replayed; run the command again when the brokers are well"
        )
    return f"{topic}@{identity}" if identity else topic


def table(dead_letters: Sequence[DeadLetter], blocked: Mapping[int, Block]) -> Table:
    """A row a dead letter; blocked partitions below."""
    table = Table(title="Dead letters", title_justify="left")
    for column in ("written", "letter", "record", "attempts", "reason"):
        table.add_column(column, overflow="fold")
    for dead_letter in dead_letters:
        record = dead_letter.record
        at = f"{dead_letter.partition}:{dead_letter.offset}"
        table.add_row(
            moment(dead_letter.written_at),
            at,
            f"{record.partition}:{record.offset}",
            str(dead_letter.attempts),
            dead_letter.reason,
        )
    if blocked:
        partitions = ", ".join(f"{number} since {moment(block.since)}" for number, block in blocked.items())
        table.caption = f"Blocked, see calsync dead-letters resume: partition {partitions}"
    return table


def document(dead_letters: Sequence[DeadLetter], blocked: Mapping[int, Block]) -> dict[str, Any]:
    """``{"letters": [...], "blocked": [...]}``."""
    entries = [
        {
            "written_at": moment(dead_letter.written_at),
            "partition": dead_letter.partition,
            "offset": dead_letter.offset,
            "record": {
                "topic": dead_letter.record.topic,
                "partition": dead_letter.record.partition,
                "offset": dead_letter.record.offset,
            },
            "attempts": dead_letter.attempts,
            "reason": dead_letter.reason,
        }
        for dead_letter in dead_letters
    ]
    held = [
        {"partition": number, "offset": block.offset, "since": moment(block.since)} for number, block in blocked.items()
    ]
    return {"letters": entries, "blocked": held}
