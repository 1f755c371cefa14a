"""What every part needs of the store that hands work over to the sweep."""

from collections.abc import Sequence
from typing import Protocol

from consumer.domain.mailbox import Mailbox


class DirtyMarks(Protocol):
    """Dirty marks: notes that the next sweep must check an assignment. Raises ``StoreUnavailableError``."""

    async def mark_dirty(self, assignments: Sequence[tuple[Mailbox, str]]) -> None:
        """Hand (mailbox, job) pairs over to the sweep. An empty address means every mailbox of the job."""
