"""Where a dry run's work is done: as in the lanes, but each plan is only named."""

import asyncio
import math
from collections import defaultdict
from typing import Final

import structlog

from consumer.domain.compare import MailboxSnapshot, Unread
from consumer.domain.errors import SiteRefusedError, TransientError
from consumer.domain.job import State
from consumer.domain.mailbox import Mailbox
from consumer.sync.change import Change, SweepView
from consumer.sync.receipts import Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.run_context import RunResult
from consumer.sync.site_registry import SiteRegistry

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 5
_FIRST_WAIT: Final = 0.5


class DryRunLanes:
    """Inspects mailboxes and foretells their repairs, with a reconciler that runs dry."""

    def __init__(self, reconciler: Reconciler, sites: SiteRegistry) -> None:
        self._reconciler = reconciler
        self._sites = sites
        self._turns: defaultdict[Mailbox, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def inspect(self, mailbox: Mailbox, _overdue_at: float = math.inf) -> MailboxSnapshot | Unread:
        """See :class:`consumer.sync.sweep_ports.Mailboxes`. Nothing here is ever overdue."""
        try:
            return await self._inspected(mailbox)
        except Exception as error:
            log.critical("an inspection failed: an unexpected error", site=mailbox.site, exc_info=True)
            return Unread("unexpected", f"an unexpected error: {type(error).__name__}")

    async def _inspected(self, mailbox: Mailbox) -> MailboxSnapshot | Unread:
        for attempt in range(_ATTEMPTS):
            site = self._sites.get(mailbox.site)
            if site is None or not self._sites.is_served(mailbox.site):
                break
            async with self._turns[mailbox]:
                found = await self._reconciler.inspect(site, mailbox)
            if isinstance(found, MailboxSnapshot):
                self._sites.served(site.site_id, mailbox.address)
                return found
            refusal = found.mailbox or found.forbidden or next(iter(found.refused.values()), None)
            if refusal is not None and found.site is None:
                try:
                    judgement = await self._sites.judge(site, mailbox.address, refusal, _nobody_else)
                except TransientError as trouble:
                    found = RunResult(trouble=trouble)
                else:
                    found.site = judgement if isinstance(judgement, SiteRefusedError) else None
            if not await self._is_worth_another(mailbox, found, attempt):
                return self._sites.unserved(mailbox.site) if found.site else found.unread(parked=True)
        return self._sites.unserved(mailbox.site)

    async def repair(self, mailbox: Mailbox, job_id: str, state: State, sweep_view: SweepView) -> str:
        """What the mailbox's lane would do to bring the job to this state, in a word."""
        site = self._sites.get(mailbox.site)
        change = Change(
            job_id, state, Receipt(None, lambda _receipt, _result: None, lambda: True), sweep_view=sweep_view
        )
        for attempt in range(_ATTEMPTS):
            if site is None or not self._sites.is_served(mailbox.site):
                break
            async with self._turns[mailbox]:
                result = await self._reconciler.run(site, mailbox, {job_id: change})
            if job_id in result.planned:
                return result.planned[job_id]
            if job_id in result.results:
                return result.results[job_id]
            if not await self._is_worth_another(mailbox, result, attempt):
                break
        return "handed_over"

    async def _is_worth_another(self, mailbox: Mailbox, result: RunResult, attempt: int) -> bool:
        """Waits, if so."""
        if result.site is not None:
            self._sites.suspend(mailbox.site, result.site)
        reason = result.site or result.parked or result.mailbox or result.forbidden
        if reason is not None or attempt == _ATTEMPTS - 1:
            log.warning("mailbox not served", site=mailbox.site, reason=str(reason or result.trouble or "busy"))
            return False
        asked = result.busy if result.trouble is None else result.trouble.retry_after
        await asyncio.sleep(_FIRST_WAIT * 2**attempt if asked is None else asked)
        return True


async def _nobody_else() -> tuple[str, ...]:
    """A dry run compares the mailboxes that it reads."""
    return ()
