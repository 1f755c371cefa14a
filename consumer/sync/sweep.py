"""The sweep: Core's whole schedule of a site against its calendars, as a merge of two ordered streams."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from consumer.domain.compare import Finding, Inspection, Unread, compare
from consumer.domain.errors import CoreUnavailableError, InvalidRecordError, StoreUnavailableError, TransientError
from consumer.domain.fuse import is_blown
from consumer.domain.job import Deletion, Job, State, rank
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.change import Look
from consumer.sync.ports import Clock, Mark, Sighting, Store
from consumer.sync.report import Planned, Report

log = structlog.get_logger(__name__)

MAILBOXES_AT_ONCE: Final = 128
QUESTIONS_AT_ONCE: Final = 4
"""Core is asked for single jobs so many at a time."""
_NO_PARTITION: Final = 2**32 - 1
_LAST_RANK: Final = rank(2**62, deleted=True)
_NOTHING_DONE: Final = frozenset({"unchanged", "stale", "superseded", "dated", "skipped", "dead_lettered"})


class Wanted(Protocol):
    """All that Core wants in one mailbox."""

    address: str
    jobs: dict[str, Job]
    unusable: dict[str, str]


class ScheduleSource(Protocol):
    """Core. Raises ``CoreUnavailableError``: a failed read is an error, never an empty list."""

    def schedule(self, site_id: str, window: Window) -> AsyncIterator[Wanted]:
        """What is wanted in each mailbox of the site, in the byte order of the addresses."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """One job, or ``None`` if there is none. Raises ``InvalidRecordError`` too."""


class Mailboxes(Protocol):
    """Where the work is done: the lanes, or a rehearsal."""

    def inspect(self, mailbox: Mailbox, overdue_at: float, /) -> Awaitable[Inspection | Unread | TransientError | None]:
        """What it holds, or why that cannot be told now; ``None`` if it is parked or its site is not served."""

    def repair(self, mailbox: Mailbox, job_id: str, state: State, look: Look) -> Awaitable[str]:
        """Bring a job to its state there; what became of it."""


class SweepMeter(Protocol):
    """What is counted of sweeps."""

    def swept(self, site_id: str, seconds: float, *, whole: bool) -> None:
        """A sweep has ended; ``whole`` if nothing was left out."""

    def repaired(self, site_id: str, cause: str, count: int) -> None:
        """Events written by a sweep."""

    def held(self, site_id: str, count: int) -> None:
        """Deletions that the fuse holds back now."""


class Sweeper:
    """Sweeps sites, one after another or several at a time."""

    def __init__(
        self,
        store: Store,
        mailboxes: Mailboxes,
        core: ScheduleSource,
        clock: Clock,
        meter: SweepMeter,
        *,
        window_days: int,
        dry_run: bool = False,
    ) -> None:
        """A dry run needs a rehearsal for ``mailboxes``."""
        self._store = store
        self._mailboxes = mailboxes
        self._core = core
        self._clock = clock
        self._meter = meter
        self._window_days = window_days
        self._dry_run = dry_run
        self._aliases: set[Mailbox] = set()
        """Mailboxes of which it was told that another address leads to them."""

    async def sweep(
        self,
        site: Site,
        *,
        allow_mass_delete: bool = False,
        only: str | None = None,
        named: bool = True,
        overdue_at: float = math.inf,
        progress: Callable[[Report], None] = lambda _report: None,
    ) -> Report:
        """Compare everything of a site and repair what differs. Failures are told in the report.

        Args:
            site: whose calendars.
            allow_mass_delete: let vanished jobs' events go, however many.
            only: sweep this address alone, whether Core and the links know of it or not.
            named: that it is of this site was said by a person; else Core or a link must say so.
            overdue_at: from when on, on the monotonic clock, it has its share of the runs whatever changes wait.
            progress: called with the report whenever a mailbox has been compared.
        """
        started = self._clock.monotonic()
        report = Report(site.site_id)
        sweep = _Sweep(
            self._store,
            self._mailboxes,
            self._core,
            site,
            report,
            self._aliases,
            progress,
            overdue_at=overdue_at,
            allow_mass_delete=allow_mass_delete,
            dry_run=self._dry_run,
        )
        window = Window.of(self._clock.now(), self._window_days)
        try:
            await (sweep.whole_site(window) if only is None else sweep.one_mailbox(only, window, named=named))
        except (CoreUnavailableError, StoreUnavailableError, InvalidRecordError) as error:
            report.failure = str(error)
            log.error("sweep failed, nothing was deleted", site=site.site_id, reason=str(error))
        if report.troubles:
            self._tell_troubles(report)
        if report.held:
            log.error(
                "deletions held: so many jobs vanished that Core may be wrong; see calsync sweep --allow-mass-delete",
                site=site.site_id,
                held=report.held,
                events=report.events,
            )
        if not self._dry_run and only is None:
            self._count(report, self._clock.monotonic() - started)
        log.info(
            "site swept" if report.failure is None else "sweep broken off",
            site=site.site_id,
            mailboxes=report.mailboxes,
            unserved=report.unserved,
            events=report.events,
            unusable=report.unusable,
            repairs=dict(report.repairs),
            seconds=round(self._clock.monotonic() - started, 2),
        )
        return report

    @staticmethod
    def _tell_troubles(report: Report) -> None:
        """A sick mailbox fails no sweep; but one that could look at none has compared nothing."""
        [(reason, _)] = report.troubles.most_common(1)
        count = report.troubles.total()
        if report.unserved == report.mailboxes:
            report.failure = report.failure or f"no mailbox could be read: {reason}"
        log.warning("mailboxes could not be read", site=report.site_id, mailboxes=count, reason=reason)

    def _count(self, report: Report, seconds: float) -> None:
        for cause, count in report.repairs.items():
            self._meter.repaired(report.site_id, cause, count)
        self._meter.held(report.site_id, report.held)
        self._meter.swept(report.site_id, seconds, whole=report.whole)


class _Sweep:
    """One sweep of one site."""

    def __init__(
        self,
        store: Store,
        mailboxes: Mailboxes,
        core: ScheduleSource,
        site: Site,
        report: Report,
        aliases: set[Mailbox],
        progress: Callable[[Report], None],
        *,
        overdue_at: float,
        allow_mass_delete: bool,
        dry_run: bool,
    ) -> None:
        self._store = store
        self._mailboxes = mailboxes
        self._core = core
        self._site = site
        self._report = report
        self._aliases = aliases
        self._progress = progress
        self._overdue_at = overdue_at
        self._allow_mass_delete = allow_mass_delete
        self._dry_run = dry_run
        self._questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._events_before = 0
        """Of the whole site, if only one mailbox is swept."""
        self._unlisted: list[tuple[Mailbox, Finding]] = []
        self._stated: list[tuple[Mailbox, Finding, Job]] = []
        self._vanished: list[tuple[Mailbox, Finding]] = []
        self._left: set[str] = set()
        """Jobs whose marks stay: they were held, or handed over once more."""

    async def whole_site(self, window: Window) -> None:
        """Every mailbox that Core names or that has links, and all that was handed over."""
        site_id = self._site.site_id
        began = await self._store.time()
        marks = await self._store.dirty(site_id)
        await self._all_mailboxes(window, began)
        await self._conclude(window, marks)
        if not self._dry_run:
            await self._store.remember_events(site_id, self._report.events)

    async def one_mailbox(self, address: str, window: Window, *, named: bool) -> None:
        """One mailbox and its marks, its time zone read again; nothing if it is not known, unless it was named."""
        site_id, mailbox = self._site.site_id, Mailbox(self._site.site_id, address)
        began = await self._store.time()
        marks = [mark for mark in await self._store.dirty(site_id) if mark.address == address]
        wanted = None
        async for roster in self._core.schedule(site_id, window):
            if roster.address == address:
                wanted = roster
        if not (named or wanted or address in [linked async for linked in self._linked()]):
            return
        if not self._dry_run:
            await self._store.forget_zone(mailbox)
        self._events_before = await self._store.events(site_id)
        await self._mailbox(mailbox, wanted, window, began)
        await self._conclude(window, marks)

    async def _conclude(self, window: Window, marks: Sequence[Mark]) -> None:
        """Only now, with Core's list read to its end, may anything be concluded from what it lacks."""
        await self._ask_of_unlisted(window)
        await self._ask_of_marks(marks)
        await asyncio.gather(*(self._repair(mailbox, finding, job) for mailbox, finding, job in self._stated))
        if self._is_blown and not self._allow_mass_delete:
            self._report.held = len(self._vanished)
            self._left |= {finding.job_id for _, finding in self._vanished}
        else:
            await self._delete_vanished()
        if not self._dry_run:
            await self._store.clean(self._site.site_id, [mark for mark in marks if mark.job_id not in self._left])

    @property
    def _is_blown(self) -> bool:
        return is_blown(len(self._vanished), max(self._report.events, self._events_before))

    async def _all_mailboxes(self, window: Window, began: float) -> None:
        room = asyncio.Semaphore(MAILBOXES_AT_ONCE)
        tasks: set[asyncio.Task[None]] = set()
        failures: list[BaseException] = []

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            room.release()
            if not task.cancelled() and (failure := task.exception()) is not None:
                failures.append(failure)

        try:
            async for address, wanted in self._merged(window):
                await room.acquire()
                if failures:
                    break
                task = asyncio.create_task(self._mailbox(Mailbox(self._site.site_id, address), wanted, window, began))
                tasks.add(task)
                task.add_done_callback(ended)
        finally:
            await asyncio.gather(*tasks, return_exceptions=True)
        if failures:
            raise failures[0]

    async def _merged(self, window: Window) -> AsyncIterator[tuple[str, Wanted | None]]:
        """Every address that Core names or that has links, once, in byte order."""
        linked = self._linked()
        ours = await anext(linked, None)
        async for wanted in self._core.schedule(self._site.site_id, window):
            while ours is not None and ours.encode() < wanted.address.encode():
                yield ours, None
                ours = await anext(linked, None)
            if ours == wanted.address:
                ours = await anext(linked, None)
            yield wanted.address, wanted
        while ours is not None:
            yield ours, None
            ours = await anext(linked, None)

    async def _linked(self) -> AsyncIterator[str]:
        after = ""
        while page := await self._store.linked(self._site.site_id, after):
            for address in page:
                yield address
            after = page[-1]

    async def _mailbox(self, mailbox: Mailbox, wanted: Wanted | None, window: Window, began: float) -> None:
        inspection = await self._mailboxes.inspect(mailbox, self._overdue_at)
        self._report.mailboxes += 1
        if not isinstance(inspection, Inspection):
            self._report.unserved += 1
            if inspection is not None:
                self._report.troubles[str(inspection)] += 1
        else:
            await self._compare(mailbox, wanted, inspection, window, began)
        self._progress(self._report)

    async def _compare(
        self, mailbox: Mailbox, wanted: Wanted | None, inspection: Inspection, window: Window, began: float
    ) -> None:
        jobs: Mapping[str, Job] = wanted.jobs if wanted else {}
        unusable = wanted.unusable if wanted else {}
        self._report.unusable += len(unusable)
        ours = f"{self._site.site_id}/"
        self._report.events += sum(glimpse.tag.startswith(ours) for glimpse in inspection.glimpses)
        findings = compare(self._site.site_id, jobs, unusable, inspection, window, read_began=began)
        self._unlisted += [(mailbox, finding) for finding in findings if finding.job is None]
        repairs = [self._repair(mailbox, finding, finding.job) for finding in findings if finding.job is not None]
        if repairs:
            await asyncio.gather(*repairs)

    async def _ask_of_unlisted(self, window: Window) -> None:
        """Ask Core for each job that its list lacks; once the fuse has blown, for no more of them."""

        async def ask(mailbox: Mailbox, finding: Finding) -> None:
            if finding.basis is None and await self._is_another_addresses(mailbox, finding):
                return
            async with self._questions:
                if self._is_blown and not self._allow_mass_delete:
                    return
                try:
                    job = await self._job(finding.job_id)
                except InvalidRecordError:
                    self._is_unusable(finding.job_id)
                    return
            if job is None:
                self._vanished.append((mailbox, finding))
            elif mailbox in job.mailboxes and job.scheduled and window.holds(*job.scheduled):
                raise CoreUnavailableError("Core's schedule lacks a job that Core itself has in the window")
            else:
                self._stated.append((mailbox, finding, job))

        await asyncio.gather(*(ask(mailbox, finding) for mailbox, finding in self._unlisted))

    async def _job(self, job_id: str) -> Job | None:
        """The job as Core has it, at another site too if that holds its event: then it has moved, not vanished."""
        held = {mailbox.site for mailbox in await self._store.events_of(job_id)} - {self._site.site_id}
        for site_id in (self._site.site_id, *sorted(held)):
            job = await self._core.job(site_id, job_id)
            if job is not None:
                return job
        return None

    def _is_unusable(self, job_id: str) -> None:
        """One row that says something impossible costs no other: its event is left, and its mark stays."""
        self._report.unusable += 1
        self._left.add(job_id)

    async def _is_another_addresses(self, mailbox: Mailbox, finding: Finding) -> bool:
        """Whether the events seen are another address's, by its link: two addresses may lead to one mailbox."""
        others = await self._store.events_of(finding.job_id)
        if not set(finding.event_ids or ()) & set(others.values()):
            return False
        if mailbox not in self._aliases:
            self._aliases.add(mailbox)
            log.warning("two addresses of this site lead to one mailbox", site=mailbox.site, job=finding.job_id)
        return True

    async def _ask_of_marks(self, marks: Sequence[Mark]) -> None:
        """What was handed over, in the window or not: its state is Core's of now, in every mailbox it concerns."""
        by_job: dict[str, list[str]] = {}
        for mark in marks:
            by_job.setdefault(mark.job_id, []).append(mark.address)
        known = {(mailbox, finding.job_id) for mailbox, finding in self._vanished}

        async def ask(job_id: str, addresses: Sequence[str]) -> None:
            async with self._questions:
                try:
                    job = await self._job(job_id)
                except InvalidRecordError:
                    self._is_unusable(job_id)
                    return
            mailboxes = {Mailbox(self._site.site_id, address) for address in addresses if address}
            if "" in addresses:
                mailboxes |= {*await self._store.holders(job_id), *(job.mailboxes if job else ())}
            finding = Finding(job_id, job, "orphaned" if job is None else "edited", None, None)
            for mailbox in sorted(mailboxes):
                if job is not None:
                    self._stated.append((mailbox, finding, job))
                elif (mailbox, job_id) not in known:
                    self._vanished.append((mailbox, finding))

        await asyncio.gather(*(ask(job_id, addresses) for job_id, addresses in by_job.items()))

    async def _delete_vanished(self) -> None:
        """The events of jobs that Core has no more: their state ranks above every one known of them."""
        job_ids = sorted({finding.job_id for _, finding in self._vanished})
        if self._dry_run:
            ranks = [_LAST_RANK] * len(job_ids)
        else:
            site_id = self._site.site_id
            routed = await self._store.route([Sighting(job_id, None, _NO_PARTITION, 0, site_id) for job_id in job_ids])
            ranks = [where.rank for where in routed]
        gone = {job_id: Deletion(job_id, rank) for job_id, rank in zip(job_ids, ranks, strict=True)}
        await asyncio.gather(
            *(self._repair(mailbox, finding, gone[finding.job_id]) for mailbox, finding in self._vanished)
        )

    async def _without_others(self, mailbox: Mailbox, finding: Finding) -> Finding:
        """The finding less the events that are another address's by its link: two may lead to one mailbox."""
        linked = finding.basis.event_id if isinstance(finding.basis, Link) else None
        if set(finding.event_ids or ()) <= {linked}:
            return finding
        events = await self._store.events_of(finding.job_id)
        others = {event_id for holder, event_id in events.items() if holder != mailbox} - {linked}
        return replace(finding, event_ids=tuple(event for event in finding.event_ids or () if event not in others))

    async def _repair(self, mailbox: Mailbox, finding: Finding, state: State) -> None:
        finding = await self._without_others(mailbox, finding)
        look = Look(finding.basis, finding.event_ids)
        result = await self._mailboxes.repair(mailbox, finding.job_id, state, look)
        if result == "dated":
            result = await self._insist(mailbox, finding)
        if result == "handed_over":
            self._left.add(finding.job_id)
        elif result not in _NOTHING_DONE:
            self._report.repairs[finding.cause] += 1
            if self._dry_run:
                self._report.planned.append(Planned(mailbox.address, finding.job_id, result, finding.cause))

    async def _insist(self, mailbox: Mailbox, finding: Finding) -> str:
        """What we know to be newer is old: Core's database may have been restored. Asked once more, Core wins."""
        async with self._questions:
            try:
                job = await self._job(finding.job_id)
            except InvalidRecordError:
                self._is_unusable(finding.job_id)
                return "skipped"
        if job is None:
            return "skipped"  # the next sweep finds it unlisted
        if self._dry_run:
            return "insist on Core's state"
        look = Look(finding.basis, finding.event_ids, insists=True)
        return await self._mailboxes.repair(mailbox, finding.job_id, job, look)
