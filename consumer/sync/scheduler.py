"""The sweep scheduler: which site is swept next, and which replica sweeps it."""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from consumer.domain.errors import StoreUnavailableError
from consumer.domain.site import Site
from consumer.sync.bounded import foremost
from consumer.sync.parking import BY_HAND
from consumer.sync.ports import Clock
from consumer.sync.report import Report
from consumer.sync.site_registry import SiteRegistry
from consumer.sync.sweep import Sweeper
from consumer.sync.sweep_store import SchedulerStore

log = structlog.get_logger(__name__)

SITES_AT_ONCE: Final = 4
"""How many sites one replica sweeps at once, without those whose sweep stands still."""
STANDING_STILL_SECONDS: Final = 15.0
"""A sweep that has read no mailbox for this long stands still: its tenant hangs, or Core does. It takes no place."""
_SWEEPS_AT_MOST: Final = 64
"""How many sites one replica sweeps at once, with those whose sweep stands still."""
OVERDUE_INTERVALS: Final = 2
"""From this many intervals after its due time on, a sweep gets its share of runs even while changes wait."""
_LOOK_SECONDS: Final = 1.0
"""How often the scheduler looks for a site that is due."""


def owner(site_id: str, partitions: int) -> int:
    """The partition whose holder sweeps the site, so that Kafka's assignment spreads the sweeps over the replicas."""
    return zlib.crc32(site_id.encode()) % partitions


class SweepScheduler:
    """Sweeps this replica's sites when they are due, ``SITES_AT_ONCE`` at a time, the longest unswept first."""

    def __init__(
        self,
        sweeper: Sweeper,
        store: SchedulerStore,
        sites: SiteRegistry,
        *,
        clock: Clock,
        interval: float,
        owns: Callable[[str], bool],
    ) -> None:
        """``owns`` returns whether this replica sweeps a site; ``interval`` is in seconds."""
        self._sweeper = sweeper
        self._store = store
        self._sites = sites
        self._clock = clock
        self._interval = interval
        self._owns = owns
        self._running: dict[str, float] = {}
        """When each sweep under way last read a mailbox, on the monotonic clock; at most ``_SWEEPS_AT_MOST``."""
        self._turns: dict[str, float] = {}
        """When each site that is swept here had its last turn, on the monotonic clock."""

    async def run(self) -> None:
        """Sweep what is due, until cancelled. Then every sweep under way is cancelled and awaited, too."""
        try:
            async with asyncio.TaskGroup() as sweeps:
                while True:
                    await asyncio.sleep(_LOOK_SECONDS)
                    self._forget_others()
                    # The longest unswept first: the sites at the front may be due again before the last had a turn.
                    for site in sorted(self._sites.served_now(), key=lambda site: self._turns.get(site.site_id, 0.0)):
                        await self._start_if_due(site, sweeps)
        except BaseExceptionGroup as failures:
            raise foremost(failures) from None

    async def recover(self, site_id: str, *, every_mailbox: bool) -> None:
        """Enable parked mailboxes of a site that is served again, and make its sweep due at once. Waits for Redis.

        What an operator parked stays parked.

        Args:
            site_id: the site.
            every_mailbox: ``False`` enables only mailboxes that are tried hourly anyway, and those that were parked
                for the code that suspended the whole site, since that began.
        """
        while True:
            try:
                await self._enable(site_id, every_mailbox=every_mailbox)
                await self._store.release_sweep(site_id)
            except StoreUnavailableError:
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                return

    async def _enable(self, site_id: str, *, every_mailbox: bool) -> None:
        trouble = self._sites.past_trouble(site_id)
        # Parkings are dated by Redis's clock, and the trouble by ours.
        offset = await self._store.time() - self._clock.monotonic()
        for mailbox, parking in await self._store.list_parked():
            if mailbox.site != site_id or parking.code == BY_HAND:
                continue
            shared = trouble is not None and trouble.has_parked(parking.code, parking.since - offset)
            if every_mailbox or parking.hourly or shared:
                await self._store.enable(mailbox)

    def _forget_others(self) -> None:
        """Forget the turns of sites that another replica sweeps now, or that have left the sites file."""
        for site_id in list(self._turns):
            is_ours = self._sites.get(site_id) is not None and self._owns(site_id)
            if not is_ours and site_id not in self._running:
                del self._turns[site_id]

    async def _start_if_due(self, site: Site, sweeps: asyncio.TaskGroup) -> None:
        if site.site_id in self._running or not self._has_room() or not self._owns(site.site_id):
            return
        try:
            due = await self._store.claim_sweep(site.site_id, self._interval)
        except StoreUnavailableError:
            return  # the store logs it, and readiness fails
        if due:
            now = self._clock.monotonic()
            # Due an interval after its last turn. A site that waited long for this turn is overdue sooner.
            due_at = min(now, self._turns.get(site.site_id, now) + self._interval)
            self._running[site.site_id] = self._turns[site.site_id] = now
            sweeps.create_task(self._sweep(site, due_at + OVERDUE_INTERVALS * self._interval))

    async def _sweep(self, site: Site, overdue_at: float) -> None:
        moved = partial(self._moved, site.site_id)
        try:
            await self._sweeper.sweep(site, overdue_at=overdue_at, progress=moved)
        except Exception:
            log.critical("unexpected error in a sweep", site=site.site_id, exc_info=True)
        finally:
            del self._running[site.site_id]

    def _has_room(self) -> bool:
        since = self._clock.monotonic() - STANDING_STILL_SECONDS
        moving = sum(moved_at >= since for moved_at in self._running.values())
        return moving < SITES_AT_ONCE and len(self._running) < _SWEEPS_AT_MOST

    def _moved(self, site_id: str, _report: Report) -> None:
        self._running[site_id] = self._clock.monotonic()
