"""What a run asks of the store when it begins, and the four answers: granted, busy, parked, data lost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from consumer.domain.link import Link, Memory, Pending
from consumer.sync.lease import Lease


@dataclass(frozen=True, slots=True)
class Intent:
    """What a run is about to do for one job."""

    job_id: str
    rank: int
    transaction_id: str | None
    """For the event that the run may create; ``None`` if the run will not create one."""
    swept: bool = False
    """The state comes from Core, by a sweep; otherwise from the topic."""
    forced: bool = False
    """Core was asked for the job again: its answer wins over a newer known state, unless that is recent."""


class Precedence(Enum):
    """How an intent's state compares with the newest state that is known. The values are those in ``begin.lua``."""

    SUPERSEDED = 0
    """A newer state is known."""
    NEWEST = 1
    FORCED = 2
    """A newer state is known, but this one is forced and wins."""
    OUTRANKED = 3
    """A newer state has been known for long, but a sweep has this one from Core, so Core may be right."""


@dataclass(frozen=True, slots=True)
class AssignmentState:
    """What the store knows about one job in the mailbox."""

    precedence: Precedence
    """Of the intent's state."""
    memory: Memory | None
    """As it was before this run; for a create, the pending link in the store now has ``transaction_id``."""
    transaction_id: str | None = None
    """To create with: the run's own, or that of an earlier create whose outcome is not known."""

    @property
    def wins(self) -> bool:
        """Whether the run must bring the mailbox to the intent's state."""
        return self.precedence in (Precedence.NEWEST, Precedence.FORCED)

    @property
    def fresh(self) -> bool:
        """Whether this run wrote the pending link itself, so that no earlier create has used its transactionId."""
        return self.transaction_id is not None and not isinstance(self.memory, Link | Pending)


@dataclass(frozen=True, slots=True)
class Grant:
    """The lease, and everything that the run needs to know."""

    lease: Lease
    zone: str | None
    """The mailbox's time-zone setting as last read; ``None`` if it was never read."""
    assignments: Mapping[str, AssignmentState]
    """By job, one for each intent."""
    links: Mapping[str, Memory] = field(default_factory=dict)
    """Every link of the mailbox by job, pending ones too; empty unless the run asked for everything."""
    zone_is_fresh: bool = False
    """The setting was read within the last hour."""
    is_known: bool = True
    """All tagged events of the mailbox were listed in the store's present incarnation."""
    incarnation: str = ""
    """Names the time since the store last lost data, or may have: see ``begin`` in :mod:`consumer.sync.run_store`."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another run has the mailbox."""

    retry_after: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The mailbox must not be tried."""

    code: str


@dataclass(frozen=True, slots=True)
class DataLost:
    """The store has lost data, or may have, since the named incarnation: no lease was taken."""

    incarnation: str
    """The present one."""
