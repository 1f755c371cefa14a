"""What a sweep needs from Redis, Core, the mailboxes and the metrics."""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.domain.compare import Cause, MailboxSnapshot, Unread
from consumer.domain.job import Job, State
from consumer.domain.link import Link, Pending
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.change import SweepView
from consumer.sync.marks import Mark
from consumer.sync.ranks import RankRequest, Routed


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


class SweepMemory(Protocol):
    """What a sweep reads from Redis. Raises ``StoreUnavailableError``."""

    async def time(self) -> float:
        """Unix time on Redis's own clock, by which links are dated."""

    async def dirty(self, site_id: str) -> Sequence[Mark]:
        """What was handed over to the sweep of a site."""

    async def linked(self, site_id: str, after: str) -> Sequence[str]:
        """The next addresses of a site with links, in byte order, behind ``after``; empty at the end."""

    async def remembered(self, job_id: str) -> Mapping[Mailbox, Link | Pending]:
        """The link, or pending link, in each mailbox that has an event of the job, or may have one."""

    async def events(self, site_id: str) -> int:
        """How many jobs with an event in the site's window the last complete sweep found."""

    async def unread(self, site_id: str) -> Mapping[str, int]:
        """The addresses of a site that could not be read, and in how many sweeps in a row."""


class SweepRecords(Protocol):
    """What a sweep writes to Redis. In a dry run it writes nothing. Raises ``StoreUnavailableError``."""

    async def clean(self, site_id: str, marks: Sequence[Mark]) -> None:
        """Remove marks whose assignments are done, unless they were set again meanwhile."""

    async def forget_zone(self, mailbox: Mailbox) -> None:
        """Have the mailbox's time-zone setting read again."""

    async def remember_events(self, site_id: str, count: int) -> None:
        """Store what :meth:`SweepMemory.events` returns."""

    async def remember_unread(self, site_id: str, counts: Mapping[str, int]) -> None:
        """Store what :meth:`SweepMemory.unread` returns."""

    async def route(self, requests: Sequence[RankRequest]) -> Sequence[Routed]:
        """Rank the deletions of vanished jobs, and raise each job's newest known rank."""


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

    def swept(self, site_id: str, seconds: float, *, whole: bool) -> None:
        """A sweep has ended; ``whole`` if it was complete and nothing was held."""

    def repaired(self, site_id: str, cause: Cause, count: int) -> None:
        """Events that a sweep repaired."""

    def held(self, site_id: str, count: int) -> None:
        """Deletions that the fuse holds now."""

    def unavailable(self, site_id: str, count: int) -> None:
        """Mailboxes that could not be read in several sweeps in a row, while others of the site could."""

    def forget_sweeps(self, site_id: str) -> None:
        """Another replica sweeps the site now, or none: what the last sweep here found is out of date."""


@dataclass(frozen=True, slots=True)
class SweepPorts:
    """The world around a sweep. A dry run has its own ``records``, ``mailboxes`` and ``meter``."""

    memory: SweepMemory
    records: SweepRecords
    mailboxes: Mailboxes
    core: ScheduleSource
    sites: ServedSites
    meter: SweepMeter
