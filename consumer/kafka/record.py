"""Records as they come from the topic."""

from dataclasses import dataclass

Headers = list[tuple[str, str | bytes | None]]


@dataclass(slots=True, eq=False)
class Epoch:
    """One period of holding a partition. What was begun in an earlier one means nothing any more."""

    partition: int
    log: str = ""
    """The topic's id while it is held: a topic that was deleted and created again has another one, and its offsets
    begin again. Empty if the broker has no such ids."""
    live: bool = True
    """Written by the pump's thread alone, when the partition goes."""
    stopped: bool = False
    """Written by the intake alone, when it reads no further: what follows comes again when the block is lifted."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record, undecoded."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float
    """Unix time the broker or producer put on it."""
    epoch: Epoch
