"""What sweeps need of the store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from consumer.domain.link import Link, Pending
from consumer.domain.mailbox import Mailbox
from consumer.sync.marks import Mark
from consumer.sync.parking import Parking
from consumer.sync.ranks import RankRequest, Routed


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


class SiteSweepStore(Protocol):
    """What the sweep of one site reads before, and keeps after. Raises ``StoreUnavailableError``."""

    async def time(self) -> float:
        """Unix time on the store's own clock, which dates the links."""

    async def linked(self, site_id: str, after: str) -> list[str]:
        """The next addresses of a site with links, in byte order, after ``after``; empty at the end."""

    async def dirty(self, site_id: str) -> list[Mark]:
        """What was handed over to the sweep of a site, ordered by address and job."""

    async def unread(self, site_id: str) -> dict[str, int]:
        """The addresses of a site that could not be read, each with the number of failed sweeps in a row."""

    async def remember_unread(self, site_id: str, counts: Mapping[str, int]) -> None:
        """Replace what :meth:`unread` returns."""

    async def events(self, site_id: str) -> int:
        """The number of jobs with an event in the site's window, as the last complete sweep found it."""

    async def remember_events(self, site_id: str, count: int) -> None:
        """Replace what :meth:`events` returns."""

    async def forget_zone(self, mailbox: Mailbox) -> None:
        """Have the mailbox's time-zone setting read again."""


class ConclusionStore(Protocol):
    """What a sweep needs when it acts on the differences. Raises ``StoreUnavailableError``."""

    async def remembered(self, job_id: str) -> dict[Mailbox, Link | Pending]:
        """The link, or pending link, of each mailbox that holds an event of the job, or may."""

    async def route(self, requests: Sequence[RankRequest]) -> list[Routed]:
        """Raise each job's newest known rank, and return who holds the job, in one round trip."""

    async def clean(self, site_id: str, marks: Sequence[Mark]) -> None:
        """Remove marks that the sweep has worked off; a mark that was set again since it was read stays."""


class SweepStore(SiteSweepStore, ConclusionStore, Protocol):
    """Both, for the sweeper and the sweep of one site, which pass them on."""
