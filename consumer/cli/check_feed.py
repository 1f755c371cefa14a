"""``calsync check-feed``: what is wrong with the newest records of Core's feed."""

import asyncio
from typing import Annotated, Any

import typer
from rich.table import Table

from consumer.cli.console import Json, configured, moment, output, print_document, run_until_done
from consumer.cli.entry import FAULT
from consumer.cli.opened import opened
from consumer.cli.topics import REGISTRY_WAIT_SECONDS, client_properties, records
from consumer.domain.errors import InvalidRecordError, UndecodableError
from consumer.kafka.decode import Decoder
from consumer.kafka.decode_with_registry import decode
from consumer.kafka.feed_check import Fault, FeedCheck
from consumer.kafka.offset_range import offset_range
from consumer.kafka.topic import cleanup_policy
from consumer.settings import Settings

cli = typer.Typer(add_completion=False)


@cli.command("check-feed")
def check_feed(
    topic: Annotated[str | None, typer.Option(help="Another topic than CALSYNC_KAFKA_TOPIC.")] = None,
    newest: Annotated[int, typer.Option(min=1, help="How many records of each partition.")] = 1000,
    as_json: Json = False,
) -> None:
    """Show Core's team what is wrong with the newest records of its feed."""
    check = run_until_done(check_newest(configured(), topic, newest))
    print_document(document(check)) if as_json else output.print(table(check))
    raise typer.Exit(FAULT if check.faults else 0)


async def check_newest(settings: Settings, topic: str | None, count: int) -> FeedCheck:
    """Look at the newest ``count`` records of each partition, as Core's team would want to.

    Raises:
        ConfigurationError: the topic cannot be read.
    """
    name = topic or settings.kafka_topic
    async with opened(settings) as (engine, sites):
        check = FeedCheck(sites)
        decoder, registry = Decoder(engine.registry), engine.registry
        with offset_range(client_properties(settings), name, settings.kafka_group) as found:
            await asyncio.to_thread(found.newest, count)
            async for record in records(found):
                try:
                    check.read(record, await decode(decoder, registry, record, patience=REGISTRY_WAIT_SECONDS))
                except (UndecodableError, InvalidRecordError) as error:
                    check.unreadable(record, str(error))
            policy = await asyncio.to_thread(cleanup_policy, client_properties(settings), name)
        if policy is not None and "compact" not in policy:
            check.topic_wide(
                "the topic is not compacted",
                "set cleanup.policy=compact: a new consumer then finds every job's last state, however old",
            )
    return check


def table(check: FeedCheck) -> Table:
    """A row a kind of fault."""
    newest = "none with a commit time" if check.newest is None else moment(check.newest)
    table = Table(title=f"Feed: {check.records} records of {len(check.jobs)} jobs, the newest committed {newest}")
    for column in ("fault", "records", "newest", "what to do"):
        table.add_column(column, overflow="fold")
    for fault in _most(check):
        where = f"{fault.partition}:{fault.offset}" if fault.offset or fault.partition else ""
        table.add_row(fault.what, str(fault.count), where, fault.hint)
    if not check.faults:
        table.add_row("none", "", "", "")
    return table


def document(check: FeedCheck) -> dict[str, Any]:
    """``{"records": …, "faults": [...]}``."""
    faults = [
        {
            "fault": fault.what,
            "records": fault.count,
            "partition": fault.partition,
            "offset": fault.offset,
            "remedy": fault.hint,
        }
        for fault in _most(check)
    ]
    newest = None if check.newest is None else moment(check.newest)
    return {"records": check.records, "jobs": len(check.jobs), "newest_commit": newest, "faults": faults}


def _most(check: FeedCheck) -> list[Fault]:
    return sorted(check.faults.values(), key=lambda fault: -fault.count)
