"""Reads dead letters: the record, and why it was dead-lettered."""

from dataclasses import dataclass

from consumer import redaction
from consumer.kafka.parcel import PREFIX, number
from consumer.kafka.record import Epoch, Record


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter, as read from its topic."""

    partition: int
    """Of the dead-letter topic."""
    offset: int
    written_at: float
    """Unix time."""
    reason: str
    attempts: int
    """How often the record has failed."""
    record: Record
    """The record as it was consumed, with its own partition and offset; see ``truncated``."""
    truncated: bool = False
    """Whether the value lost its middle, because it was too large for the dead-letter topic."""


def dead_letter_of(found: Record) -> DeadLetter:
    """The dead letter in a record of the dead-letter topic. What its headers lack is taken from that record."""
    about = {
        name.removeprefix(PREFIX): value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
        for name, value in found.headers
        if name.startswith(PREFIX)
    }
    partition = _number(about.get("partition"), found.partition)
    record = Record(
        about.get("topic") or found.topic,
        partition,
        _number(about.get("offset"), found.offset),
        None if about.get("key") == "none" else found.key,
        found.value,
        found.headers,
        found.timestamp,
        Epoch(partition),
    )
    attempts = _number(about.get("attempts"), 1)
    return DeadLetter(
        found.partition,
        found.offset,
        found.timestamp,
        redaction.text(about.get("reason", "")),
        attempts,
        record,
        "truncated" in about,
    )


def _number(text: str | None, otherwise: int) -> int:
    found = number(text)
    return otherwise if found is None else found
