"""What the commands print that read the topics."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from consumer.kafka.feed_check import Fault, FeedCheck
from consumer.kafka.letter import Letter
from consumer.ops.tables import document, moment
from consumer.store.store import Block


def letters_table(letters: Sequence[Letter], blocked: Mapping[int, Block]) -> Table:
    """A row a dead letter; blocked partitions below."""
    table = Table(title="Dead letters", title_justify="left")
    for column in ("written", "letter", "record", "attempts", "reason"):
        table.add_column(column, overflow="fold")
    for letter in letters:
        record = letter.record
        at = f"{letter.partition}:{letter.offset}"
        table.add_row(
            moment(letter.written_at), at, f"{record.partition}:{record.offset}", str(letter.attempts), letter.reason
        )
    if blocked:
        partitions = ", ".join(f"{number} since {moment(block.since)}" for number, block in blocked.items())
        table.caption = f"Blocked, see calsync dead-letters resume: partition {partitions}"
    return table


def letters_json(letters: Sequence[Letter], blocked: Mapping[int, Block]) -> str:
    """One document: ``{"letters": [...], "blocked": [...]}``."""
    entries = [
        {
            "written_at": moment(letter.written_at),
            "partition": letter.partition,
            "offset": letter.offset,
            "record": {
                "topic": letter.record.topic,
                "partition": letter.record.partition,
                "offset": letter.record.offset,
            },
            "attempts": letter.attempts,
            "reason": letter.reason,
        }
        for letter in letters
    ]
    held = [
        {"partition": number, "offset": block.offset, "since": moment(block.since)} for number, block in blocked.items()
    ]
    return document({"letters": entries, "blocked": held})


def replayed_table(records: int, results: Mapping[str, int]) -> Table:
    """What became of what was replayed."""
    table = Table(title=f"Replayed: {records}", title_justify="left")
    table.add_column("result")
    table.add_column("records", justify="right")
    for result, count in sorted(results.items()):
        table.add_row(result, str(count))
    return table


def replayed_json(records: int, results: Mapping[str, int]) -> str:
    """One document: ``{"records": …, "results": {result: records}}``."""
    return document({"records": records, "results": dict(sorted(results.items()))})


def feed_table(check: FeedCheck) -> Table:
    """A row a kind of fault."""
    newest = "none with a commit time" if check.newest is None else moment(check.newest)
    table = Table(title=f"Feed: {check.records} records of {len(check.jobs)} jobs, the newest committed {newest}")
    for column in ("fault", "records", "newest", "what to do"):
        table.add_column(column, overflow="fold")
    for fault in _most(check):
        where = f"{fault.partition}:{fault.offset}" if fault.offset or fault.partition else ""
        table.add_row(fault.what, str(fault.count), where, fault.remedy)
    if not check.faults:
        table.add_row("none", "", "", "")
    return table


def feed_json(check: FeedCheck) -> str:
    """One document: ``{"records": …, "faults": [...]}``."""
    faults = [
        {
            "fault": fault.what,
            "records": fault.count,
            "partition": fault.partition,
            "offset": fault.offset,
            "remedy": fault.remedy,
        }
        for fault in _most(check)
    ]
    newest = None if check.newest is None else moment(check.newest)
    return document({"records": check.records, "jobs": len(check.jobs), "newest_commit": newest, "faults": faults})


def _most(check: FeedCheck) -> list[Fault]:
    return sorted(check.faults.values(), key=lambda fault: -fault.count)
