"""Handing work over to the sweep."""

from collections.abc import Sequence
from typing import Protocol

from consumer.domain.mailbox import Mailbox


class HandOver(Protocol):
    """What a part needs that hands work over. Raises ``StoreUnavailableError``."""

    async def mark_dirty(self, assignments: Sequence[tuple[Mailbox, str]]) -> None:
        """Hand (mailbox, job) pairs over to the sweep. An empty address means every mailbox of the job."""
