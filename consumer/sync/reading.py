"""Which mailboxes a sweep could not read, and whether it is complete without them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from consumer.domain.compare import Unread
from consumer.sync.report import Report, Unavailable

UNAVAILABLE_AFTER: Final = 3
"""After this many sweeps in a row, a mailbox that fails while others of its site are read is unavailable."""
COUNTED_AT_MOST: Final = 256
"""How many failed mailboxes are counted one by one. If more fail in one sweep, the fault is the site's."""


@dataclass(slots=True)
class Reading:
    """Counts what one sweep read. The sweep is complete if every mailbox was read, is parked or is unavailable."""

    report: Report
    read: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Why mailboxes failed twice in this sweep, by address; at most ``COUNTED_AT_MOST``."""
    broken: str | None = None
    """A reason why the sweep is incomplete, even if the other mailboxes were read."""

    def was_read(self) -> None:
        """Count a mailbox that was read."""
        self.read += 1

    def was_not_read(self, address: str, unread: Unread) -> None:
        """Count a mailbox that was not read and is not tried again in this sweep.

        One that Core's list names out of order may be visited twice, and counts once.
        """
        if address in self.failed:
            return
        self.report.unserved += 1
        if unread.cause == "parked":
            return
        self.report.count_trouble(unread.reason)
        if unread.cause != "failed" or len(self.failed) == COUNTED_AT_MOST:
            self.broken = self.broken or unread.reason
        else:
            self.failed[address] = unread.reason

    def judge(self, before: Mapping[str, int]) -> dict[str, int] | None:
        """Decide whether the sweep is complete. If it is not, ``report.failure`` has the reason.

        Args:
            before: the addresses that could not be read in the previous sweeps, and in how many in a row.

        Returns:
            The same after this sweep; ``None`` if no mailbox was read, because the fault is then not a mailbox's own.
        """
        if self.read == 0 and self.report.troubles:
            [(reason, _)] = self.report.troubles.most_common(1)
            self._fail(f"no mailbox could be read: {reason}")
            return None
        counts = {address: before.get(address, 0) + 1 for address in self.failed}
        unavailable = {address for address, count in counts.items() if count >= UNAVAILABLE_AFTER}
        self.report.unavailable = [
            Unavailable(address, self.failed[address], counts[address]) for address in sorted(unavailable)
        ]
        missing = self.report.troubles.total() - len(unavailable)
        if missing:
            reason = self.broken or next(self.failed[address] for address in self.failed if address not in unavailable)
            self._fail(f"{missing} {'mailbox' if missing == 1 else 'mailboxes'} could not be read: {reason}")
        return counts

    def _fail(self, reason: str) -> None:
        self.report.failure = self.report.failure or reason
