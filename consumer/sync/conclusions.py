"""What follows from what Core's list lacks: Core is asked for each such job, and the fuse limits deletions."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

import structlog

from consumer.domain.compare import Difference
from consumer.domain.errors import CoreUnavailableError
from consumer.domain.job import Deletion, Job
from consumer.domain.link import Link, Memory
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.sync.bounded import each
from consumer.sync.marks import Mark
from consumer.sync.questions import QUESTIONS_AT_ONCE, Questions, UnansweredError
from consumer.sync.ranks import RankRequest
from consumer.sync.repairs import Repairs
from consumer.sync.report import Report
from consumer.sync.sweep_ports import SweepPorts

log = structlog.get_logger(__name__)

T = TypeVar("T")

UNLISTED_AT_MOST: Final = 50_000
"""How many assignments that Core's list lacks one sweep decides, about 30 MB. The next sweep decides the rest."""
_DECIDED_AT_ONCE: Final = 2000
"""How many jobs Core is asked for before they are repaired: about 2 KB each."""
_ROUTED_AT_ONCE: Final = 500
"""How many deletions are ranked in one round trip to Redis."""
ALIASES_AT_MOST: Final = 10_000
"""How many mailboxes that have a second address are remembered."""
_NO_PARTITION: Final = 2**32 - 1


class ReportedAliases:
    """Logs once for each mailbox that it has two addresses; remembers ``ALIASES_AT_MOST`` mailboxes."""

    def __init__(self) -> None:
        self._mailboxes: set[Mailbox] = set()

    def report(self, mailbox: Mailbox, job_id: str) -> None:
        """Log that the job's event in this mailbox belongs to another address, unless that was logged before."""
        if mailbox not in self._mailboxes and len(self._mailboxes) < ALIASES_AT_MOST:
            self._mailboxes.add(mailbox)
            log.warning("two addresses lead to one mailbox", site=mailbox.site, job=job_id)


class Conclusions:
    """The assignments that Core's list lacks, and what happens to them after the list was read to its end."""

    def __init__(
        self,
        ports: SweepPorts,
        site: Site,
        window: Window,
        repairs: Repairs,
        questions: Questions,
        report: Report,
        aliases: ReportedAliases,
    ) -> None:
        self._memory = ports.memory
        self._records = ports.records
        self._site = site
        self._window = window
        self._repairs = repairs
        self._questions = questions
        self._report = report
        self._aliases = aliases
        self._unlisted: dict[str, dict[Mailbox, Difference]] = {}
        """By job; at most ``UNLISTED_AT_MOST`` assignments."""
        self._noted = 0
        self._stated: list[tuple[Mailbox, Difference, Job]] = []
        """Assignments of at most ``_DECIDED_AT_ONCE`` jobs that Core has, to be repaired."""
        self._vanished: list[tuple[Mailbox, Difference]] = []
        """Assignments of jobs that Core does not have; at most as many as are unlisted or marked."""
        self._losing = 0
        """Vanished assignments with an event to lose."""

    @property
    def overflowed(self) -> bool:
        """Whether the next sweep must decide some of the assignments."""
        return self._noted > UNLISTED_AT_MOST

    def note(self, mailbox: Mailbox, difference: Difference) -> None:
        """Add an assignment whose job Core's list does not have in this mailbox."""
        self._noted += 1
        if not self.overflowed:
            self._unlisted.setdefault(difference.job_id, {})[mailbox] = difference

    def drop(self, mailbox: Mailbox, job_ids: Iterable[str]) -> None:
        """Remove jobs that Core's list has for this mailbox after all, out of order."""
        for job_id in job_ids:
            self._unlisted.get(job_id, {}).pop(mailbox, None)

    def drop_all(self, mailbox: Mailbox) -> None:
        """Remove every job in this mailbox: Core's list has rows for it without a job id, which may be any job's."""
        for mailboxes in self._unlisted.values():
            mailboxes.pop(mailbox, None)

    async def draw(self, marks: Sequence[Mark], *, unnamed_workers: int) -> None:
        """Ask Core for every job that is unlisted or marked, repair what Core states, and delete what vanished, last.

        Marks are removed as soon as their jobs are done, so that a sweep that fails here need not begin again.

        Args:
            marks: what was handed over to this sweep.
            unnamed_workers: how many workers without a mailbox Core's list has.

        Raises:
            CoreUnavailableError: Core did not answer, or contradicted its list. No vanished job's event was deleted.
            TransientError: Redis is unavailable, or no repair succeeds. ``Report.deleted`` counts what was deleted.
        """
        marked: dict[str, list[Mark]] = {}
        for mark in marks:
            marked.setdefault(mark.job_id, []).append(mark)
        for job_ids in _chunks((*self._unlisted, *(marked.keys() - self._unlisted.keys())), _DECIDED_AT_ONCE):
            await self._decide_all({job_id: marked.get(job_id, []) for job_id in job_ids}, unnamed_workers)
        vanished = self._vanished_jobs()
        if self._is_held():
            self._report.held = self._losing
            self._questions.left |= vanished
        else:
            await self._delete_vanished()
        await self._clean(mark for job_id in vanished for mark in marked.get(job_id, ()))

    async def _decide_all(self, marks: Mapping[str, Sequence[Mark]], unnamed_workers: int) -> None:
        """Decide some jobs, each with its marks, and repair those that Core has."""

        async def decide(job_id: str) -> None:
            await self._decide(job_id, {mark.address for mark in marks[job_id]}, unnamed_workers)

        await each(marks, asyncio.Semaphore(QUESTIONS_AT_ONCE), decide)
        stated, self._stated = self._stated, []
        await self._repairs.each(stated)
        vanished = self._vanished_jobs()
        await self._clean(mark for job_id in marks if job_id not in vanished for mark in marks[job_id])

    def _vanished_jobs(self) -> set[str]:
        return {difference.job_id for _, difference in self._vanished}

    def _is_held(self) -> bool:
        """Whether vanished jobs keep their events. If some were not noted, their share of the site is unknown."""
        return self._questions.is_fuse_blown or (self.overflowed and not self._questions.allow_mass_delete)

    async def _clean(self, marks: Iterable[Mark]) -> None:
        done = [mark for mark in marks if mark.job_id not in self._questions.left]
        await self._records.clean(self._site.site_id, done)

    async def _decide(self, job_id: str, marked: set[str], unnamed_workers: int) -> None:
        """Ask Core for one job, and sort its assignments into stated and vanished.

        Args:
            job_id: the job.
            marked: the addresses that were handed over; an empty one means every mailbox of the job.
            unnamed_workers: see :meth:`draw`.
        """
        remembered: Mapping[Mailbox, Memory] = await self._memory.remembered(job_id)
        differences = {
            mailbox: difference
            for mailbox, difference in self._unlisted.get(job_id, {}).items()
            if difference.basis is not None or not self._belongs_to_another_address(mailbox, difference, remembered)
        }
        if not differences and not marked:
            return
        try:
            job = await self._questions.job(self._site.site_id, job_id, remembered)
        except UnansweredError:
            return
        handed_over = {Mailbox(self._site.site_id, address) for address in marked if address}
        if "" in marked:
            handed_over |= {*remembered, *(job.mailboxes if job else ())}
        if job is None:
            for mailbox in sorted(handed_over & remembered.keys() - differences.keys()):
                differences[mailbox] = Difference(job_id, None, "orphaned", remembered[mailbox], None)
            self._note_vanished(differences)
            return
        if not unnamed_workers and any(self._belongs(job, mailbox) for mailbox in differences):
            raise CoreUnavailableError("Core's schedule lacks a job that Core itself has in the window")
        for mailbox in sorted(handed_over - differences.keys()):
            differences[mailbox] = Difference(job_id, job, "edited", None, None)
        self._stated += [(mailbox, difference, job) for mailbox, difference in differences.items()]

    def _belongs(self, job: Job, mailbox: Mailbox) -> bool:
        """Whether Core's list should have the job in this mailbox."""
        return mailbox in job.mailboxes and job.scheduled is not None and self._window.holds(*job.scheduled)

    def _note_vanished(self, differences: Mapping[Mailbox, Difference]) -> None:
        for mailbox, difference in differences.items():
            self._vanished.append((mailbox, difference))
            memory = difference.basis
            if difference.event_ids or (isinstance(memory, Link) and memory.end >= self._window.start):
                self._losing += 1
                self._questions.losing.add(difference.job_id)

    def _belongs_to_another_address(
        self, mailbox: Mailbox, difference: Difference, remembered: Mapping[Mailbox, Memory]
    ) -> bool:
        """Whether the events seen are linked at another address: two addresses may lead to one mailbox."""
        linked = {memory.event_id for memory in remembered.values() if isinstance(memory, Link)}
        if not linked & set(difference.event_ids or ()):
            return False
        self._aliases.report(mailbox, difference.job_id)
        return True

    async def _delete_vanished(self) -> None:
        """Delete the events of jobs that Core does not have. Their state "deleted" ranks above every known one."""
        for vanished in _chunks(self._vanished, _ROUTED_AT_ONCE):
            gone = await self._deletions(sorted({difference.job_id for _, difference in vanished}))
            await self._repairs.each((mailbox, difference, gone[difference.job_id]) for mailbox, difference in vanished)

    async def _deletions(self, job_ids: Sequence[str]) -> dict[str, Deletion]:
        requests = [RankRequest(job_id, None, _NO_PARTITION, 0, self._site.site_id) for job_id in job_ids]
        routed = await self._records.route(requests)
        return {job_id: Deletion(job_id, where.rank) for job_id, where in zip(job_ids, routed, strict=True)}


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
