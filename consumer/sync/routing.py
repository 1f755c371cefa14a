"""Routing: from the records of a poll to the lanes of the mailboxes they concern, in one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from consumer.domain.job import Deletion, Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.window import Window
from consumer.sync.change import Change
from consumer.sync.lanes import Lanes
from consumer.sync.ports import Clock, Routed, Sighting, Store
from consumer.sync.receipts import Receipt
from consumer.sync.sites import SiteStates

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One decoded record: a job's new state, or that its row is gone."""

    job_id: str
    job: Job | None
    """``None``: deleted."""
    partition: int
    offset: int
    receipt: Receipt
    committed_at: float | None
    """See :class:`~consumer.sync.change.Change`."""


class Router:
    """Sends each state to the mailboxes it names, and to every mailbox that holds the job now."""

    def __init__(self, store: Store, lanes: Lanes, sites: SiteStates, clock: Clock, *, window_days: int) -> None:
        self._store = store
        self._lanes = lanes
        self._sites = sites
        self._clock = clock
        self._window_days = window_days
        self._told: set[str] = set()

    async def route(self, arrivals: Sequence[Arrival]) -> None:
        """Route the records of a poll, in their order.

        Raises:
            StoreUnavailableError: none of them was routed; the same call may be made again.
        """
        known = [arrival for arrival in arrivals if arrival.job is None or self._sites.get(arrival.job.site_id)]
        routed = await self._store.route([_sighting(arrival) for arrival in known]) if known else []
        self._skip_unknown(arrivals)
        window = Window.of(self._clock.now(), self._window_days)
        for arrival, where in zip(known, routed, strict=True):
            self._dispatch(arrival, where, window)

    def _skip_unknown(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            if arrival.job is None or self._sites.get(arrival.job.site_id):
                continue
            if arrival.job.site_id not in self._told:
                self._told.add(arrival.job.site_id)
                log.warning("records of a site that the sites file does not name are skipped", site=arrival.job.site_id)
            arrival.receipt.part_done("skipped")

    def _dispatch(self, arrival: Arrival, where: Routed, window: Window) -> None:
        if where.rank < where.newest:
            arrival.receipt.part_done("stale")
            return
        job = arrival.job
        state = job if job is not None else Deletion(arrival.job_id, where.rank)
        held = {*where.holders, *self._lanes.holding(arrival.job_id)}
        mailboxes = held | _wanting(job, window)
        mailboxes = {mailbox for mailbox in mailboxes if self._sites.get(mailbox.site)}
        if not mailboxes:
            arrival.receipt.part_done("unchanged" if job is not None and job.mailboxes else "skipped")
            return
        arrival.receipt.split(len(mailboxes))
        for mailbox in sorted(mailboxes):
            self._lanes.add(mailbox, Change(arrival.job_id, state, arrival.receipt, arrival.committed_at))


def _sighting(arrival: Arrival) -> Sighting:
    rank = arrival.job.rank if arrival.job is not None else None
    return Sighting(arrival.job_id, rank, arrival.partition, arrival.offset)


def _wanting(job: Job | None, window: Window) -> set[Mailbox]:
    """The mailboxes that shall get an event of the job: none while it is outside the window."""
    if job is None or job.scheduled is None or not window.holds(*job.scheduled):
        return set()
    return job.mailboxes
