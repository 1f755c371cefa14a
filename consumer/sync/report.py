"""What a sweep of one site did."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from consumer.domain.compare import Cause

MOST_REASONS: Final = 100
"""How many different reasons for unread mailboxes a report counts one by one."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A mailbox that could not be read in several sweeps in a row, while others of its site could."""

    address: str
    reason: str
    sweeps: int
    """In how many sweeps in a row it could not be read."""


@dataclass(slots=True)
class Report:
    """The report of one sweep; it grows during the sweep."""

    site_id: str
    mailboxes: int = 0
    unserved: int = 0
    """Mailboxes that could not be read, and parked ones."""
    troubles: Counter[str] = field(default_factory=Counter)
    """Mailboxes that are not parked and could not be read, by reason; about ``MOST_REASONS`` reasons at most."""
    unavailable: list[Unavailable] = field(default_factory=list)
    """Unavailable mailboxes, at most ``consumer.sync.reading.COUNTED_AT_MOST``: the sweep counts as complete without
    them. Nothing is deleted in them."""
    events: int = 0
    """Our events in the window."""
    unusable: int = 0
    """Core's rows with an impossible value."""
    repairs: Counter[Cause] = field(default_factory=Counter)
    """Repaired assignments by cause; in a dry run, those that a sweep would repair."""
    deleted: int = 0
    """Assignments of vanished jobs whose event was deleted; in a dry run, those whose event a sweep would delete.

    After an error, up to ``consumer.sync.repairs.REPAIRS_AT_ONCE`` more may be under way.
    """
    held: int = 0
    """Deletions that the fuse holds."""
    ended_early: bool = False
    """An error ended the sweep before everything was tried."""
    done: bool = False
    """The report does not grow any more."""
    failure: str | None = None
    """Why the sweep is incomplete: an error ended it early, or not everything could be read or decided."""

    @property
    def whole(self) -> bool:
        """Whether the sweep was complete and nothing is held."""
        return self.failure is None and not self.held

    def count_trouble(self, reason: str) -> None:
        """Count a mailbox that could not be read. Further reasons than ``MOST_REASONS`` are counted together."""
        is_new = reason not in self.troubles and len(self.troubles) >= MOST_REASONS
        self.troubles["another reason" if is_new else reason] += 1
