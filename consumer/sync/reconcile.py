"""The whole way of a change, and of an inspection, through one mailbox: see :meth:`Reconciler.run`."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from consumer.domain.compare import MailboxSnapshot
from consumer.domain.errors import RunAgainError, StoreUnavailableError
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.domain.plan import Plan
from consumer.domain.site import Site
from consumer.domain.timezones import UTC_ZONE, zone_for
from consumer.domain.window import Window
from consumer.sync.assignment import plan_only, reconcile, times_in
from consumer.sync.change import Change
from consumer.sync.grant import Busy, DataLost, Grant, Intent, Parked, Precedence
from consumer.sync.lease import RENEW_SECONDS, SEND_WITHIN_SECONDS, Lease
from consumer.sync.listing import FORGOTTEN_AFTER, Listing
from consumer.sync.look import is_in_doubt
from consumer.sync.ports import Calendars, Clock, Meter
from consumer.sync.run_context import FAILURES, Assignment, Failure, RunContext, RunResult
from consumer.sync.run_store import RunStore
from consumer.sync.zone_settings import ZoneSettings

log = structlog.get_logger(__name__)

_RENEW_EARLY_SECONDS: Final = 0.5
MARGIN: Final = timedelta(days=1)
"""By how much a view is wider than the window."""
QUIET_SECONDS: Final = SEND_WITHIN_SECONDS + 1.0
"""How long no run begins after the store has lost data: by then every run that began before has stopped sending."""
_SHORTEST_WAIT: Final = 0.01
_LOOKED_UP_ALONE: Final = 2
"""Up to this many creates in doubt are looked up one by one. For more, the mailbox's tagged events are listed."""
ASSIGNMENTS_AT_ONCE: Final = 256
"""How many assignments of one run are worked on at a time: far more than Graph serves at once for a mailbox."""


class Reconciler:
    """Carries out runs."""

    def __init__(
        self,
        store: RunStore,
        calendars: Calendars,
        clock: Clock,
        meter: Meter,
        *,
        new_id: Callable[[], str],
        window_days: int,
        dry_run: bool = False,
    ) -> None:
        """``new_id`` makes the random tokens of leases and the transactionIds: 32 hexadecimal digits.

        In a dry run, only :meth:`inspect` and :meth:`plan` are called. They write nothing but leases.
        """
        self._store = store
        self._calendars = calendars
        self._clock = clock
        self._meter = meter
        self._new_id = new_id
        self._window_days = window_days
        self._dry_run = dry_run
        self._leases: dict[str, Lease] = {}
        self._incarnation = ""
        self._quiet_until = -math.inf
        self._zones = ZoneSettings(clock)
        self._listing = Listing()

    async def run(self, site: Site, mailbox: Mailbox, changes: Mapping[str, Change]) -> RunResult:
        """Bring the mailbox to the states in ``changes``.

        Raises no error of a mailbox, a site or Redis. The result has what became of each change, and what failed.

        The way of a change from the topic to the calendar, and of a sweep's repair, which joins at the lane. Steps 3 to
        6 happen here:

        1. ``Router.route`` (:mod:`consumer.sync.routing`) ranks the records of a poll in the store, in one round trip.
           A state that is not the newest is stale. The others go to each mailbox that wants the job or holds its event.
        2. ``Lanes.add`` (:mod:`consumer.sync.lanes`) keeps each job's newest state until the mailbox's turn comes, with
           the receipts owed for it. ``LaneRuns`` (:mod:`consumer.sync.lane_runs`) then calls this method, for one run
           per mailbox at a time.
        3. Begin, in one round trip (``begin.lua``): take the lease, read the links, and write a pending link (the
           intent) for each event that the run may create. Drop states that are no longer the newest.
        4. Prepare: read the mailbox's time zone, and list its events if the store may have lost their links.
        5. For each assignment (:func:`consumer.sync.assignment.reconcile`): look at its events where the link cannot be
           trusted, plan (:func:`consumer.domain.plan.plan`), and apply (:func:`consumer.sync.apply.apply`).
           A failed assignment raises nothing: its failure is noted in the result, and the others go on.
        6. Finish, in one round trip: check the lease, write the links, and give the lease back.
        7. :mod:`consumer.sync.after_run` decides what follows from the result: done, run again, wait, hand over, park,
           suspend. ``LaneRuns`` does it. When the last receipt of a record is given back, its offset can be committed.
        """
        window = Window.of(self._clock.now(), self._window_days)
        intents = [self._intent(mailbox, change, window) for change in changes.values()]
        granted = await self._begin(site, mailbox, intents)
        if isinstance(granted, RunResult):
            return granted
        with self._renewed(granted.lease):
            run = self._open(site, granted.lease, window)
            assignments = [Assignment(run, change, granted.assignments[change.job_id]) for change in changes.values()]
            newest = _drop_superseded(assignments)
            prepared = await self._prepare(site, granted, run, newest, window)
            if len(prepared) == 1:
                await reconcile(prepared[0])  # the common case needs no task
            else:
                await _reconcile_all(prepared)
            return await self._finish(granted.lease, run, changes)

    async def plan(self, site: Site, mailbox: Mailbox, change: Change) -> Plan | RunResult:
        """Decide what :meth:`run` would do for one change, in a dry run; a result says why nothing was decided."""
        window = Window.of(self._clock.now(), self._window_days)
        granted = await self._begin(site, mailbox, [self._intent(mailbox, change, window)])
        if isinstance(granted, RunResult):
            return granted
        with self._renewed(granted.lease):
            run = self._open(site, granted.lease, window)
            newest = _drop_superseded([Assignment(run, change, granted.assignments[change.job_id])])
            prepared = await self._prepare(site, granted, run, newest, window)
            planned = await plan_only(prepared[0]) if prepared else None
            result = await self._finish(granted.lease, run, {})
            return result if planned is None or result.trouble else planned

    async def inspect(self, site: Site, mailbox: Mailbox) -> MailboxSnapshot | RunResult:
        """What the mailbox and the store hold, read under the mailbox's lease; writes nothing to Outlook."""
        window = Window.of(self._clock.now(), self._window_days)
        granted = await self._begin(site, mailbox, [], everything=True)
        if isinstance(granted, RunResult):
            return granted
        with self._renewed(granted.lease):
            return await self._inspect(site, granted, window)

    async def renew_leases(self) -> None:
        """Renew the leases that were not renewed for ``RENEW_SECONDS``. To be called at least twice a second.

        At most one for each run under way. Raises ``StoreUnavailableError`` after all were tried.
        """
        due = self._clock.monotonic() - RENEW_SECONDS + _RENEW_EARLY_SECONDS
        leases = [lease for lease in self._leases.values() if lease.renewed_at <= due and not lease.lost]
        failures: list[StoreUnavailableError] = []

        async def renew(lease: Lease) -> None:
            try:
                await self._store.renew(lease)
            except StoreUnavailableError as error:
                failures.append(error)  # the other leases must be renewed all the same

        async with asyncio.TaskGroup() as renewals:
            for lease in leases:
                renewals.create_task(renew(lease))
        if failures:
            raise failures[0]

    def do_without_setting(self, mailbox: Mailbox, reason: str) -> None:
        """Use the last known time-zone setting, or the site's time zone, and read the setting again in an hour."""
        self._zones.do_without(mailbox, reason)

    async def _begin(
        self, site: Site, mailbox: Mailbox, intents: Sequence[Intent], *, everything: bool = False
    ) -> Grant | RunResult:
        now = self._clock.monotonic()
        if now < self._quiet_until:
            return RunResult(busy=max(_SHORTEST_WAIT, self._quiet_until - now))
        try:
            granted = await self._store.begin(
                mailbox, site.app, self._new_id(), intents, everything=everything, incarnation=self._incarnation
            )
        except StoreUnavailableError as error:
            return RunResult(trouble=error)
        match granted:
            case Busy(retry_after):
                return RunResult(busy=retry_after)
            case Parked(code):
                return RunResult(parked=code)
            case DataLost(incarnation):
                return self._be_quiet(incarnation, now)
            case Grant():
                self._incarnation = granted.incarnation
                return granted

    def _be_quiet(self, incarnation: str, now: float) -> RunResult:
        """Leases may have been lost with the data: let the runs that hold them end before others begin."""
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._quiet_until = now + QUIET_SECONDS
            log.warning("Redis was restarted, failed over or emptied: links are checked against the calendars")
        return RunResult(busy=max(_SHORTEST_WAIT, self._quiet_until - now))

    def _open(self, site: Site, lease: Lease, window: Window) -> RunContext:
        linked_elsewhere = partial(self._store.linked_elsewhere, lease.mailbox)
        calendar = self._calendars.open(site, lease)
        return RunContext(calendar, lease.mailbox, window, UTC_ZONE, linked_elsewhere)

    @contextmanager
    def _renewed(self, lease: Lease) -> Iterator[None]:
        self._leases[lease.token] = lease
        try:
            yield
        finally:
            del self._leases[lease.token]

    def _intent(self, mailbox: Mailbox, change: Change, window: Window) -> Intent:
        when = times_in(change.state, mailbox)
        may_create = when is not None and window.holds(*when) and not self._dry_run
        forced = change.sweep_view is not None and change.sweep_view.forced and not self._dry_run
        return Intent(
            change.job_id,
            change.state.rank,
            (change.transaction_id or self._new_id()) if may_create else None,
            swept=change.sweep_view is not None,
            forced=forced,
        )

    async def _prepare(
        self, site: Site, grant: Grant, run: RunContext, work: list[Assignment], window: Window
    ) -> list[Assignment]:
        """Read what the work needs; returns the assignments that can go on, and notes the failure of the others.

        Without the time zone none can. In a mailbox that is not known and cannot be listed, nothing is created. If the
        outcomes of many creates are unknown, one list answers for all of them.
        """
        read_zone = partial(self._read_zone, site, grant, run, work)
        unlisted: set[str] = set()
        if not grant.is_known:
            unlisted = {assignment.job_id for assignment in work if assignment.known.transaction_id is not None}
        in_doubt = {assignment.job_id for assignment in work if is_in_doubt(assignment.change, assignment.known)}
        if len(in_doubt) > _LOOKED_UP_ALONE:
            unlisted |= in_doubt
        if not unlisted:
            failure = await _failure_of(read_zone)
            return _without_failed(work, failure)
        async with asyncio.TaskGroup() as reads:
            zone = reads.create_task(_failure_of(read_zone))
            listing = reads.create_task(_failure_of(partial(self._list, grant, run, window)))
        return _without_failed(_without_failed(work, zone.result()), listing.result(), unlisted)

    async def _read_zone(self, site: Site, grant: Grant, run: RunContext, work: Sequence[Assignment]) -> None:
        if any(times_in(assignment.change.state, grant.lease.mailbox) for assignment in work):
            run.zone = zone_for(await self._zones.read(grant, run), site.timezone)

    async def _list(self, grant: Grant, run: RunContext, window: Window) -> None:
        run.listed = await self._listing.read(grant, run, window)

    async def _inspect(self, site: Site, grant: Grant, window: Window) -> MailboxSnapshot | RunResult:
        run = self._open(site, grant.lease, window)
        snapshot: MailboxSnapshot | None = None
        try:
            zone = zone_for(await self._zones.read(grant, run), site.timezone)
            # All-day events are matched as UTC midnights, and edges are read differently: a day more on each side.
            summaries = await run.calendar.view(window.start - MARGIN, window.end + MARGIN)
            run.outcome.answered = True
            links = grant.links
            if not grant.is_known and not self._dry_run:
                await self._listing.read(grant, run, window)
                links = {**run.outcome.found, **grant.links}
            snapshot = MailboxSnapshot(zone, links, summaries)
            run.outcome.forgotten = {
                job_id
                for job_id, link in grant.links.items()
                if isinstance(link, Link) and link.end < window.start - FORGOTTEN_AFTER
            }
        except FAILURES as error:
            run.result.record("", error)
        result = await self._finish(grant.lease, run, {})
        return result if snapshot is None or result.trouble or result.again else snapshot

    async def _finish(self, lease: Lease, run: RunContext, changes: Mapping[str, Change]) -> RunResult:
        """Store what the run has done, and give the lease back. If that fails, nothing that the run did counts."""
        try:
            if self._dry_run:
                await self._store.release(lease)
                return run.result
            kept = await self._store.finish(lease, run.outcome)
        except StoreUnavailableError as error:
            return RunResult(trouble=error, in_doubt=run.creates)
        if not kept:
            return RunResult(again=RunAgainError("the lease was lost"), in_doubt=run.creates)
        run.result.is_stored = True
        if run.unread_zone and run.outcome.answered:
            # If the calendar does not answer either, the fault is not the setting's.
            self.do_without_setting(lease.mailbox, run.unread_zone)
        if run.result.unsettled:
            self._meter.unsettled(lease.mailbox.site, run.result.unsettled)
        for job_id, result in run.result.results.items():
            committed_at = changes[job_id].committed_at
            if result == "applied" and committed_at is not None:
                self._meter.accepted(committed_at)
        return run.result


async def _reconcile_all(assignments: Sequence[Assignment]) -> None:
    for first in range(0, len(assignments), ASSIGNMENTS_AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for assignment in assignments[first : first + ASSIGNMENTS_AT_ONCE]:
                group.create_task(reconcile(assignment))


def _drop_superseded(assignments: Sequence[Assignment]) -> list[Assignment]:
    """The assignments whose state must be carried out. The others are noted in the run's result, and so done."""
    for assignment in assignments:
        if not assignment.known.wins:
            is_outranked = assignment.known.precedence is Precedence.OUTRANKED
            assignment.run.result.results[assignment.job_id] = "outranked" if is_outranked else "superseded"
    return [assignment for assignment in assignments if assignment.known.wins]


async def _failure_of(read: Callable[[], Awaitable[None]]) -> Failure | None:
    try:
        await read()
    except FAILURES as error:
        return error
    return None


def _without_failed(
    work: list[Assignment], failure: Failure | None, needing: set[str] | None = None
) -> list[Assignment]:
    """The assignments that can go on after a failed read. The others fail with it: the jobs ``needing`` it, or all."""
    if failure is None:
        return work
    for assignment in work:
        if needing is None or assignment.job_id in needing:
            assignment.failed(failure)
    return [] if needing is None else [assignment for assignment in work if assignment.job_id not in needing]
