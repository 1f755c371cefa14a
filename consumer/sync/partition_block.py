"""Where reading of a partition stops."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """No replica reads the partition from this offset on, until an operator resumes it."""

    offset: int
    """The first that was not read."""
    since: int
    """Unix time."""
