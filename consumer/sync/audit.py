"""The audit of writes to Outlook: one entry for each that Graph accepted."""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from consumer.domain.compare import Cause

Action: TypeAlias = Literal["created", "updated", "claimed", "deleted"]
"""What was done to the event. ``claimed``: it was written, and got the tag that makes it ours."""
AuditCause: TypeAlias = Literal["change"] | Cause
"""Why: a record of the topic, or what a sweep found."""


class Audit(Protocol):
    """Takes an entry for each write that Graph accepted; see :class:`consumer.ops.audit.AuditLog`."""

    def written(
        self,
        action: Action,
        site_id: str,
        job_id: str,
        event_id: str,
        *,
        cause: AuditCause,
        revision: int,
        fields: Sequence[str],
    ) -> None:
        """Keep an entry. It has no mail address and nothing that the event holds.

        Args:
            action: what was done.
            site_id, job_id, event_id: to which event.
            cause: why.
            revision: of the job's state that was written; of a deletion, that of the newest state before it.
            fields: the names of the fields that changed, where that is known; none for a create or a delete.
        """
