"""What sweeps need of the store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from consumer.domain.link import Link, Pending
from consumer.domain.mailbox import Mailbox
from consumer.sync.marks import Mark
from consumer.sync.parking import Parking
from consumer.sync.ranks import RankRequest, Routed
from consumer.sync.sweep_state import SweepState


class SchedulerStore(Protocol):
    """What the scheduler needs: which site is due, and who is parked. Raises ``StoreUnavailableError``."""

    async def time(self) -> float:
        """Unix time on the store's own clock."""

    async def claim_sweep(self, site_id: str, seconds: float) -> bool:
        """Whether the site is due: no replica has claimed its sweep within the last ``seconds``."""

    async def release_sweep(self, site_id: str) -> None:
        """Make the site due at once."""

    async def list_parked(self) -> list[tuple[Mailbox, Parking]]:
        """Every parked mailbox."""

    async def enable(self, mailbox: Mailbox) -> None:
        """Stop parking the mailbox."""


class SweepMemory(Protocol):
    """What a sweep reads from Redis. Raises ``StoreUnavailableError``."""

    async def time(self) -> float:
        """Unix time on Redis's own clock, by which links are dated."""

    async def dirty(self, site_id: str) -> list[Mark]:
        """What was handed over to the sweep of a site."""

    async def linked(self, site_id: str, after: str) -> list[str]:
        """The next addresses of a site with links, in byte order, behind ``after``; empty at the end."""

    async def remembered(self, job_id: str) -> dict[Mailbox, Link | Pending]:
        """The link, or pending link, in each mailbox that has an event of the job, or may have one."""

    async def events(self, site_id: str) -> int:
        """How many jobs with an event in the site's window the last complete sweep found."""

    async def unread(self, site_id: str) -> dict[str, int]:
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

    async def remember_sweep(self, site_id: str, state: SweepState) -> None:
        """Store what a sweep found, at least one value. What is ``None`` stays as it was."""

    async def route(self, requests: Sequence[RankRequest]) -> list[Routed]:
        """Rank the deletions of vanished jobs, and raise each job's newest known rank."""


class SweepStore(SweepMemory, SweepRecords, Protocol):
    """Both, as Redis implements them."""
