"""What a sweep needs of the world around it."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Protocol

from consumer.domain.compare import Cause, MailboxSnapshot, Unread
from consumer.domain.job import Job, State
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.change import SweepView


class Wanted(Protocol):
    """All that Core wants in one mailbox."""

    @property
    def address(self) -> str:
        """The mailbox's."""

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs that must have an event there."""

    @property
    def unusable(self) -> Mapping[str, str]:
        """Jobs whose row says something impossible, and what: their events are left as they are."""

    @property
    def nameless(self) -> int:
        """Rows that do not say which job they are of: each may be that of any job that is not listed here."""

    @property
    def unnamed_workers(self) -> int:
        """Entries of the list until now that name no mailbox: a job that the list lacks may be one of theirs."""

    @property
    def late(self) -> bool:
        """Whether it comes after the others because Core's order has it elsewhere; the address may come twice then."""


class ScheduleSource(Protocol):
    """Core. Raises ``CoreUnavailableError``: a failed read is an error, never an empty list."""

    def schedule(self, site_id: str, window: Window) -> AsyncIterator[Wanted]:
        """What is wanted in each mailbox of the site, in the byte order of the addresses; late ones at the end."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """One job, or ``None`` if there is none. Raises ``InvalidRecordError`` too."""


class ServedSites(Protocol):
    """Which sites are served."""

    def get(self, site_id: str) -> Site | None:
        """The site, or ``None`` if the sites file does not name it."""

    def is_served(self, site_id: str) -> bool:
        """Whether the site is ours, and neither suspended nor paused."""

    def unserved(self, site_id: str) -> Unread:
        """Why a mailbox of this site is not read."""


class Mailboxes(Protocol):
    """Where the work is done: the lanes, or a rehearsal."""

    def inspect(self, mailbox: Mailbox, overdue_at: float, /) -> Awaitable[MailboxSnapshot | Unread]:
        """What it holds, or why it could not be read. Never raises, and always ends."""

    def repair(self, mailbox: Mailbox, job_id: str, state: State, sweep_view: SweepView) -> Awaitable[str]:
        """Bring a job to its state there; what became of it. Given up when the awaiting task is cancelled."""


class SweepMeter(Protocol):
    """What is counted of sweeps."""

    def swept(self, site_id: str, seconds: float, *, whole: bool) -> None:
        """A sweep has ended; ``whole`` if it was complete and nothing was held."""

    def repaired(self, site_id: str, cause: Cause, count: int) -> None:
        """Events written by a sweep."""

    def held(self, site_id: str, count: int) -> None:
        """Deletions that the fuse holds back now."""

    def unavailable(self, site_id: str, count: int) -> None:
        """Mailboxes that could not be read in several sweeps in a row, while others of the site could."""

    def forget_sweeps(self, site_id: str) -> None:
        """The site's sweeps are not this replica's any more: what the last one found is out of date."""
