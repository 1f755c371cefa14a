"""A sweep's repairs: single assignments brought to Core's state, a bounded number at a time."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from consumer.domain.compare import Difference
from consumer.domain.errors import TransientError
from consumer.domain.job import Deletion, State
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.sync.bounded import each
from consumer.sync.change import SweepView
from consumer.sync.questions import Questions, UnansweredError
from consumer.sync.report import Report
from consumer.sync.sweep_ports import Mailboxes
from consumer.sync.sweep_store import SweepMemory

REPAIRS_AT_ONCE: Final = 2048
"""How many repairs of one site wait or run at once: enough to fill every batch even if every event is missing."""
REPAIR_SECONDS: Final = 300.0
"""How long one repair may take. A mailbox that fails alone is handed over long before. If no request of the site
succeeds, its sweep must still end, so that other sites get their turn."""
_NOTHING_DONE: Final = frozenset({"unchanged", "stale", "superseded", "outranked", "skipped"})
Repair = tuple[Mailbox, Difference, State]


class Repairs:
    """Has assignments repaired by the mailboxes' runs, and counts what was repaired, by cause."""

    def __init__(self, memory: SweepMemory, mailboxes: Mailboxes, questions: Questions, report: Report) -> None:
        self._memory = memory
        self._mailboxes = mailboxes
        self._questions = questions
        self._report = report
        self._room = asyncio.Semaphore(REPAIRS_AT_ONCE)

    async def each(self, repairs: Iterable[Repair]) -> None:
        """Carry out repairs; over all calls together, ``REPAIRS_AT_ONCE`` at a time."""
        await each(repairs, self._room, lambda repair: self._repair(*repair))

    async def _repair(self, mailbox: Mailbox, difference: Difference, state: State) -> None:
        difference = await self._without_others(mailbox, difference)
        result = await self._carry_out(mailbox, difference, state)
        if result == "outranked":
            result = await self._force(mailbox, difference)
        if result in ("handed_over", "dead_lettered"):
            # Without its mark, the next sweep would not see a job outside the window, nor what is wrong with it.
            self._questions.left.add(difference.job_id)
        elif result not in _NOTHING_DONE:
            self._report.repairs[difference.cause] += 1
            self._report.deleted += isinstance(state, Deletion)

    async def _without_others(self, mailbox: Mailbox, difference: Difference) -> Difference:
        """The difference without events that are linked at another address: two addresses may share a mailbox."""
        linked = difference.basis.event_id if isinstance(difference.basis, Link) else None
        if set(difference.event_ids or ()) <= {linked}:
            return difference
        remembered = await self._memory.remembered(difference.job_id)
        links = [link for holder, link in remembered.items() if holder != mailbox and isinstance(link, Link)]
        others = {link.event_id for link in links} - {linked}
        return replace(
            difference, event_ids=tuple(event for event in difference.event_ids or () if event not in others)
        )

    async def _force(self, mailbox: Mailbox, difference: Difference) -> str:
        """Ask Core once more for a job of which Redis has a newer state, and let Core win (ADR 7).

        Core's database may have been restored from a backup.
        """
        job_id = difference.job_id
        try:
            job = await self._questions.job(mailbox.site, job_id, await self._memory.remembered(job_id))
        except UnansweredError:
            return "skipped"
        if job is None:
            return "skipped"  # the next sweep finds the job missing from Core's list
        return await self._carry_out(mailbox, difference, job, forced=True)

    async def _carry_out(self, mailbox: Mailbox, difference: Difference, state: State, *, forced: bool = False) -> str:
        view = SweepView(difference.basis, difference.event_ids, difference.cause, forced=forced)
        try:
            async with asyncio.timeout(REPAIR_SECONDS):
                return await self._mailboxes.repair(mailbox, difference.job_id, state, view)
        except TimeoutError:
            raise TransientError(f"no repair of the site got through for {REPAIR_SECONDS:.0f} s") from None
