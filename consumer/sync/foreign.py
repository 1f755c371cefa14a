"""Foreign answers by mailbox: whether a proxy's pages have come instead of Graph's answers for too long."""

from dataclasses import dataclass
from typing import Final

from consumer.domain.bounded_dict import BoundedDict
from consumer.domain.mailbox import Mailbox

FOREIGN_CODE: Final = "answers without Graph's error code"
"""The code for which a mailbox is parked for them."""
FOREIGN_SECONDS: Final = 3600.0
FOREIGN_TRIES: Final = 20
BESIDE_SECONDS: Final = 60.0
"""A sweep tries many mailboxes at once: one that was served up to this long before a try counts as served with it."""
GAP_SECONDS: Final = 1800.0
"""If no try counts for this long, the hour and the tries begin again: everything failed, not this mailbox alone."""
_MAILBOXES: Final = 10_000
"""How many mailboxes are remembered."""


@dataclass(slots=True)
class _Tries:
    last: float
    since: float = 0.0
    """The first try that counts."""
    counted: float = 0.0
    """The last one that does."""
    count: int = 0


class Foreign:
    """Counts a mailbox's foreign answers while others of its app are served; forgets them when it answers."""

    def __init__(self) -> None:
        self._tries: BoundedDict[Mailbox, _Tries] = BoundedDict(_MAILBOXES)

    def failed(self, mailbox: Mailbox, now: float, served: float) -> bool:
        """Whether the mailbox must be parked after this foreign answer.

        A try counts only if the app was served after the mailbox's previous try, or at most ``BESIDE_SECONDS`` before
        it. So a proxy in front of everything does not count against one mailbox.

        Args:
            mailbox: the mailbox that was asked.
            now: on the monotonic clock.
            served: when a mailbox of the app was last served, on the same clock.
        """
        tries = self._tries.get(mailbox)
        if tries is None:
            self._tries[mailbox] = _Tries(now)
            return False
        counts = served > tries.last - BESIDE_SECONDS
        tries.last = now
        if not counts:
            return False
        if not tries.count or now - tries.counted > GAP_SECONDS:
            tries.since, tries.count = now, 0
        tries.counted = now
        tries.count += 1
        if tries.count < FOREIGN_TRIES or now - tries.since < FOREIGN_SECONDS:
            return False
        del self._tries[mailbox]
        return True

    def answered(self, mailbox: Mailbox) -> None:
        """The mailbox has answered."""
        self._tries.pop(mailbox, None)
