"""What a sweep concludes from what Core's list lacks: Core is asked for each such job; the fuse guards deletions."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

import structlog

from consumer.domain.compare import Difference
from consumer.domain.errors import CoreUnavailableError
from consumer.domain.job import Deletion, Job, rank
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
from consumer.sync.sweep_store import ConclusionStore

log = structlog.get_logger(__name__)

T = TypeVar("T")

UNLISTED_AT_MOST: Final = 50_000
"""About how many assignments that Core's list lacks one sweep decides, some 30 MB. The rest is left to the next."""
_DECIDED_AT_ONCE: Final = 2000
"""How many jobs are asked for before what Core states of them is repaired: full jobs, of about 2 KB each."""
_ROUTED_AT_ONCE: Final = 500
_NO_PARTITION: Final = 2**32 - 1
_LAST_RANK: Final = rank(2**62, deleted=True)


class Conclusions:
    """The assignments that Core's list lacks, and what becomes of them once the list is read to its end."""

    def __init__(
        self,
        store: ConclusionStore,
        repairs: Repairs,
        questions: Questions,
        site: Site,
        report: Report,
        aliases: set[Mailbox],
        *,
        dry_run: bool,
    ) -> None:
        """``aliases``: mailboxes that were reported to have another address."""
        self._store = store
        self._repairs = repairs
        self._questions = questions
        self._site = site
        self._report = report
        self._aliases = aliases
        self._dry_run = dry_run
        self._unlisted: dict[str, dict[Mailbox, Difference]] = {}
        self._noted = 0
        self._stated: list[tuple[Mailbox, Difference, Job]] = []
        self._vanished: list[tuple[Mailbox, Difference]] = []
        self.unnamed_workers = 0
        """Entries of Core's list that name no mailbox: the jobs that it lacks may be theirs."""
        self._losing = 0
        """Vanished assignments with an event to lose."""

    @property
    def overflowed(self) -> bool:
        """Whether some assignments are left to the next sweep."""
        return self._noted > UNLISTED_AT_MOST

    def note(self, mailbox: Mailbox, difference: Difference) -> None:
        """An assignment of which Core's list does not have the job in this mailbox."""
        self._noted += 1
        if not self.overflowed:
            self._unlisted.setdefault(difference.job_id, {})[mailbox] = difference

    def drop(self, mailbox: Mailbox, job_ids: Iterable[str]) -> None:
        """Core's list has these after all, out of its order."""
        for job_id in job_ids:
            self._unlisted.get(job_id, {}).pop(mailbox, None)

    def drop_all(self, mailbox: Mailbox) -> None:
        """Core's list has rows for this mailbox that name no job: each may be that of any job."""
        for mailboxes in self._unlisted.values():
            mailboxes.pop(mailbox, None)

    async def draw(self, window: Window, marks: Sequence[Mark]) -> None:
        """Ask Core for what is unlisted or marked, repair what it states, and delete what has vanished, last.

        Marks are removed as soon as their jobs are done, so that a sweep that breaks off need not start again.

        Raises:
            CoreUnavailableError: Core did not answer, or contradicted its list. Nothing that vanished was deleted.
        """
        marked: dict[str, list[Mark]] = {}
        for mark in marks:
            marked.setdefault(mark.job_id, []).append(mark)
        room = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        for job_ids in _chunks((*self._unlisted, *(marked.keys() - self._unlisted.keys())), _DECIDED_AT_ONCE):
            await each(
                job_ids,
                room,  # the rest waits here, not in tasks
                lambda job_id: self._decide(job_id, [mark.address for mark in marked.get(job_id, ())], window),
            )
            stated, self._stated = self._stated, []
            await self._repairs.each(stated)
            vanished = {difference.job_id for _, difference in self._vanished}
            await self._clean(mark for job_id in job_ids if job_id not in vanished for mark in marked.get(job_id, ()))
        vanished = {difference.job_id for _, difference in self._vanished}
        if self._is_held():
            self._report.held = self._losing
            self._questions.left |= vanished
        else:
            await self._delete_vanished()
        await self._clean(mark for job_id in vanished for mark in marked.get(job_id, ()))

    def _is_held(self) -> bool:
        """Whether vanished jobs keep their events. Of more than were noted, their share of the site is not known."""
        return self._questions.is_fuse_blown or (self.overflowed and not self._questions.allow_mass_delete)

    async def _clean(self, marks: Iterable[Mark]) -> None:
        if not self._dry_run:
            await self._store.clean(
                self._site.site_id, [mark for mark in marks if mark.job_id not in self._questions.left]
            )

    async def _decide(self, job_id: str, marked: Collection[str], window: Window) -> None:
        """Sort a job's assignments by what Core says of it: stated or vanished. One question, however many there are.

        Args:
            job_id: the job.
            marked: addresses that were handed over; an empty one means all that the job concerns.
            window: what the list was asked for.
        """
        remembered: Mapping[Mailbox, Memory] = await self._store.remembered(job_id)
        differences = {
            mailbox: difference
            for mailbox, difference in self._unlisted.get(job_id, {}).items()
            if difference.basis is not None or not self._is_another_addresses(mailbox, difference, remembered)
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
            self._note_vanished(differences, window)
        else:
            self._note_stated(job, differences, handed_over, window)

    def _note_vanished(self, differences: Mapping[Mailbox, Difference], window: Window) -> None:
        for mailbox, difference in differences.items():
            self._vanished.append((mailbox, difference))
            memory = difference.basis
            if difference.event_ids or (isinstance(memory, Link) and memory.end >= window.start):
                self._losing += 1
                self._questions.losing.add(difference.job_id)

    def _note_stated(
        self, job: Job, differences: Mapping[Mailbox, Difference], handed_over: set[Mailbox], window: Window
    ) -> None:
        for mailbox, difference in differences.items():
            is_wanted = mailbox in job.mailboxes and job.scheduled and window.holds(*job.scheduled)
            if is_wanted and not self.unnamed_workers:
                raise CoreUnavailableError("Core's schedule lacks a job that Core itself has in the window")
            self._stated.append((mailbox, difference, job))
        for mailbox in sorted(handed_over - differences.keys()):
            self._stated.append((mailbox, Difference(job.job_id, job, "edited", None, None), job))

    def _is_another_addresses(
        self, mailbox: Mailbox, difference: Difference, remembered: Mapping[Mailbox, Memory]
    ) -> bool:
        """Whether the events seen are another address's, by its link: two addresses may lead to one mailbox."""
        linked = {memory.event_id for memory in remembered.values() if isinstance(memory, Link)}
        if not linked & set(difference.event_ids or ()):
            return False
        if mailbox not in self._aliases:
            self._aliases.add(mailbox)
            log.warning("two addresses of this site lead to one mailbox", site=mailbox.site, job=difference.job_id)
        return True

    async def _delete_vanished(self) -> None:
        """Delete the events of jobs that Core no longer has: the state "deleted" ranks above every one known."""
        for vanished in _chunks(self._vanished, _ROUTED_AT_ONCE):
            gone = await self._deletions(sorted({difference.job_id for _, difference in vanished}))
            await self._repairs.each((mailbox, difference, gone[difference.job_id]) for mailbox, difference in vanished)

    async def _deletions(self, job_ids: Sequence[str]) -> dict[str, Deletion]:
        if self._dry_run:
            return {job_id: Deletion(job_id, _LAST_RANK) for job_id in job_ids}
        site_id = self._site.site_id
        routed = await self._store.route([RankRequest(job_id, None, _NO_PARTITION, 0, site_id) for job_id in job_ids])
        return {job_id: Deletion(job_id, where.rank) for job_id, where in zip(job_ids, routed, strict=True)}


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
