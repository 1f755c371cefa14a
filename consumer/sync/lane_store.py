"""What lanes need of the store."""

from typing import Protocol

from consumer.domain.mailbox import Mailbox
from consumer.sync.dirty_marks import DirtyMarks


class LaneStore(DirtyMarks, Protocol):
    """Handing over and parking, for lanes. Raises ``StoreUnavailableError``."""

    async def park(self, mailbox: Mailbox, code: str, *, hourly: bool, note: str = "") -> None:
        """Park the mailbox; ``hourly``: it is still tried every hour. One that is parked without tries stays so."""

    async def linked(self, site_id: str, after: str) -> list[str]:
        """The next addresses of a site with links, in byte order, after ``after``; empty at the end."""
