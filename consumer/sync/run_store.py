"""What a run needs of the store."""

from collections.abc import Sequence
from typing import Protocol

from consumer.domain.mailbox import Mailbox
from consumer.sync.grant import Busy, DataLost, Grant, Intent, Parked
from consumer.sync.lease import Lease
from consumer.sync.run_outcome import RunOutcome


class RunStore(Protocol):
    """Leases and links, for runs. Raises ``StoreUnavailableError``; ``ConfigurationError`` if the data are too new."""

    async def begin(
        self,
        mailbox: Mailbox,
        app: str,
        token: str,
        intents: Sequence[Intent],
        *,
        everything: bool = False,
        incarnation: str = "",
    ) -> Grant | Busy | Parked | DataLost:
        """Take the lease, read what the run needs, and write a pending link for each event it may create.

        The mailbox is *known* if a run has listed all its tagged events in the store's present incarnation. A new
        incarnation begins whenever data may have been lost: the store is created, emptied, restarted, or fails over.

        If ``incarnation`` is given and is not the present one, nothing is done.

        If an earlier lease expired and was never released, a request of its run may still land or may have landed. So
        that run's jobs are marked dirty and their links are made unsure.
        """

    async def renew(self, lease: Lease) -> bool:
        """Extend the lease to ``LEASE_SECONDS`` from now; ``False`` if it is lost."""

    async def finish(self, lease: Lease, outcome: RunOutcome) -> bool:
        """Write the outcome and release the lease; ``False``, and nothing written, if it was lost."""

    async def release(self, lease: Lease) -> None:
        """Release the lease and write nothing."""

    async def linked_elsewhere(self, mailbox: Mailbox, events: Sequence[tuple[str, str]]) -> set[str]:
        """Of these (job, event id) pairs, the event ids that are linked in other mailboxes.

        Two addresses may lead to one mailbox.
        """
