"""The lease of a mailbox: the right to work on it."""

from dataclasses import dataclass
from typing import Final

from consumer.domain.mailbox import Mailbox

LEASE_SECONDS: Final = 12.0
"""A lease ends this long after it was taken or renewed."""
RENEW_SECONDS: Final = 3.0
"""``Reconciler.renew_leases`` renews a lease this long after its last renewal."""
SEND_WITHIN_SECONDS: Final = 4.0
"""A request is sent only if the lease was renewed within this time: at least 8 s of it are left then.

Longer than ``RENEW_SECONDS`` and a round trip, so that a healthy replica is never stopped by it. See ADR 11.
"""
REQUEST_SECONDS: Final = 30.0
"""The longest time that one request may take; the lease is renewed meanwhile."""


@dataclass(slots=True)
class Lease:
    """The right to work on a mailbox, over all replicas and all sites that share its app."""

    app: str
    mailbox: Mailbox
    token: str
    renewed_at: float
    """When the last successful renewal was requested, on the monotonic clock."""
    lost: bool = False
    """Another run has the mailbox, or the store has forgotten the lease: nothing more may be sent."""

    def may_send(self, now: float) -> bool:
        """Whether a request may leave at ``now``, on the monotonic clock."""
        return not self.lost and now - self.renewed_at <= SEND_WITHIN_SECONDS
