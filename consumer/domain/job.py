"""Jobs as Core states them, and which of two states is the newer."""

from dataclasses import dataclass
from datetime import datetime

from consumer.domain.mailbox import Mailbox

CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """One state of one row of Core's ``calendar_job``."""

    job_id: str
    site_id: str
    revision: int
    status: str
    subject: str | None = None
    client_name: str | None = None
    site_name: str | None = None
    customer_reference: str | None = None
    contact_name: str | None = None
    contact_mobile: str | None = None
    contact_phone: str | None = None
    contact_email: str | None = None
    address: str | None = None
    notes: str | None = None
    starts_at: datetime | None = None
    """Aware, UTC; ``None`` while the job is unscheduled."""
    ends_at: datetime | None = None
    addresses: frozenset[str] = frozenset()
    """The normalised calendar emails of its workers; workers without one have no mailbox."""
    unusable_addresses: int = 0
    """How many of its workers have a calendar email that no mailbox can have; see :func:`may_conceal`."""

    @property
    def rank(self) -> int:
        """See :func:`rank`."""
        return rank(self.revision)

    @property
    def scheduled(self) -> tuple[datetime, datetime] | None:
        """Start and end of a job that belongs in calendars; ``None`` if cancelled or without both times."""
        if self.status == CANCELLED or self.starts_at is None or self.ends_at is None:
            return None
        return self.starts_at, self.ends_at

    @property
    def mailboxes(self) -> set[Mailbox]:
        """Where the job belongs, wherever its time is."""
        if self.scheduled is None:
            return set()
        return {Mailbox(self.site_id, address) for address in self.addresses}


@dataclass(frozen=True, slots=True)
class Deletion:
    """The state of a job whose row is gone. It is known by its key alone."""

    job_id: str
    rank: int
    """Of the newest state known before the row went, with the deletion bit: see :func:`rank`."""


State = Job | Deletion


def may_conceal(state: State, mailbox: Mailbox) -> bool:
    """Whether an unusable address may hide a worker of this mailbox. If so, its event is left alone.

    A worker whose calendar email became unusable (a control character was pasted into it) still has the event in the
    mailbox that the email named before. That mailbox cannot be distinguished from those of workers who were taken off
    the job. If such workers were treated as workers without a calendar, one bad import into Core would delete every
    event of a site. The fuse would not hold these deletions, because the jobs have not vanished. So no event
    of the job is deleted for being unnamed until every address is usable again. The mailboxes that the job names get
    every change, and a cancelled or unscheduled job is deleted everywhere. The topic and the sweep agree, because both
    plan from such states.
    """
    return (
        isinstance(state, Job)
        and state.unusable_addresses > 0
        and state.scheduled is not None
        and state.site_id == mailbox.site
        and mailbox.address not in state.addresses
    )


def rank(revision: int, *, deleted: bool = False) -> int:
    """Orders the states of a job: by revision, and a deletion after the state that it removed."""
    return revision * 2 + deleted
