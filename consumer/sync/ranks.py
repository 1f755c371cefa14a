"""How a state of a job ranks among the known ones."""

from dataclasses import dataclass

from consumer.domain.mailbox import Mailbox


@dataclass(frozen=True, slots=True)
class RankRequest:
    """A state of a job, from the topic or from a sweep, to rank among the known ones."""

    job_id: str
    rank: int | None
    """``None`` for a deletion: its rank follows from the states before it."""
    partition: int
    offset: int
    site: str = ""
    """For a job that a sweep misses: the sweep's site. If another site holds the job, it has moved there and keeps its
    rank."""
    topic_id: str = ""
    """The topic's id, empty if the broker has none. Offsets of a recreated topic start again, so they cannot be
    compared with earlier ones."""


@dataclass(frozen=True, slots=True)
class Routed:
    """How a state ranks, and which mailboxes it concerns."""

    rank: int
    newest: int
    """The highest known rank of the job; a lower ``rank`` is stale."""
    holders: tuple[Mailbox, ...]
    """The mailboxes that hold an event of the job, or may."""
    coming: int = 0
    """For a deletion: the number of the job's events that are not over yet."""
