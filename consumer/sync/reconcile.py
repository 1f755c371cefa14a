"""One run: take a mailbox's lease, plan, apply, remember, give the lease back. Changes and sweeps both end here."""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from consumer.domain.compare import MailboxSnapshot
from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    StoreUnavailableError,
    TransientError,
)
from consumer.domain.event import EventSummary
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.domain.plan import Plan
from consumer.domain.site import Site
from consumer.domain.timezones import UTC_ZONE, zone_for
from consumer.domain.window import Window
from consumer.sync.apply import FAILURES, RunContext, RunResult, is_in_doubt, times_in
from consumer.sync.change import Change
from consumer.sync.grant import Busy, DataLost, Grant, Intent, Parked
from consumer.sync.lease import RENEW_SECONDS, SEND_WITHIN_SECONDS, Lease
from consumer.sync.ports import Calendars, Clock, Meter
from consumer.sync.run_store import RunStore
from consumer.sync.tagged import links_of

log = structlog.get_logger(__name__)

_RENEW_EARLY_SECONDS: Final = 0.5
_VIEW: Final = timedelta(hours=1)
MARGIN: Final = timedelta(days=1)
"""By how much a view is wider than the window."""
FORGOTTEN_AFTER: Final = timedelta(days=30)
"""A link is forgotten when its event has been over for so long: the event stays, as history."""
QUIET_SECONDS: Final = SEND_WITHIN_SECONDS + 1.0
"""How long no run begins after the store has lost data: by then every run that began before has stopped sending."""
_SHORTEST_WAIT: Final = 0.01
LISTINGS_AT_ONCE: Final = 256
"""How many mailboxes' events are listed at once: each list may have many pages, one of which is in memory at a time."""
ZONE_PATIENCE_SECONDS: Final = 60.0
"""For how long a time-zone setting may fail to be read before the site's time zone serves instead."""
ZONE_AGAIN_SECONDS: Final = 3600.0
"""When a setting that cannot be read is tried again."""
_UNREADABLE_ZONES: Final = 10_000
"""How many mailboxes with such a setting are remembered."""
_LOOKED_UP_ALONE: Final = 2
"""Up to this many creates in doubt are looked up one by one. For more, the mailbox's tagged events are listed."""


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
        self._listing = asyncio.Semaphore(LISTINGS_AT_ONCE)
        self._zone_failing_since: dict[Mailbox, float] = {}
        self._zone_again_at: dict[Mailbox, float] = {}

    async def run(self, site: Site, mailbox: Mailbox, changes: Mapping[str, Change]) -> RunResult:
        """Bring the mailbox to the states in ``changes``. Never raises what a mailbox, a site or Redis may do."""
        window = Window.of(self._clock.now(), self._window_days)
        granted = await self._begin(
            site, mailbox, [self._intent(mailbox, change, window) for change in changes.values()]
        )
        if isinstance(granted, RunResult):
            return granted
        with self._renewed(granted.lease):
            return await self._under_lease(site, granted, changes, window)

    async def plan(self, site: Site, mailbox: Mailbox, change: Change) -> Plan | RunResult:
        """Decide what :meth:`run` would do for one change, in a dry run; a result says why nothing was decided."""
        window = Window.of(self._clock.now(), self._window_days)
        granted = await self._begin(site, mailbox, [self._intent(mailbox, change, window)])
        if isinstance(granted, RunResult):
            return granted
        with self._renewed(granted.lease):
            return await self._plan(site, granted, change, window)

    async def inspect(self, site: Site, mailbox: Mailbox) -> MailboxSnapshot | RunResult:
        """See what the mailbox holds and what we remember of it, under its lease; writes nothing to Outlook."""
        window = Window.of(self._clock.now(), self._window_days)
        granted = await self._begin(site, mailbox, [], everything=True)
        if isinstance(granted, RunResult):
            return granted
        with self._renewed(granted.lease):
            return await self._inspect(site, granted, window)

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

    async def _inspect(self, site: Site, grant: Grant, window: Window) -> MailboxSnapshot | RunResult:
        run = self._open(site, grant.lease, window)
        inspection: MailboxSnapshot | None = None
        try:
            zone = zone_for(await self._zone_setting(grant, run), site.timezone)
            # All-day events are matched as UTC midnights, and edges are read differently: a day more on each side.
            summaries = await run.calendar.view(window.start - MARGIN, window.end + MARGIN)
            run.outcome.answered = True
            links = grant.links
            if not grant.is_known and not self._dry_run:
                await self._learn(grant, run, window)
                links = {**run.outcome.found, **grant.links}
            inspection = MailboxSnapshot(zone, links, summaries)
            run.outcome.forgotten = {
                job_id
                for job_id, link in grant.links.items()
                if isinstance(link, Link) and link.end < window.start - FORGOTTEN_AFTER
            }
        except FAILURES as error:
            run.result.record("", error)
        result = await self._finish(grant.lease, run, {})
        return result if inspection is None or result.trouble else inspection

    async def renew_leases(self) -> None:
        """Renew the leases that were not renewed for ``RENEW_SECONDS``. To be called at least twice a second."""
        due = self._clock.monotonic() - RENEW_SECONDS + _RENEW_EARLY_SECONDS
        leases = [lease for lease in self._leases.values() if lease.renewed_at <= due and not lease.lost]
        renewals = await asyncio.gather(*map(self._store.renew, leases), return_exceptions=True)
        for failure in renewals:
            if isinstance(failure, BaseException):
                raise failure

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

    async def _plan(self, site: Site, grant: Grant, change: Change, window: Window) -> Plan | RunResult:
        run = self._open(site, grant.lease, window)
        planned: Plan | None = None
        for ready in await self._prepare(site, grant, run, _newest(grant, run, [change]), window):
            planned = await run.plan(ready, grant.assignments[ready.job_id])
        result = await self._finish(grant.lease, run, {})
        return result if planned is None or result.trouble else planned

    async def _under_lease(self, site: Site, grant: Grant, changes: Mapping[str, Change], window: Window) -> RunResult:
        run = self._open(site, grant.lease, window)
        work = await self._prepare(site, grant, run, _newest(grant, run, changes.values()), window)
        # A lone change, the common case when little happens, is spared the task.
        reconciling = [run.reconcile(change, grant.assignments[change.job_id]) for change in work]
        await (reconciling[0] if len(reconciling) == 1 else asyncio.gather(*reconciling))
        return await self._finish(grant.lease, run, changes)

    async def _prepare(
        self, site: Site, grant: Grant, run: RunContext, work: list[Change], window: Window
    ) -> list[Change]:
        """Read what the work needs; returns what can be done.

        Without the time zone nothing can. Nothing is created in a mailbox that is not known and cannot be listed. If
        the outcomes of many creates are unknown, one list answers for all of them.
        """
        reads = [self._zone(site, grant, run, work)]
        unlisted: set[str] = set()
        if not grant.is_known:
            unlisted = {change.job_id for change in work if grant.assignments[change.job_id].transaction_id is not None}
        in_doubt = {change.job_id for change in work if is_in_doubt(change, grant.assignments[change.job_id])}
        if len(in_doubt) > _LOOKED_UP_ALONE:
            unlisted |= in_doubt
        if unlisted:
            reads.append(self._list(grant, run, window))
        answers = await asyncio.gather(*reads, return_exceptions=True)
        stopped = (work, [change for change in work if change.job_id in unlisted])
        for answer, impossible in zip(answers, stopped, strict=False):
            if isinstance(answer, FAILURES):
                for change in impossible:
                    run.fail(change, grant.assignments[change.job_id], answer)
                jobs = {change.job_id for change in impossible}
                work = [change for change in work if change.job_id not in jobs]
            elif isinstance(answer, BaseException):
                raise answer
        return work

    async def _list(self, grant: Grant, run: RunContext, window: Window) -> None:
        run.listed = await self._learn(grant, run, window)

    async def _zone(self, site: Site, grant: Grant, run: RunContext, work: list[Change]) -> None:
        if any(times_in(change.state, grant.lease.mailbox) for change in work):
            run.zone = zone_for(await self._zone_setting(grant, run), site.timezone)

    async def _zone_setting(self, grant: Grant, run: RunContext) -> str:
        """The mailbox's time-zone setting, read again hourly.

        One that cannot be read does not keep events out of a calendar that can be written (MailboxInfoStale for
        shared mailboxes: microsoft-graph-explorer-v4#3143). The last setting serves, or the site's time zone if there
        is none (the empty string).
        """
        if grant.zone is not None and grant.zone_is_fresh:
            return grant.zone
        mailbox, now = grant.lease.mailbox, self._clock.monotonic()
        if now < self._zone_again_at.get(mailbox, -math.inf):
            return grant.zone or ""
        try:
            setting = run.outcome.zone = await run.calendar.time_zone()
        except ForbiddenError as error:
            # Perhaps no mailbox of the site lets it be read: the site's others decide, see ``SiteRegistry.judge``.
            raise ForbiddenError(error.code, setting=not error.token, token=error.token) from None
        except (MailboxRefusedError, RequestRefusedError):
            # A refusal of the mailbox itself comes again from its calendar, and counts there.
            return grant.zone or ""
        except TransientError as error:
            if now - _remember(self._zone_failing_since, mailbox, now) < ZONE_PATIENCE_SECONDS:
                raise
            run.unread_zone = str(error)
            return grant.zone or ""
        self._zone_failing_since.pop(mailbox, None)
        self._zone_again_at.pop(mailbox, None)
        return setting

    def do_without_setting(self, mailbox: Mailbox, reason: str) -> None:
        """Use the last known time-zone setting, or the site's time zone, and ask for the setting again in an hour."""
        self._zone_again_at.pop(mailbox, None)
        _remember(self._zone_again_at, mailbox, self._clock.monotonic() + ZONE_AGAIN_SECONDS)
        log.warning("a mailbox's time-zone setting cannot be read", site=mailbox.site, reason=reason)

    async def _learn(self, grant: Grant, run: RunContext, window: Window) -> dict[str, list[EventSummary]]:
        """List all events of the mailbox that carry a tag of its site, and have those without a link linked.

        Returns them by job, the oldest first. An event beyond the window has nothing to be compared with: the sweep
        asks Core for its job.
        """
        site_id, not_before = grant.lease.mailbox.site, window.start - FORGOTTEN_AFTER
        listed: dict[str, list[EventSummary]] = {}
        async with self._listing:
            try:
                events = sorted(await run.calendar.tagged(site_id, not_before), key=_age)
            except RequestRefusedError as error:
                # Unless every read of the mailbox is refused, this says nothing about the mailbox or any record.
                await run.calendar.view(window.start, window.start + _VIEW)
                raise TransientError(f"the mailbox's events cannot be listed: {error}") from None
            named = [(event.tag.removeprefix(f"{site_id}/"), event) for event in events]
            unlinked = [(job_id, event.event_id) for job_id, event in named if job_id not in grant.links]
            elsewhere = await run.linked_elsewhere(unlinked) if unlinked else set()
        for job_id, event in named:
            # Two addresses may lead to one mailbox: the other one's events are not ours.
            if event.event_id not in elsewhere:
                listed.setdefault(job_id, []).append(event)
        run.outcome.answered = True
        run.outcome.listed_in = grant.incarnation
        run.outcome.found = links_of(listed, grant.links)
        run.outcome.beyond = {job_id for job_id, link in run.outcome.found.items() if link.start >= window.end}
        return listed

    async def _finish(self, lease: Lease, run: RunContext, changes: Mapping[str, Change]) -> RunResult:
        try:
            if self._dry_run:
                await self._store.release(lease)
                return run.result
            kept = await self._store.finish(lease, run.outcome)
        except StoreUnavailableError as error:
            return RunResult(trouble=error, in_doubt=run.creates)
        if not kept:
            return RunResult(trouble=TransientError("the lease was lost", retry_after=0.0), in_doubt=run.creates)
        run.result.is_stored = True
        if run.unread_zone and run.outcome.answered:
            # While the calendar does not answer either, the setting is not at fault.
            self.do_without_setting(lease.mailbox, run.unread_zone)
        if run.result.unsettled:
            self._meter.unsettled(lease.mailbox.site, run.result.unsettled)
        for job_id, result in run.result.results.items():
            committed_at = changes[job_id].committed_at
            if result == "applied" and committed_at is not None:
                self._meter.accepted(committed_at)
        return run.result


def _newest(grant: Grant, run: RunContext, changes: Iterable[Change]) -> list[Change]:
    """The changes whose states are the newest known. The others are done, with a result."""
    newest = []
    for change in changes:
        assignment = grant.assignments[change.job_id]
        if assignment.newest:
            newest.append(change)
        else:
            run.result.results[change.job_id] = "outranked" if assignment.outranked else "superseded"
    return newest


def _age(event: EventSummary) -> tuple[float, str]:
    """Sorts the oldest first; one without a date counts as the youngest."""
    return math.inf if event.created is None else event.created.timestamp(), event.event_id


def _remember(times: dict[Mailbox, float], mailbox: Mailbox, value: float) -> float:
    """Keep the first value for a mailbox, of a bounded number of mailboxes; returns it."""
    if mailbox not in times and len(times) >= _UNREADABLE_ZONES:
        del times[next(iter(times))]
    return times.setdefault(mailbox, value)
