"""What a run writes to the store when it ends."""

from dataclasses import dataclass, field

from consumer.domain.link import Link


@dataclass(slots=True)
class RunOutcome:
    """What a run leaves in the store. Each collection holds at most the jobs of the run and of its mailbox."""

    links: dict[str, Link] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    """Jobs whose event is deleted, with the rank of the state that deleted it: each leaves a tombstone."""
    forgotten: set[str] = field(default_factory=set)
    """Jobs whose memory was wrong: no event, and no tombstone."""
    dirty: set[str] = field(default_factory=set)
    """Jobs that the sweep must look at."""
    doubtful: dict[str, float] = field(default_factory=dict)
    """Jobs whose create has not landed, and for how many seconds after its intent it still may.

    Until then, the pending link stays with its transactionId, and the sweep must look again. Then it is forgotten.
    """
    zone: str | None = None
    """The mailbox's time-zone setting, if it was read."""
    answered: bool = False
    """The mailbox has answered a request: it is no longer parked, unless an operator parked it."""
    found: dict[str, Link] = field(default_factory=dict)
    """Events that were listed and have no link yet. Each is linked unless its job has one or a pending one by then."""
    beyond: set[str] = field(default_factory=set)
    """Those of ``found`` outside the window, which no sweep compares: the sweep asks Core for their jobs."""
    listed_in: str = ""
    """The incarnation of the store in which all tagged events of the mailbox were listed; otherwise empty."""
