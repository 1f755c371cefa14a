"""A sweep's repairs: single assignments brought to Core's state, a bounded number at a time."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from consumer.domain.compare import Difference
from consumer.domain.errors import TransientError
from consumer.domain.job import State
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.sync.bounded import each
from consumer.sync.change import SweepView
from consumer.sync.questions import Questions, UnansweredError
from consumer.sync.report import Planned, Report
from consumer.sync.sweep_ports import Mailboxes
from consumer.sync.sweep_store import ConclusionStore

REPAIRS_AT_ONCE: Final = 2048
"""Of one site: enough to fill every batch, also when everything in it is new."""
PATIENCE_SECONDS: Final = 300.0
"""How long one repair may take. A mailbox that fails alone is handed over long before; if nothing of the site gets
through, its sweep must end all the same, so that other sites have their turn."""
_NOTHING_DONE: Final = frozenset({"unchanged", "stale", "superseded", "outranked", "skipped"})
Repair = tuple[Mailbox, Difference, State]


class Repairs:
    """Has assignments repaired where the work is done, and reports what became of them."""

    def __init__(
        self, store: ConclusionStore, mailboxes: Mailboxes, questions: Questions, report: Report, *, dry_run: bool
    ) -> None:
        self._store = store
        self._mailboxes = mailboxes
        self._questions = questions
        self._report = report
        self._dry_run = dry_run
        self._room = asyncio.Semaphore(REPAIRS_AT_ONCE)

    async def each(self, repairs: Iterable[Repair]) -> None:
        """Carry out repairs; over all calls together, ``REPAIRS_AT_ONCE`` at a time."""
        await each(repairs, self._room, lambda repair: self._repair(*repair))

    async def _repair(self, mailbox: Mailbox, difference: Difference, state: State) -> None:
        difference = await self._without_others(mailbox, difference)
        sweep_view = SweepView(difference.basis, difference.event_ids)
        result = await self._carried_out(mailbox, difference.job_id, state, sweep_view)
        if result == "outranked":
            result = await self._insist(mailbox, difference)
        if result in ("handed_over", "dead_lettered"):
            # Graph refuses what we sent: without its mark, a job outside the window would be forgotten with its fault.
            self._questions.left.add(difference.job_id)
        elif result not in _NOTHING_DONE:
            self._report.repairs[difference.cause] += 1
            if self._dry_run:
                self._report.planned.append(Planned(mailbox.address, difference.job_id, result, difference.cause))

    async def _without_others(self, mailbox: Mailbox, difference: Difference) -> Difference:
        """The finding less the events that are another address's by its link: two may lead to one mailbox."""
        linked = difference.basis.event_id if isinstance(difference.basis, Link) else None
        if set(difference.event_ids or ()) <= {linked}:
            return difference
        remembered = await self._store.remembered(difference.job_id)
        links = [link for holder, link in remembered.items() if holder != mailbox and isinstance(link, Link)]
        others = {link.event_id for link in links} - {linked}
        return replace(
            difference, event_ids=tuple(event for event in difference.event_ids or () if event not in others)
        )

    async def _insist(self, mailbox: Mailbox, difference: Difference) -> str:
        """What we know to be newer is old: Core's database may have been restored. Asked once more, Core wins."""
        job_id = difference.job_id
        try:
            job = await self._questions.job(mailbox.site, job_id, await self._store.remembered(job_id))
        except UnansweredError:
            return "skipped"
        if job is None:
            return "skipped"  # the next sweep finds it unlisted
        if self._dry_run:
            return "insist on Core's state"
        sweep_view = SweepView(difference.basis, difference.event_ids, forced=True)
        return await self._carried_out(mailbox, job_id, job, sweep_view)

    async def _carried_out(self, mailbox: Mailbox, job_id: str, state: State, sweep_view: SweepView) -> str:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._mailboxes.repair(mailbox, job_id, state, sweep_view)
        except TimeoutError:
            raise TransientError(f"no repair of the site got through for {PATIENCE_SECONDS:.0f} s") from None
