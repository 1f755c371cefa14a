"""What a sweep of one site did, or in a dry run would do."""

from collections import Counter
from dataclasses import dataclass, field

from consumer.domain.compare import Cause


@dataclass(frozen=True, slots=True)
class Planned:
    """One change that a dry run did not make."""

    address: str
    job_id: str
    step: str
    """create, update, delete, remake (delete and create again), delete the copy, or insist on Core's state."""
    cause: Cause


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A mailbox that could not be read in several sweeps in a row, while others of its site could."""

    address: str
    reason: str
    sweeps: int
    """In how many."""


@dataclass(slots=True)
class Report:
    """The account of one sweep; it grows while the sweep is under way."""

    site_id: str
    mailboxes: int = 0
    unserved: int = 0
    """Mailboxes that could not be inspected: parked, or in trouble."""
    troubles: Counter[str] = field(default_factory=Counter)
    """Why mailboxes that are not parked could not be inspected, and how many."""
    unavailable: list[Unavailable] = field(default_factory=list)
    """Those of them without which the sweep is complete all the same. Nothing is deleted in them."""
    events: int = 0
    """Of ours, in the window."""
    unusable: int = 0
    """Rows of Core that say something impossible."""
    repairs: Counter[Cause] = field(default_factory=Counter)
    """By cause."""
    planned: list[Planned] = field(default_factory=list)
    """In a dry run: what ``repairs`` counts."""
    held: int = 0
    """Deletions that the fuse holds back."""
    read_to_end: bool = False
    """The sweep did not break off: what there is to read was read, or tried."""
    done: bool = False
    """Nothing will be added."""
    failure: str | None = None
    """Why the sweep is not complete: it broke off, or a mailbox could not be read."""

    @property
    def whole(self) -> bool:
        """Whether the sweep was complete, and nothing is held."""
        return self.failure is None and not self.held
