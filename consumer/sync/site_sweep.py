"""One sweep of one site: Core's list and the linked mailboxes, merged; each mailbox read, compared and repaired."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain.compare import MailboxSnapshot, Unread, compare
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.bounded import each
from consumer.sync.conclusions import UNLISTED_AT_MOST, Conclusions
from consumer.sync.marks import Mark
from consumer.sync.questions import Questions
from consumer.sync.reading import COUNTED_AT_MOST, Reading
from consumer.sync.repairs import Repairs
from consumer.sync.report import Report
from consumer.sync.sweep_ports import Mailboxes, ScheduleSource, ServedSites, Wanted
from consumer.sync.sweep_store import SweepStore

MAILBOXES_AT_ONCE: Final = 128
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 30.0
"""Seconds before a mailbox that failed is read again, at least and at most."""


@dataclass(frozen=True, slots=True)
class _Visit:
    """A mailbox to be read, and what Core wants in it."""

    address: str
    wanted: Wanted | None
    wait: float = 0.0
    """Seconds to wait before; if there are any, it is read for the second time."""


class SiteSweep:
    """One sweep of one site. Raises what Core and the store raise; nothing that vanished was deleted then."""

    def __init__(
        self,
        store: SweepStore,
        mailboxes: Mailboxes,
        core: ScheduleSource,
        sites: ServedSites,
        site: Site,
        report: Report,
        aliases: set[Mailbox],
        progress: Callable[[Report], None],
        *,
        overdue_at: float,
        allow_mass_delete: bool,
        dry_run: bool,
    ) -> None:
        """See :meth:`consumer.sync.sweep.Sweeper.sweep`; ``aliases`` outlives this sweep."""
        self._store = store
        self._mailboxes = mailboxes
        self._core = core
        self._sites = sites
        self._site = site
        self._report = report
        self._progress = progress
        self._overdue_at = overdue_at
        self._dry_run = dry_run
        self._ours = f"{site.site_id}/"
        self._reading = Reading(report)
        self._questions = Questions(core, sites, report, allow_mass_delete=allow_mass_delete)
        self._repairs = Repairs(store, mailboxes, self._questions, report, dry_run=dry_run)
        self._conclusions = Conclusions(store, self._repairs, self._questions, site, report, aliases, dry_run=dry_run)
        self._late: list[Wanted] = []
        """What Core's list names at its end, out of its order; the source bounds how many."""
        self._failed: list[_Visit] = []
        """To be read again at the end: at most ``COUNTED_AT_MOST``."""

    async def whole_site(self, window: Window) -> None:
        """Every mailbox that Core names or that has links, and all that was handed over."""
        site_id = self._site.site_id
        began = await self._store.time()
        marks = await self._store.dirty(site_id)
        await self._read(self._merged(window), window, began)
        await self._conclude(window, marks)
        before = await self._store.unread(site_id)
        counts = self._reading.judge(before)
        self._report.read_to_end = True
        if self._dry_run:
            return
        if counts is not None and counts != before:
            await self._store.remember_unread(site_id, counts)
        # If nothing was read, as every mailbox is parked, nothing is known of how many jobs there are.
        if self._report.failure is None and (self._reading.read or not self._report.mailboxes):
            await self._store.remember_events(site_id, len(self._questions.jobs))

    async def one_mailbox(self, address: str, window: Window, *, named: bool) -> None:
        """One mailbox and its marks, its time zone read again; nothing if it is not known, unless it was named."""
        site_id = self._site.site_id
        began = await self._store.time()
        marks = [mark for mark in await self._store.dirty(site_id) if mark.address == address]
        self._questions.jobs_before = await self._store.events(site_id)
        await self._read(self._only(address, window, named=named), window, began)
        if not self._report.mailboxes:
            return
        await self._conclude(window, marks)
        before = await self._store.unread(site_id)
        self._reading.judge(before)
        if not self._dry_run and self._reading.read and address in before:
            await self._store.remember_unread(
                site_id, {known: count for known, count in before.items() if known != address}
            )

    async def _read(self, visits: AsyncGenerator[_Visit, None], window: Window, began: float) -> None:
        """Read every mailbox, and those that failed once more."""
        room = asyncio.Semaphore(MAILBOXES_AT_ONCE)
        await each(visits, room, lambda visit: self._visit(visit, window, began))
        late = [_Visit(wanted.address, wanted) for wanted in self._late]
        await each(late, room, lambda visit: self._visit(visit, window, began))
        failed, self._failed = self._failed, []
        await each(failed, room, lambda visit: self._visit(visit, window, began))
        for wanted in self._late:
            mailbox = Mailbox(self._site.site_id, wanted.address)
            self._conclusions.drop(mailbox, (*wanted.jobs, *wanted.unusable))
            if wanted.nameless:
                self._conclusions.drop_all(mailbox)

    async def _conclude(self, window: Window, marks: Sequence[Mark]) -> None:
        """Only now, with Core's list read to its end, may anything be concluded from what it lacks."""
        await self._conclusions.draw(window, marks)
        if self._conclusions.overflowed:
            self._report.failure = f"Core's list lacks the jobs of over {UNLISTED_AT_MOST} events: sweep once more"
        if not self._sites.is_served(self._site.site_id):
            # Its repairs were handed over, whatever was read.
            self._report.failure = self._report.failure or self._sites.unserved(self._site.site_id).reason

    async def _merged(self, window: Window) -> AsyncGenerator[_Visit, None]:
        """Every address that Core names in its order or that has links, once, in byte order."""
        async with aclosing(self._linked()) as linked, aclosing(self._listed(window)) as listed:
            ours = await anext(linked, None)
            async for wanted in listed:
                while ours is not None and ours.encode() < wanted.address.encode():
                    yield _Visit(ours, None)
                    ours = await anext(linked, None)
                if ours == wanted.address:
                    ours = await anext(linked, None)
                yield _Visit(wanted.address, wanted)
            while ours is not None:
                yield _Visit(ours, None)
                ours = await anext(linked, None)

    async def _only(self, address: str, window: Window, *, named: bool) -> AsyncGenerator[_Visit, None]:
        """This address, if it is known: Core's list is read to its end before."""
        found: Wanted | None = None
        async with aclosing(self._listed(window)) as listed:
            async for wanted in listed:
                if wanted.address == address:
                    found = wanted
        self._late = [wanted for wanted in self._late if wanted.address == address]
        if not (named or found or self._late):
            async with aclosing(self._linked()) as linked:
                if address not in [known async for known in linked]:
                    return
        if not self._dry_run:
            await self._store.forget_zone(Mailbox(self._site.site_id, address))
        yield _Visit(address, found)

    async def _listed(self, window: Window) -> AsyncGenerator[Wanted, None]:
        """What Core lists in its order; what it lists at the end, out of its order, is put aside."""
        schedule = self._core.schedule(self._site.site_id, window)
        try:
            async for wanted in schedule:
                self._conclusions.unnamed_workers = wanted.unnamed_workers
                if wanted.late:
                    self._late.append(wanted)
                else:
                    yield wanted
        finally:
            if isinstance(schedule, AsyncGenerator):
                await schedule.aclose()

    async def _linked(self) -> AsyncGenerator[str, None]:
        after = ""
        while page := await self._store.linked(self._site.site_id, after):
            for address in page:
                yield address
            after = page[-1]

    async def _visit(self, visit: _Visit, window: Window, began: float) -> None:
        mailbox, is_first = Mailbox(self._site.site_id, visit.address), not visit.wait
        if visit.wait:
            await asyncio.sleep(visit.wait)
        found = await self._mailboxes.inspect(mailbox, self._overdue_at)
        self._report.mailboxes += is_first
        if isinstance(found, MailboxSnapshot):
            self._reading.was_read()
            await self._compare(mailbox, visit.wanted, found, window, began)
        elif is_first and found.cause in ("failed", "refused", "unexpected") and len(self._failed) < COUNTED_AT_MOST:
            self._failed.append(replace(visit, wait=_wait(found)))
        else:
            self._reading.was_not_read(visit.address, found)
        self._progress(self._report)

    async def _compare(
        self, mailbox: Mailbox, wanted: Wanted | None, inspection: MailboxSnapshot, window: Window, began: float
    ) -> None:
        jobs: Mapping[str, Job] = wanted.jobs if wanted else {}
        unusable = wanted.unusable if wanted else {}
        is_late = wanted is not None and wanted.late
        nameless = wanted.nameless if wanted else 0
        self._report.unusable += len(unusable) + nameless
        if not is_late:
            self._count_events(inspection, window)
        repairs = []
        for difference in compare(self._site.site_id, jobs, unusable, inspection, window, read_began=began):
            if difference.job is not None:
                repairs.append((mailbox, difference, difference.job))
            elif not is_late and not nameless:
                # Of a mailbox that comes late, the other jobs were listed before; a row without a name may be of any.
                self._conclusions.note(mailbox, difference)
        if repairs:
            await self._repairs.each(repairs)

    def _count_events(self, inspection: MailboxSnapshot, window: Window) -> None:
        count_job = self._questions.jobs.add
        for summary in inspection.summaries:
            if summary.tag.startswith(self._ours):
                self._report.events += 1
                if summary.end is None or summary.end >= window.start:
                    count_job(summary.tag)


def _wait(unread: Unread) -> float:
    return min(max(unread.retry_after or 0.0, _SHORTEST_WAIT), _LONGEST_WAIT)
