"""What a sweep needs from Core, the mailboxes and the metrics, and all its ports together."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from consumer.domain.compare import Cause, MailboxSnapshot, Unread
from consumer.domain.job import Job, State
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.change import SweepView
from consumer.sync.sweep_store import SweepMemory, SweepRecords


class Wanted(Protocol):
    """All that Core wants in one mailbox."""

    @property
    def address(self) -> str:
        """The mailbox's address."""

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs that must have an event there."""

    @property
    def unusable(self) -> Mapping[str, str]:
        """Jobs with an impossible value in their row, and which: their events stay as they are."""

    @property
    def nameless(self) -> int:
        """The number of rows without a job id. Each may belong to any job that is not listed here."""

    @property
    def unnamed_workers(self) -> int:
        """How many workers without a mailbox the list has had so far. A job that it lacks may be one of theirs."""

    @property
    def late(self) -> bool:
        """Whether it comes after the others, out of order. Its address may then come twice."""


class ScheduleSource(Protocol):
    """Core. Raises ``CoreUnavailableError``: a failed read is an error, never an empty list."""

    def schedule(self, site_id: str, window: Window) -> AsyncIterator[Wanted]:
        """What Core wants in each mailbox of the site, in the byte order of the addresses; late ones at the end."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """One job, or ``None`` if Core has none. Also raises ``InvalidRecordError``."""


class ServedSites(Protocol):
    """Which sites are served."""

    def get(self, site_id: str) -> Site | None:
        """The site, or ``None`` if the sites file does not name it."""

    def is_served(self, site_id: str) -> bool:
        """Whether the site is in the sites file, and neither suspended nor paused."""

    def unserved(self, site_id: str) -> Unread:
        """Why a mailbox of this site is not read."""


class Mailboxes(Protocol):
    """Where mailboxes are read and repaired: the lanes, or a dry run's lanes."""

    def inspect(self, mailbox: Mailbox, overdue_at: float, /) -> Awaitable[MailboxSnapshot | Unread]:
        """Read a mailbox. Never raises, and always ends."""

    def repair(self, mailbox: Mailbox, job_id: str, state: State, sweep_view: SweepView) -> Awaitable[str]:
        """Bring a job to its state there; one of :data:`consumer.sync.receipts.RESULTS`, or ``outranked``.

        Given up when the awaiting task is cancelled.
        """


class SweepMeter(Protocol):
    """What is counted of sweeps."""

    def swept(self, site_id: str, seconds: float) -> None:
        """A sweep has ended, complete or not."""

    def repaired(self, site_id: str, cause: Cause, count: int) -> None:
        """Events that a sweep repaired."""


@dataclass(frozen=True, slots=True)
class SweepPorts:
    """The world around a sweep. A dry run has its own ``records``, ``mailboxes`` and ``meter``."""

    memory: SweepMemory
    records: SweepRecords
    mailboxes: Mailboxes
    core: ScheduleSource
    sites: ServedSites
    meter: SweepMeter
