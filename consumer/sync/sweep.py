"""The sweep: Core's whole schedule of a site against its calendars, as a merge of two ordered streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from consumer.domain.compare import Finding, compare
from consumer.domain.errors import CoreUnavailableError, InvalidRecordError, StoreUnavailableError
from consumer.domain.fuse import is_blown
from consumer.domain.job import Deletion, Job, State
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.change import Change, Look
from consumer.sync.lanes import Lanes
from consumer.sync.ports import Clock, Sighting, Store
from consumer.sync.receipts import Receipt

log = structlog.get_logger(__name__)

MAILBOXES_AT_ONCE: Final = 128
QUESTIONS_AT_ONCE: Final = 4
"""Core is asked for single jobs so many at a time."""
_NO_PARTITION: Final = 2**32 - 1


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


class SweepMeter(Protocol):
    """What is counted of sweeps."""

    def swept(self, site_id: str, seconds: float, *, whole: bool) -> None:
        """A sweep has ended; ``whole`` if nothing was left out."""

    def repaired(self, site_id: str, cause: str, count: int) -> None:
        """Events written by a sweep."""

    def held(self, site_id: str, count: int) -> None:
        """Deletions that the fuse holds back now."""


@dataclass(slots=True)
class Report:
    """What a sweep of one site did."""

    site_id: str
    mailboxes: int = 0
    unserved: int = 0
    """Mailboxes that could not be inspected: parked, or in trouble."""
    events: int = 0
    """Of ours, in the window."""
    unusable: int = 0
    """Rows of Core that say something impossible."""
    repairs: Counter[str] = field(default_factory=Counter)
    held: int = 0
    failure: str | None = None
    """Why the sweep broke off; nothing was deleted then."""

    @property
    def whole(self) -> bool:
        """Whether everything was compared, and nothing held."""
        return self.failure is None and not self.held


class Sweeper:
    """Sweeps sites, one after another or several at a time."""

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        core: ScheduleSource,
        clock: Clock,
        meter: SweepMeter,
        *,
        window_days: int,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._core = core
        self._clock = clock
        self._meter = meter
        self._aliases: set[Mailbox] = set()
        """Mailboxes of which it was told that another address leads to them."""
        self._window_days = window_days

    async def sweep(self, site: Site, *, allow_mass_delete: bool = False) -> Report:
        """Compare everything of a site and repair what differs. Failures are told in the report."""
        started = self._clock.monotonic()
        report = Report(site.site_id)
        try:
            await _Sweep(self._store, self._lanes, self._core, site, report, self._aliases).run(
                Window.of(self._clock.now(), self._window_days), allow_mass_delete=allow_mass_delete
            )
        except (CoreUnavailableError, StoreUnavailableError, InvalidRecordError) as error:
            report.failure = str(error)
            log.error("sweep failed, nothing was deleted", site=site.site_id, reason=str(error))
        if report.held:
            log.error(
                "deletions held: so many jobs vanished that Core may be wrong; see calsync sweep --allow-mass-delete",
                site=site.site_id,
                held=report.held,
                events=report.events,
            )
        for cause, count in report.repairs.items():
            self._meter.repaired(site.site_id, cause, count)
        self._meter.held(site.site_id, report.held)
        self._meter.swept(site.site_id, self._clock.monotonic() - started, whole=report.whole)
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


class _Sweep:
    """One sweep of one site."""

    def __init__(
        self,
        store: Store,
        lanes: Lanes,
        core: ScheduleSource,
        site: Site,
        report: Report,
        aliases: set[Mailbox],
    ) -> None:
        self._aliases = aliases
        self._store = store
        self._lanes = lanes
        self._core = core
        self._site = site
        self._report = report
        self._questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._unlisted: list[tuple[Mailbox, Finding]] = []
        self._stated: list[tuple[Mailbox, Finding, Job]] = []
        self._vanished: list[tuple[Mailbox, Finding]] = []
        self._left: set[str] = set()
        """Jobs whose marks stay: they were held, or handed over once more."""

    async def run(self, window: Window, *, allow_mass_delete: bool) -> None:
        site_id = self._site.site_id
        began = await self._store.time()
        marks = await self._store.dirty(site_id)
        await self._all_mailboxes(window, began)
        # Only now, with Core's list read to its end, may anything be concluded from what it lacks.
        await self._ask_of_unlisted(window, unbounded=allow_mass_delete)
        await self._ask_of_marks(marks)
        await asyncio.gather(*(self._repair(mailbox, finding, job) for mailbox, finding, job in self._stated))
        if self._is_blown and not allow_mass_delete:
            self._report.held = len(self._vanished)
            self._left |= {finding.job_id for _, finding in self._vanished}
        else:
            await self._delete_vanished()
        await self._store.clean(site_id, [mark for mark in marks if mark[1] not in self._left])
        await self._store.remember_events(site_id, self._report.events)

    @property
    def _is_blown(self) -> bool:
        return is_blown(len(self._vanished), self._report.events)

    async def _all_mailboxes(self, window: Window, began: float) -> None:
        room = asyncio.Semaphore(MAILBOXES_AT_ONCE)
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for address, wanted in self._merged(window):
                await room.acquire()
                task = asyncio.create_task(self._mailbox(Mailbox(self._site.site_id, address), wanted, window, began))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(lambda _: room.release())
        finally:
            if tasks:
                await asyncio.gather(*tasks)

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
        inspection = await self._lanes.inspect(mailbox)
        self._report.mailboxes += 1
        if inspection is None:
            self._report.unserved += 1
            return
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

    async def _ask_of_unlisted(self, window: Window, *, unbounded: bool) -> None:
        """Ask Core for each job that its list lacks; once the fuse has blown, for no more of them."""

        async def ask(mailbox: Mailbox, finding: Finding) -> None:
            if finding.basis is None and await self._is_another_addresses(mailbox, finding):
                return
            async with self._questions:
                if self._is_blown and not unbounded:
                    return
                job = await self._core.job(mailbox.site, finding.job_id)
            if job is None:
                self._vanished.append((mailbox, finding))
            elif mailbox in job.mailboxes and job.scheduled and window.holds(*job.scheduled):
                raise CoreUnavailableError("Core's schedule lacks a job that Core itself has in the window")
            else:
                self._stated.append((mailbox, finding, job))

        await asyncio.gather(*(ask(mailbox, finding) for mailbox, finding in self._unlisted))

    async def _is_another_addresses(self, mailbox: Mailbox, finding: Finding) -> bool:
        """Whether the events seen are another address's, by its link: two addresses may lead to one mailbox."""
        others = await self._store.events_of(finding.job_id)
        if not set(finding.event_ids or ()) & set(others.values()):
            return False
        if mailbox not in self._aliases:
            self._aliases.add(mailbox)
            log.warning("two addresses of this site lead to one mailbox", site=mailbox.site, job=finding.job_id)
        return True

    async def _ask_of_marks(self, marks: Sequence[tuple[str, str]]) -> None:
        """What was handed over, in the window or not: its state is Core's of now, in every mailbox it concerns."""
        by_job: dict[str, list[str]] = {}
        for address, job_id in marks:
            by_job.setdefault(job_id, []).append(address)
        known = {(mailbox, finding.job_id) for mailbox, finding in self._vanished}

        async def ask(job_id: str, addresses: Sequence[str]) -> None:
            async with self._questions:
                job = await self._core.job(self._site.site_id, job_id)
            mailboxes = {Mailbox(self._site.site_id, address) for address in addresses if address}
            if "" in addresses:
                [where] = await self._store.route([Sighting(job_id, job.rank if job else 0, _NO_PARTITION, 0)])
                mailboxes |= {*where.holders, *(job.mailboxes if job else ())}
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
        routed = await self._store.route([Sighting(job_id, None, _NO_PARTITION, 0) for job_id in job_ids])
        gone = {job_id: Deletion(job_id, where.rank) for job_id, where in zip(job_ids, routed, strict=True)}
        await asyncio.gather(
            *(self._repair(mailbox, finding, gone[finding.job_id]) for mailbox, finding in self._vanished)
        )

    async def _repair(self, mailbox: Mailbox, finding: Finding, state: State) -> None:
        """Have the mailbox's lane bring the assignment to its state, and wait for what became of it."""
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        receipt = Receipt(None, lambda _, result: None if done.done() else done.set_result(result), lambda: True)
        look = None if finding.event_ids is None else Look(finding.basis, finding.event_ids)
        self._lanes.add(mailbox, Change(finding.job_id, state, receipt, look=look))
        result = await done
        if result == "applied":
            self._report.repairs[finding.cause] += 1
        elif result == "handed_over":
            self._left.add(finding.job_id)
