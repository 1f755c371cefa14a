"""Records as they are read from the topic."""

from dataclasses import dataclass

Headers = list[tuple[str, str | bytes | None]]


@dataclass(slots=True, eq=False)
class Epoch:
    """One period during which a partition is assigned. Receipts of an earlier period are ignored."""

    partition: int
    topic_id: str = ""
    """The topic's id. A topic that was deleted and created again has another one, and its offsets begin again. Empty if
    the id is not known or the broker has no such ids."""
    live: bool = True
    """Whether the period lasts. Written by the Kafka thread alone."""
    stopped: bool = False
    """Whether the intake ignores the records that follow, because they are read again after a block. Written by the
    intake alone."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record, not decoded."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float
    """Unix time, set by the broker or the producer."""
    epoch: Epoch
