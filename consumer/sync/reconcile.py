"""One run: take a mailbox's lease, plan, apply, remember, give the lease back. Changes and sweeps both end here."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from consumer.domain.compare import Inspection
from consumer.domain.errors import StoreUnavailableError, TransientError
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.timezones import UTC_ZONE, Zone, zone_for
from consumer.domain.window import Window
from consumer.sync.change import Change
from consumer.sync.ports import (
    Busy,
    Calendars,
    Clock,
    Grant,
    Intent,
    Lease,
    Meter,
    Parked,
    Store,
)
from consumer.sync.settle import FAILURES, Run, Verdict, span

_FRESH_SECONDS: Final = 0.5
"""A lease this new is not renewed yet."""
MARGIN: Final = timedelta(days=1)
"""By how much a view is wider than the window."""
FORGOTTEN_AFTER: Final = timedelta(days=30)
"""A link is forgotten when its event has been over for so long: the event stays, as history."""


class Reconciler:
    """Carries out runs. Holds nothing between them but the leases to be renewed."""

    def __init__(
        self,
        store: Store,
        calendars: Calendars,
        clock: Clock,
        meter: Meter,
        *,
        new_id: Callable[[], str],
        window_days: int,
        dry_run: bool = False,
    ) -> None:
        """``new_id`` makes the random tokens of leases and the transactionIds: 32 hexadecimal digits.

        In a dry run nothing is written but leases, and the results name what would be done.
        """
        self._store = store
        self._calendars = calendars
        self._clock = clock
        self._meter = meter
        self._new_id = new_id
        self._window_days = window_days
        self._dry_run = dry_run
        self._leases: dict[str, Lease] = {}

    async def run(self, site: Site, mailbox: Mailbox, changes: Mapping[str, Change]) -> Verdict:
        """Bring the mailbox to the states in ``changes``. Never raises what a mailbox, a site or Redis may do."""
        window = Window.of(self._clock.now(), self._window_days)
        granted = await self._begin(
            site, mailbox, [self._intent(mailbox, change, window) for change in changes.values()]
        )
        if isinstance(granted, Verdict):
            return granted
        with self._renewed(granted.lease):
            return await self._under_lease(site, granted, changes, window)

    async def inspect(self, site: Site, mailbox: Mailbox) -> Inspection | Verdict:
        """See what the mailbox holds and what we remember of it, under its lease; writes nothing to Outlook."""
        window = Window.of(self._clock.now(), self._window_days)
        granted = await self._begin(site, mailbox, [], everything=True)
        if isinstance(granted, Verdict):
            return granted
        with self._renewed(granted.lease):
            return await self._inspect(site, granted, window)

    async def _begin(
        self, site: Site, mailbox: Mailbox, intents: Sequence[Intent], *, everything: bool = False
    ) -> Grant | Verdict:
        try:
            granted = await self._store.begin(mailbox, site.app, self._new_id(), intents, everything=everything)
        except StoreUnavailableError as error:
            return Verdict(trouble=error)
        match granted:
            case Busy(retry_after):
                return Verdict(busy=retry_after)
            case Parked(code):
                return Verdict(parked=code)
            case Grant():
                return granted

    @contextmanager
    def _renewed(self, lease: Lease) -> Iterator[None]:
        self._leases[lease.token] = lease
        try:
            yield
        finally:
            del self._leases[lease.token]

    async def _inspect(self, site: Site, grant: Grant, window: Window) -> Inspection | Verdict:
        run = Run(self._calendars.open(site, grant.lease), grant.lease.mailbox, window, UTC_ZONE)
        inspection: Inspection | None = None
        try:
            if grant.zone is None:
                run.findings.zone = await run.calendar.time_zone()
            zone = zone_for(run.findings.zone if grant.zone is None else grant.zone, site.timezone)
            # All-day events are matched as UTC midnights, and edges are read differently: a day more on each side.
            glimpses = await run.calendar.view(window.start - MARGIN, window.end + MARGIN)
            inspection = Inspection(zone, grant.links, glimpses)
            run.findings.forgotten = {
                job_id
                for job_id, link in grant.links.items()
                if isinstance(link, Link) and link.end < window.start - FORGOTTEN_AFTER
            }
        except FAILURES as error:
            run.verdict.record("", error)
        verdict = await self._finish(grant.lease, run, {})
        return verdict if inspection is None or verdict.trouble else inspection

    async def renew_leases(self) -> None:
        """Renew every lease that would be too old to send with at the next call. To be called every 3 seconds."""
        due = self._clock.monotonic() - _FRESH_SECONDS
        for lease in [lease for lease in self._leases.values() if lease.renewed_at < due]:
            await self._store.renew(lease)

    def _intent(self, mailbox: Mailbox, change: Change, window: Window) -> Intent:
        when = span(change.state, mailbox)
        may_create = when is not None and window.holds(*when) and not self._dry_run
        insists = change.look is not None and change.look.insists and not self._dry_run
        return Intent(
            change.job_id,
            change.state.rank,
            self._new_id() if may_create else None,
            swept=change.look is not None,
            insists=insists,
        )

    async def _under_lease(self, site: Site, grant: Grant, changes: Mapping[str, Change], window: Window) -> Verdict:
        run = Run(self._calendars.open(site, grant.lease), grant.lease.mailbox, window, UTC_ZONE, self._dry_run)
        work = [change for change in changes.values() if grant.standings[change.job_id].newest]
        for job_id in changes:
            standing = grant.standings[job_id]
            if not standing.newest:
                run.verdict.results[job_id] = "dated" if standing.dated else "superseded"
        try:
            run.zone = await self._zone(site, grant, run, work)
        except FAILURES as error:
            for change in work:
                run.fail(change.job_id, grant.standings[change.job_id], error)
        else:
            # A lone change, the common case when little happens, is spared the task.
            settling = [run.settle(change, grant.standings[change.job_id]) for change in work]
            await (settling[0] if len(settling) == 1 else asyncio.gather(*settling))
        return await self._finish(grant.lease, run, changes)

    async def _zone(self, site: Site, grant: Grant, run: Run, work: list[Change]) -> Zone:
        if not any(span(change.state, grant.lease.mailbox) for change in work):
            return UTC_ZONE
        setting = grant.zone
        if setting is None:
            setting = run.findings.zone = await run.calendar.time_zone()
        return zone_for(setting, site.timezone)

    async def _finish(self, lease: Lease, run: Run, changes: Mapping[str, Change]) -> Verdict:
        try:
            if self._dry_run:
                await self._store.release(lease)
                return run.verdict
            kept = await self._store.finish(lease, run.findings)
        except StoreUnavailableError as error:
            return Verdict(trouble=error)
        if not kept:
            return Verdict(trouble=TransientError("the lease was lost", retry_after=0.0))
        if run.verdict.unsettled:
            self._meter.unsettled(lease.mailbox.site, run.verdict.unsettled)
        for job_id, result in run.verdict.results.items():
            committed_at = changes[job_id].committed_at
            if result == "applied" and committed_at is not None:
                self._meter.accepted(committed_at)
        return run.verdict
