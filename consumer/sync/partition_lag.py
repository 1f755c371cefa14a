"""How far the consumer group is behind in one partition."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """What was measured of a partition that this replica holds."""

    records: int
    """Records between the committed offset and the end."""
    committed: int
    """The committed offset; the first offset of the partition if none was committed or its record was deleted."""
    oldest: float | None = None
    """Unix time of the oldest record that is not done; ``None`` if all are done, or were a moment ago."""
    is_age_known: bool = True
    """Whether ``oldest`` is known: not if no record was read, and the next one could not be read for its time."""
