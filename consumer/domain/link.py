"""What we remember of an assignment's event. Rebuildable from the tags: the tag is the proof, not this."""

from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Link:
    """An event that exists."""

    event_id: str
    etag: str
    """Exchange also changes it when nobody edited the event, so a new etag proves nothing."""
    fingerprint: bytes
    """Of the :class:`~consumer.domain.event.Event` last written."""
    rank: int
    """Of the state last written, see :func:`consumer.domain.job.rank`."""
    start: datetime
    end: datetime
    rendering: int
    """``RENDERING`` of the replica that wrote it; an older replica never rewrites what a newer one rendered."""
    settled: bytes = b""
    """``RemoteEvent.digest`` of what Graph made of our last repair. While the event has it, it is left alone."""
    zone_mark: int = 0
    """``Zone.mark`` of the mailbox's zone at that time. If the zone has changed since, the event is written again."""
    written_at: float = field(default=0.0, compare=False)
    """Unix time on Redis's clock; what was written after a sweep read Core is left alone by that sweep."""

    @property
    def is_confirmed(self) -> bool:
        """Whether we have written the event. A link made from a listed tag was never compared with Core."""
        return self.rendering > 0

    def unsure(self) -> "Link":
        """The same link without its fingerprint, so that the next run writes the event again."""
        return replace(self, fingerprint=bytes(16))


@dataclass(frozen=True, slots=True)
class Pending:
    """An event that may exist: a run was about to create it, and how that ended is not known."""

    transaction_id: str
    rank: int
    written_at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An event that was deleted within the last hour."""

    rank: int
    written_at: float = field(default=0.0, compare=False)


Memory = Link | Pending | Tombstone
