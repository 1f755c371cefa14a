"""One sweep of one site, from reading Core to the verdict on whether the sweep is complete."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from consumer.domain.compare import MailboxSnapshot, Unread, compare
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.bounded import each
from consumer.sync.conclusions import UNLISTED_AT_MOST, Conclusions, ReportedAliases
from consumer.sync.questions import Questions
from consumer.sync.reading import COUNTED_AT_MOST, Reading
from consumer.sync.repairs import Repairs
from consumer.sync.report import Report
from consumer.sync.sweep_ports import SweepPorts, Wanted
from consumer.sync.visits import Visit, Visits

MAILBOXES_AT_ONCE: Final = 128
"""How many mailboxes of one site are read at once."""
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 30.0
"""Seconds before a mailbox that failed is read again, at least and at most."""


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What to sweep, and how."""

    site: Site
    window: Window
    overdue_at: float
    """From this time on, on the monotonic clock, the sweep gets its share of runs even while changes wait."""
    allow_mass_delete: bool
    """Delete the events of vanished jobs even if the fuse has blown."""
    progress: Callable[[Report], None]
    """Called with the report each time a mailbox has been visited."""


class SiteSweep:
    """One sweep of one site. Raises what Core and Redis raise; ``Sweeper`` then reports a failed sweep.

    Deletions of vanished jobs come last. If an error ends the sweep between them, ``Report.deleted`` counts those made.

    Everything that a sweep has in memory or under way is bounded: ``MAILBOXES_AT_ONCE`` visits, ``REPAIRS_AT_ONCE``
    repairs, ``QUESTIONS_AT_ONCE`` questions to Core, ``UNLISTED_AT_MOST`` assignments that Core's list lacks, and
    ``COUNTED_AT_MOST`` mailboxes to read again. When it ends, in any way, none of its tasks is left.
    """

    def __init__(self, ports: SweepPorts, request: SweepRequest, report: Report, aliases: ReportedAliases) -> None:
        """``report`` grows during the sweep; ``aliases`` is shared by all sweeps of this process."""
        site, window = request.site, request.window
        self._ports = ports
        self._request = request
        self._report = report
        self._site_id = site.site_id
        self._our_tags = f"{site.site_id}/"
        self._visits = Visits(ports.core, ports.memory, site.site_id, window)
        self._reading = Reading(report)
        self._questions = Questions(ports.core, ports.sites, report, allow_mass_delete=request.allow_mass_delete)
        self._repairs = Repairs(ports.memory, ports.mailboxes, self._questions, report)
        self._conclusions = Conclusions(ports, site, window, self._repairs, self._questions, report, aliases)
        self._failed: list[Visit] = []
        """Mailboxes to read again at the end; at most ``COUNTED_AT_MOST``."""

    async def sweep_site(self) -> None:
        """Compare every mailbox of the site with Core's schedule, and repair what differs.

        1. Note Redis's time, and read which assignments were handed over (marked dirty).
        2. Read two ordered streams, Core's list and the addresses with links, and visit each address once: read the
           calendar and the links, compare them with Core's list, and repair what the list decides. A mailbox that
           could not be read is read once more at the end.
        3. Core's list has now been read to its end. Only now may anything follow from what it lacks: ask Core for
           each such job by id, repair what Core states, and delete the events of vanished jobs, unless the fuse blows.
        4. Decide whether the sweep is complete (:meth:`_judge`), and store what the next sweep compares itself with.

        An error of Core or Redis ends the sweep at any step. It is raised, and ``Sweeper`` puts it into the report.
        """
        began = await self._ports.memory.time()
        marks = await self._ports.memory.dirty(self._site_id)
        await self._visit_all(self._visits.whole_site(), began)
        await self._conclusions.draw(marks, unnamed_workers=self._visits.unnamed_workers)
        before = await self._ports.memory.unread(self._site_id)
        counts = self._judge(before)
        await self._remember(before, counts)

    async def sweep_mailbox(self, address: str, *, named: bool) -> None:
        """The same for one mailbox and its marks, with its time zone read again.

        Args:
            address: the mailbox.
            named: sweep it even if neither Core nor a link names it; otherwise nothing is done then.
        """
        memory, records = self._ports.memory, self._ports.records
        began = await memory.time()
        marks = [mark for mark in await memory.dirty(self._site_id) if mark.address == address]
        self._questions.jobs_before = await memory.events(self._site_id)
        visit = await self._visits.find(address, named=named)
        if visit is None:
            return
        await records.forget_zone(Mailbox(self._site_id, address))
        await self._visit_all([visit], began)
        await self._conclusions.draw(marks, unnamed_workers=self._visits.unnamed_workers)
        before = await memory.unread(self._site_id)
        self._judge(before)
        if self._reading.read and address in before:
            others = {known: count for known, count in before.items() if known != address}
            await records.remember_unread(self._site_id, others)

    async def _visit_all(self, visits: Iterable[Visit] | AsyncGenerator[Visit, None], began: float) -> None:
        room = asyncio.Semaphore(MAILBOXES_AT_ONCE)
        visit = partial(self._visit, began)
        await each(visits, room, visit)
        late = self._visits.late
        await each([Visit(wanted.address, wanted) for wanted in late], room, visit)
        failed, self._failed = self._failed, []
        await each(failed, room, visit)
        for wanted in late:
            mailbox = Mailbox(self._site_id, wanted.address)
            self._conclusions.drop(mailbox, (*wanted.jobs, *wanted.unusable))
            if wanted.nameless:
                self._conclusions.drop_all(mailbox)

    async def _visit(self, began: float, visit: Visit) -> None:
        """Read one mailbox, compare it and repair it. One that fails for the first time is put aside."""
        mailbox = Mailbox(self._site_id, visit.address)
        if visit.wait:
            await asyncio.sleep(visit.wait)
        found = await self._ports.mailboxes.inspect(mailbox, self._request.overdue_at)
        self._report.mailboxes += visit.is_first
        if isinstance(found, MailboxSnapshot):
            self._reading.was_read()
            await self._compare(mailbox, visit.wanted, found, began)
        elif visit.is_first and found.is_worth_retry and len(self._failed) < COUNTED_AT_MOST:
            self._failed.append(replace(visit, wait=_wait(found)))
        else:
            self._reading.was_not_read(visit.address, found)
        self._request.progress(self._report)

    async def _compare(self, mailbox: Mailbox, wanted: Wanted | None, snapshot: MailboxSnapshot, began: float) -> None:
        jobs: Mapping[str, Job] = wanted.jobs if wanted else {}
        unusable = wanted.unusable if wanted else {}
        is_late = wanted is not None and wanted.late
        nameless = wanted.nameless if wanted else 0
        self._report.unusable += len(unusable) + nameless
        if not is_late:
            self._count_events(snapshot)
        repairs = []
        for difference in compare(self._site_id, jobs, unusable, snapshot, self._request.window, read_began=began):
            if difference.job is not None:
                repairs.append((mailbox, difference, difference.job))
            elif not is_late and not nameless:
                # A late mailbox's other jobs were listed before. A row without a job id may belong to any job.
                self._conclusions.note(mailbox, difference)
        if repairs:
            await self._repairs.each(repairs)

    def _count_events(self, snapshot: MailboxSnapshot) -> None:
        count_job, now = self._questions.jobs.add, self._request.window.start
        for summary in snapshot.summaries:
            if summary.tag.startswith(self._our_tags):
                self._report.events += 1
                if summary.end is None or summary.end >= now:
                    count_job(summary.tag)

    def _judge(self, before: Mapping[str, int]) -> dict[str, int] | None:
        """Decide whether the sweep is complete. If it is not, ``report.failure`` has the first of the reasons.

        The sweep failed if Core's list lacks more assignments than one sweep decides, if the site was suspended or
        paused meanwhile, so that its repairs were handed over, or if mailboxes were not read (:meth:`Reading.judge`).

        Args:
            before: see :meth:`Reading.judge`, as is what is returned.
        """
        if self._conclusions.overflowed:
            self._report.failure = f"Core's list lacks the jobs of over {UNLISTED_AT_MOST} events: sweep once more"
        elif not self._ports.sites.is_served(self._site_id):
            self._report.failure = self._ports.sites.unserved(self._site_id).reason
        return self._reading.judge(before)

    async def _remember(self, before: Mapping[str, int], counts: dict[str, int] | None) -> None:
        """Store which mailboxes could not be read and, after a complete sweep, how many jobs have an event."""
        if counts is not None and counts != before:
            await self._ports.records.remember_unread(self._site_id, counts)
        # If every mailbox is parked, none was read, and the number of jobs is not known.
        if self._report.failure is None and (self._reading.read or not self._report.mailboxes):
            await self._ports.records.remember_events(self._site_id, len(self._questions.jobs))


def _wait(unread: Unread) -> float:
    return min(max(unread.retry_after or 0.0, _SHORTEST_WAIT), _LONGEST_WAIT)
