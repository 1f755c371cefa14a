"""Budgets: Graph counts requests over a span of time, and so do we, that it need never refuse one."""

from typing import Final

MAILBOX_REQUESTS: Final = 10_000
MAILBOX_SECONDS: Final = 600.0
"""An app's requests to one mailbox (throttling-outlook)."""
APP_REQUESTS: Final = 130_000
APP_SECONDS: Final = 10.0
"""An app's requests to all mailboxes of all tenants (throttling limits, global)."""
_FORGET_AT: Final = 10_000


class Budget:
    """A limit of requests within any span, for each key: half of them at once, the others as time goes by.

    It keeps one number a key: when all that was taken will have been earned again (the generic cell rate algorithm).
    """

    def __init__(self, requests: int, seconds: float) -> None:
        self._seconds = seconds
        self._each = 2 * seconds / requests
        self._earned_at: dict[str, float] = {}

    def take(self, key: str, now: float) -> float:
        """Take one request; else, how many seconds to wait until there is one. ``now`` is monotonic, in seconds."""
        earned_at = max(now, self._earned_at.get(key, now)) + self._each
        wait = earned_at - now - self._seconds
        if wait > 0:
            return wait
        self._earned_at[key] = earned_at
        if len(self._earned_at) > _FORGET_AT:
            self._earned_at = {other: at for other, at in self._earned_at.items() if at > now}
        return 0.0
