"""The sweep scheduler: which site is swept next, and which replica does it."""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from consumer.domain.errors import StoreUnavailableError
from consumer.domain.site import Site
from consumer.sync.parking import BY_HAND
from consumer.sync.ports import Clock
from consumer.sync.report import Report
from consumer.sync.site_registry import SiteRegistry
from consumer.sync.sweep import Sweeper
from consumer.sync.sweep_store import SchedulerStore

log = structlog.get_logger(__name__)

SITES_AT_ONCE: Final = 4
"""How many sites of one replica are swept at once, those whose sweep stands still not counted."""
STANDING_STILL_SECONDS: Final = 15.0
"""A sweep that has read no mailbox for this long keeps no other site waiting: its tenant hangs, or Core does."""
_SWEEPS_AT_MOST: Final = 64
OVERDUE_INTERVALS: Final = 2
"""From this many intervals behind its time on, a sweep has its share of the runs even while changes wait."""
_LOOK_SECONDS: Final = 1.0


def owner(site_id: str, partitions: int) -> int:
    """The partition of the topic whose holder sweeps the site: Kafka's own assignment shares the work."""
    return zlib.crc32(site_id.encode()) % partitions


@dataclass(slots=True)
class _Turn:
    """A sweep under way."""

    task: "asyncio.Task[Report]"
    moved_at: float
    """When it last read a mailbox, on the monotonic clock."""


class SweepScheduler:
    """Has each site that is this replica's own swept when it is due, a few at a time, the longest unswept first."""

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
        """``owns`` tells whether a site's sweeps are this replica's; ``interval`` is in seconds."""
        self._sweeper = sweeper
        self._store = store
        self._sites = sites
        self._clock = clock
        self._interval = interval
        self._owns = owns
        self._running: dict[str, _Turn] = {}
        self._turns: dict[str, float] = {}
        """When each site had its last turn here, on the monotonic clock. Only of sites that are swept here."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                self._forget_others()
                # Else those at the front would be due again before those at the end had their turn.
                for site in sorted(self._sites.served_now(), key=lambda site: self._turns.get(site.site_id, 0.0)):
                    await self._start_if_due(site)
        finally:
            for turn in self._running.values():
                turn.task.cancel()

    async def afresh(self, site_id: str, *, every_mailbox: bool) -> None:
        """What refused the site is mended: enable its parked mailboxes, and let its sweep be due at once.

        Unless ``every_mailbox``, only those are enabled that are tried hourly anyway, and those parked for what the
        whole site was suspended for, since that began. What an operator parked stays parked. Waits for Redis.
        """
        while True:
            try:
                await self._enable(site_id, every_mailbox=every_mailbox)
                await self._store.release_sweep(site_id)
            except StoreUnavailableError as error:
                log.warning("Redis is unavailable, parked mailboxes wait to be enabled", reason=str(error))
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                return

    async def _enable(self, site_id: str, *, every_mailbox: bool) -> None:
        trouble = self._sites.past_trouble(site_id)
        # The store dates by its own clock.
        offset = await self._store.time() - self._clock.monotonic()
        for mailbox, parking in await self._store.list_parked():
            if mailbox.site != site_id or parking.code == BY_HAND:
                continue
            shared = trouble is not None and trouble.has_parked(parking.code, parking.since - offset)
            if every_mailbox or parking.hourly or shared:
                await self._store.enable(mailbox)

    def _forget_others(self) -> None:
        """Forget the sweeps of sites that another replica sweeps now, or that left the sites file.

        A sweep that is still under way is forgotten once it has ended, because it reports what it found at its end.
        """
        for site_id in list(self._turns):
            is_ours = self._sites.get(site_id) is not None and self._owns(site_id)
            if not is_ours and site_id not in self._running:
                del self._turns[site_id]
                self._sweeper.forget(site_id)

    async def _start_if_due(self, site: Site) -> None:
        if site.site_id in self._running or not self._has_room() or not self._owns(site.site_id):
            return
        try:
            due = await self._store.claim_sweep(site.site_id, self._interval)
        except StoreUnavailableError:
            return  # the intake logs it, and readiness fails
        if due:
            now = self._clock.monotonic()
            # Its time was an interval after its last turn: one that waited long for it does not wait as long again.
            due_at = min(now, self._turns.get(site.site_id, now) + self._interval)
            overdue_at = due_at + OVERDUE_INTERVALS * self._interval
            moved = partial(self._moved, site.site_id)
            task = asyncio.create_task(self._sweeper.sweep(site, overdue_at=overdue_at, progress=moved))
            self._running[site.site_id] = _Turn(task, now)
            self._turns[site.site_id] = now
            task.add_done_callback(lambda done: self._ended(site.site_id, done))

    def _has_room(self) -> bool:
        since = self._clock.monotonic() - STANDING_STILL_SECONDS
        moving = sum(turn.moved_at >= since for turn in self._running.values())
        return moving < SITES_AT_ONCE and len(self._running) < _SWEEPS_AT_MOST

    def _moved(self, site_id: str, _report: Report) -> None:
        self._running[site_id].moved_at = self._clock.monotonic()

    def _ended(self, site_id: str, task: "asyncio.Task[Report]") -> None:
        del self._running[site_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a sweep failed: an unexpected error", site=site_id, exc_info=error)
