"""Where a dry run's work is done: as in the lanes, but each plan is only named."""

import asyncio
import math
from collections import defaultdict
from typing import Final

import structlog

from consumer.domain.compare import Inspection, Unread
from consumer.domain.errors import SiteRefusedError, TransientError
from consumer.domain.job import State
from consumer.domain.mailbox import Mailbox
from consumer.sync.change import Change, Look
from consumer.sync.receipts import Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.settle import Verdict
from consumer.sync.sites import SiteStates

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 5
_FIRST_WAIT: Final = 0.5


class Rehearsal:
    """Inspects mailboxes and foretells their repairs, with a reconciler that runs dry."""

    def __init__(self, reconciler: Reconciler, sites: SiteStates) -> None:
        self._reconciler = reconciler
        self._sites = sites
        self._turns: defaultdict[Mailbox, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def inspect(self, mailbox: Mailbox, _overdue_at: float = math.inf) -> Inspection | Unread:
        """See :class:`consumer.sync.sweep_ports.Mailboxes`. Nothing here is ever overdue."""
        try:
            return await self._inspected(mailbox)
        except Exception as error:
            log.critical("an inspection failed: an unexpected error", site=mailbox.site, exc_info=True)
            return Unread("unexpected", f"an unexpected error: {type(error).__name__}")

    async def _inspected(self, mailbox: Mailbox) -> Inspection | Unread:
        for attempt in range(_ATTEMPTS):
            site = self._sites.get(mailbox.site)
            if site is None or not self._sites.is_served(mailbox.site):
                break
            async with self._turns[mailbox]:
                found = await self._reconciler.inspect(site, mailbox)
            if isinstance(found, Inspection):
                self._sites.served(site.site_id, mailbox.address)
                return found
            refusal = found.mailbox or found.forbidden or next(iter(found.refused.values()), None)
            if refusal is not None and found.site is None:
                try:
                    judgement = await self._sites.judge(site, mailbox.address, refusal, _nobody_else)
                except TransientError as trouble:
                    found = Verdict(trouble=trouble)
                else:
                    found.site = judgement if isinstance(judgement, SiteRefusedError) else None
            if not await self._is_worth_another(mailbox, found, attempt):
                return self._sites.unserved(mailbox.site) if found.site else found.unread(parked=True)
        return self._sites.unserved(mailbox.site)

    async def repair(self, mailbox: Mailbox, job_id: str, state: State, look: Look) -> str:
        """What the mailbox's lane would do to bring the job to this state, in a word."""
        site = self._sites.get(mailbox.site)
        change = Change(job_id, state, Receipt(None, lambda _receipt, _result: None, lambda: True), look=look)
        for attempt in range(_ATTEMPTS):
            if site is None or not self._sites.is_served(mailbox.site):
                break
            async with self._turns[mailbox]:
                verdict = await self._reconciler.run(site, mailbox, {job_id: change})
            if job_id in verdict.results:
                return verdict.results[job_id]
            if not await self._is_worth_another(mailbox, verdict, attempt):
                break
        return "handed_over"

    async def _is_worth_another(self, mailbox: Mailbox, verdict: Verdict, attempt: int) -> bool:
        """Waits, if so."""
        if verdict.site is not None:
            self._sites.suspend(mailbox.site, verdict.site)
        reason = verdict.site or verdict.parked or verdict.mailbox or verdict.forbidden
        if reason is not None or attempt == _ATTEMPTS - 1:
            log.warning("mailbox not served", site=mailbox.site, reason=str(reason or verdict.trouble or "busy"))
            return False
        asked = verdict.busy if verdict.trouble is None else verdict.trouble.retry_after
        await asyncio.sleep(_FIRST_WAIT * 2**attempt if asked is None else asked)
        return True


async def _nobody_else() -> tuple[str, ...]:
    """A dry run compares the mailboxes that it reads."""
    return ()
