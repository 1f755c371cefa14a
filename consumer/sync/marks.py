"""Marks for the sweep."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """An assignment that was handed over to the sweep."""

    address: str
    """Empty: every mailbox of the job."""
    job_id: str
    stamp: int = field(default=0, compare=False)
    """When it was last handed over (µs). If this changed since the sweep read the mark, the mark stays."""
