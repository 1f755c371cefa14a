"""A dry run: reads as a sweep does, reports what a sweep would do, and writes nothing."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

import structlog

from consumer.domain.compare import Cause, MailboxSnapshot, Unread
from consumer.domain.errors import SiteRefusedError, TransientError
from consumer.domain.job import State, rank
from consumer.domain.mailbox import Mailbox
from consumer.domain.plan import Leave, Plan
from consumer.sync.change import Change, SweepView
from consumer.sync.marks import Mark
from consumer.sync.ranks import RankRequest, Routed
from consumer.sync.receipts import Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.run_context import RunResult
from consumer.sync.site_registry import SiteRegistry
from consumer.sync.sweep_state import SweepState

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 5
_FIRST_WAIT: Final = 0.5
"""Seconds before the second attempt, if the failure names no other wait; doubled for each further one."""
_LAST_RANK: Final = rank(2**62, deleted=True)


@dataclass(frozen=True, slots=True)
class PlannedRepair:
    """A repair that a dry run did not make."""

    mailbox: Mailbox
    job_id: str
    cause: Cause
    plan: Plan | None
    """``None``: Core's state would replace a newer one in Redis, so what it changes cannot be planned yet (ADR 7)."""

    @property
    def step(self) -> str:
        """What the repair would change, in a few words."""
        return "insist on Core's state" if self.plan is None else self.plan.word


PlanSink: TypeAlias = Callable[[PlannedRepair], None]
"""Takes what a dry run plans: one call for each repair that would change Outlook, in no particular order."""


class DryRunLanes:
    """Reads mailboxes and plans their repairs, one at a time for each mailbox; ``on_plan`` gets the plans.

    ``reconciler`` must run dry, too.
    """

    def __init__(self, reconciler: Reconciler, sites: SiteRegistry, on_plan: PlanSink) -> None:
        self._reconciler = reconciler
        self._sites = sites
        self._on_plan = on_plan
        self._turns: WeakValueDictionary[Mailbox, asyncio.Lock] = WeakValueDictionary()
        """Of the mailboxes that are being read or planned now."""

    async def inspect(self, mailbox: Mailbox, _overdue_at: float = math.inf) -> MailboxSnapshot | Unread:
        """See :class:`consumer.sync.sweep_ports.Mailboxes`. No changes wait here, so it is never overdue."""
        try:
            return await self._inspect(mailbox)
        except Exception as error:
            log.critical("unexpected error in an inspection", site=mailbox.site, exc_info=True)
            return Unread("unexpected", f"an unexpected error: {type(error).__name__}")

    async def _inspect(self, mailbox: Mailbox) -> MailboxSnapshot | Unread:
        for attempt in range(_ATTEMPTS):
            site = self._sites.get(mailbox.site)
            if site is None or not self._sites.is_served(mailbox.site):
                break
            async with self._turn(mailbox):
                found = await self._reconciler.inspect(site, mailbox)
            if isinstance(found, MailboxSnapshot):
                self._sites.served(site.site_id, mailbox.address)
                return found
            refusal = found.refusal
            if refusal is not None and found.site is None:
                try:
                    judgement = await self._sites.judge(site, mailbox.address, refusal, _nobody_else)
                except TransientError as trouble:
                    found = RunResult(trouble=trouble)
                else:
                    found.site = judgement if isinstance(judgement, SiteRefusedError) else None
            if not await self._may_retry(mailbox, found, attempt):
                return self._sites.unserved(mailbox.site) if found.site else found.unread(parked=True)
        return self._sites.unserved(mailbox.site)

    async def repair(self, mailbox: Mailbox, job_id: str, state: State, sweep_view: SweepView) -> str:
        """Plan a repair, and report the plan if it changes Outlook.

        Returns:
            What a run would have returned: ``applied``, ``unchanged``, ``stale``, ``outranked``, ``superseded`` or
            ``handed_over``.
        """
        if sweep_view.forced:
            self._on_plan(PlannedRepair(mailbox, job_id, sweep_view.cause, None))
            return "applied"
        planned = await self._plan(mailbox, Change(job_id, state, _no_receipt(), sweep_view=sweep_view))
        if isinstance(planned, str):
            return planned
        if planned.step == Leave(stale=True):
            return "stale"
        if not planned.word:
            return "unchanged"
        self._on_plan(PlannedRepair(mailbox, job_id, sweep_view.cause, planned))
        return "applied"

    async def _plan(self, mailbox: Mailbox, change: Change) -> Plan | str:
        """The plan, or the result of a change that comes to no plan."""
        site = self._sites.get(mailbox.site)
        for attempt in range(_ATTEMPTS):
            if site is None or not self._sites.is_served(mailbox.site):
                break
            async with self._turn(mailbox):
                planned = await self._reconciler.plan(site, mailbox, change)
            if isinstance(planned, Plan):
                return planned
            if change.job_id in planned.results:
                return planned.results[change.job_id]
            if not await self._may_retry(mailbox, planned, attempt):
                break
        return "handed_over"

    def _turn(self, mailbox: Mailbox) -> asyncio.Lock:
        return self._turns.setdefault(mailbox, asyncio.Lock())

    async def _may_retry(self, mailbox: Mailbox, result: RunResult, attempt: int) -> bool:
        """Whether to try again; then it has waited before it returns."""
        if result.site is not None:
            self._sites.suspend(mailbox.site, result.site)
        reason = result.site or result.parked or result.mailbox or result.forbidden
        if reason is not None or attempt == _ATTEMPTS - 1:
            log.warning(
                "mailbox not served", site=mailbox.site, reason=str(reason or result.trouble or result.again or "busy")
            )
            return False
        asked = result.busy if result.trouble is None else result.trouble.retry_after
        await asyncio.sleep(_FIRST_WAIT * 2**attempt if asked is None else asked)
        return True


class DryRunRecords:
    """Drops what a sweep would write to Redis. See :class:`consumer.sync.sweep_ports.SweepRecords`."""

    async def clean(self, _site_id: str, _marks: Sequence[Mark]) -> None:
        """Write nothing."""

    async def forget_zone(self, _mailbox: Mailbox) -> None:
        """Write nothing."""

    async def remember_events(self, _site_id: str, _count: int) -> None:
        """Write nothing."""

    async def remember_unread(self, _site_id: str, _counts: Mapping[str, int]) -> None:
        """Write nothing."""

    async def remember_sweep(self, _site_id: str, _state: SweepState) -> None:
        """Write nothing."""

    async def route(self, requests: Sequence[RankRequest]) -> list[Routed]:
        """Rank each deletion above every known state, and write nothing."""
        return [Routed(_LAST_RANK, _LAST_RANK, ())] * len(requests)


class DryRunMeter:
    """Counts nothing. See :class:`consumer.sync.sweep_ports.SweepMeter`."""

    def swept(self, _site_id: str, _seconds: float) -> None:
        """Count nothing."""

    def repaired(self, _site_id: str, _cause: Cause, _count: int) -> None:
        """Count nothing."""


def _no_receipt() -> Receipt:
    return Receipt(None, lambda _receipt, _result: None, lambda: True)


async def _nobody_else() -> tuple[str, ...]:
    """Name no other mailboxes to compare a refusal with: those that were read in this dry run are compared."""
    return ()
