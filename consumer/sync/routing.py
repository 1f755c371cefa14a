"""Routing: from the records of a poll to the lanes of the mailboxes that they affect, in one round trip to Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from consumer.domain.fuse import is_blown
from consumer.domain.job import Deletion, Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.window import Window
from consumer.sync.change import Change
from consumer.sync.lanes import Lanes
from consumer.sync.ports import Clock
from consumer.sync.ranks import RankRequest, Routed
from consumer.sync.receipts import Receipt
from consumer.sync.routing_store import RoutingStore
from consumer.sync.site_registry import SiteRegistry

log = structlog.get_logger(__name__)

_COUNT_SECONDS: Final = 60.0
"""How long a site's number of jobs, counted by their links, is used before they are counted again."""
_REPORTED_AT_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """One decoded record: a job's new state, or the deletion of its row."""

    job_id: str
    job: Job | None
    """``None``: deleted."""
    partition: int
    offset: int
    receipt: Receipt
    committed_at: float | None
    """See :class:`~consumer.sync.change.Change`."""
    topic_id: str = ""
    """See :class:`~consumer.sync.ranks.RankRequest`."""


class Router:
    """Sends each state to the mailboxes that it names, and to every mailbox that has the job now."""

    def __init__(
        self,
        store: RoutingStore,
        lanes: Lanes,
        sites: SiteRegistry,
        clock: Clock,
        *,
        window_days: int,
        fuse_seconds: float,
    ) -> None:
        """``fuse_seconds`` is the sweep's interval: deletions within one interval are counted together."""
        self._store = store
        self._lanes = lanes
        self._sites = sites
        self._clock = clock
        self._window_days = window_days
        self._fuse_seconds = fuse_seconds
        self._reported: set[str] = set()
        """Unknown sites that were logged; at most ``_REPORTED_AT_MOST``, because records can name any site."""
        self._counted: dict[str, tuple[float, int]] = {}
        """By site, at most as many as there are: when its jobs were counted, and how many there were."""

    async def route(self, arrivals: Sequence[Arrival]) -> None:
        """Route the records of a poll, in their order.

        Raises:
            StoreUnavailableError: no record was routed; the same call may be made again.
        """
        routed = await self._store.route([_rank_request(arrival) for arrival in arrivals])
        fused = await self._fused(arrivals, routed)
        window = Window.of(self._clock.now(), self._window_days)
        for arrival, where in zip(arrivals, routed, strict=True):
            if arrival.job is not None:
                # An unknown site has no mailbox to route to, but the job may have left one of our sites for it.
                self.is_named(arrival.job.site_id)
            if arrival.job is None and arrival.job_id in fused:
                arrival.receipt.part_done("handed_over")
            else:
                self._dispatch(arrival, where, window)

    async def _fused(self, arrivals: Sequence[Arrival], routed: Sequence[Routed]) -> set[str]:
        """The deleted jobs that the fuse leaves to the sweep, after marking them for it.

        The fuse counts the deletions within one sweep interval: only jobs with an event to lose, and each once.
        """
        by_site: dict[str, dict[str, Routed]] = {}
        for arrival, where in zip(arrivals, routed, strict=True):
            if arrival.job is None and where.coming:
                for site_id in {mailbox.site for mailbox in where.holders}:
                    by_site.setdefault(site_id, {})[arrival.job_id] = where
        fused: set[str] = set()
        for site_id, deletions in by_site.items():
            vanished, known = await self._store.count_deletions(site_id, list(deletions), self._fuse_seconds)
            if not is_blown(vanished, known) or not is_blown(vanished, await self._coming(site_id)):
                continue
            log.error("deletions left to the sweep", site=site_id, jobs=vanished, reason="the deletion fuse has blown")
            marks = [(mailbox, job_id) for job_id, where in deletions.items() for mailbox in where.holders]
            await self._store.mark_dirty(marks)
            fused |= set(deletions)
        return fused

    async def _coming(self, site_id: str) -> int:
        """The site's jobs by their links, counted once a minute at most: it may have grown since its last sweep."""
        now = self._clock.monotonic()
        counted_at, count = self._counted.get(site_id, (float("-inf"), 0))
        if now - counted_at > _COUNT_SECONDS:
            count = await self._store.coming(site_id)
            self._counted[site_id] = now, count
        return count

    def is_named(self, site_id: str) -> bool:
        """Whether the sites file names the site. One that it does not name is logged once."""
        if self._sites.get(site_id) is not None:
            return True
        if site_id not in self._reported and len(self._reported) < _REPORTED_AT_MOST:
            self._reported.add(site_id)
            log.warning("records of an unknown site skipped", site=site_id)
        return False

    def _dispatch(self, arrival: Arrival, where: Routed, window: Window) -> None:
        if where.rank < where.newest:
            arrival.receipt.part_done("stale")
            return
        job = arrival.job
        # Redis forgets ranks after an hour, or loses all. A deletion must still rank above what waits here.
        state = job or Deletion(arrival.job_id, max(where.rank, self._lanes.newest(arrival.job_id) | 1))
        holders = {*where.holders, *self._lanes.holding(arrival.job_id)}
        mailboxes = {mailbox for mailbox in holders | _wanting(job, window) if self._sites.get(mailbox.site)}
        if not mailboxes:
            named = job is not None and job.mailboxes and self._sites.get(job.site_id)
            arrival.receipt.part_done("unchanged" if named else "skipped")
            return
        arrival.receipt.split(len(mailboxes))
        for mailbox in sorted(mailboxes):
            self._lanes.add(mailbox, Change(arrival.job_id, state, arrival.receipt, arrival.committed_at))


def _rank_request(arrival: Arrival) -> RankRequest:
    rank = arrival.job.rank if arrival.job is not None else None
    return RankRequest(arrival.job_id, rank, arrival.partition, arrival.offset, topic_id=arrival.topic_id)


def _wanting(job: Job | None, window: Window) -> set[Mailbox]:
    """The mailboxes that must get an event of the job: none while it is outside the window."""
    if job is None or job.scheduled is None or not window.holds(*job.scheduled):
        return set()
    return job.mailboxes
