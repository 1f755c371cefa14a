"""One run, or one inspection, of a lane: what is carried out when its turn comes, and what follows from the result."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Protocol

import structlog

from consumer.domain.compare import MailboxSnapshot, Unread
from consumer.domain.errors import RequestRefusedError, StoreUnavailableError, TransientError
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.sync.after_run import (
    DeadLetterChanges,
    Decision,
    Done,
    Failed,
    HandOver,
    Judge,
    Park,
    RunAgain,
    RunLater,
    Step,
    Suspend,
    WithoutSetting,
    after_failure,
    after_judgement,
    after_run,
)
from consumer.sync.app_health import AppHealth
from consumer.sync.change import Change
from consumer.sync.foreign import Foreign
from consumer.sync.lane import Inspected, Lane, LaneIndex
from consumer.sync.lane_store import LaneStore
from consumer.sync.neighbours import ASKED
from consumer.sync.ports import Clock
from consumer.sync.reconcile import Reconciler
from consumer.sync.refusals import Judgement, Refusal
from consumer.sync.run_context import RunResult
from consumer.sync.site_registry import SiteRegistry

log = structlog.get_logger(__name__)


class RefusedChanges(Protocol):
    """Takes the changes whose events Graph calls malformed."""

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """Answer for the change's records from now on. Returns at once: the mailbox goes on."""


class LaneRuns:
    """Carries out the runs of lanes. Every method returns how many seconds the rest of the lane must wait."""

    def __init__(
        self,
        reconciler: Reconciler,
        store: LaneStore,
        sites: SiteRegistry,
        clock: Clock,
        random: Random,
        refused: RefusedChanges,
        lanes: LaneIndex,
        apps: AppHealth,
    ) -> None:
        self._reconciler = reconciler
        self._store = store
        self._sites = sites
        self._clock = clock
        self._random = random
        self._refused = refused
        self._lanes = lanes
        self._apps = apps
        self._foreign = Foreign()

    async def run(self, lane: Lane) -> float:
        """Carry out what the lane has taken: its changes, or without any, the inspection that a sweep waits for."""
        for change in [change for change in lane.running.values() if not change.live]:
            # The new owner of their partition gets their records again.
            self._lanes.drop(lane, change, "skipped")
        try:
            return await (self._carry_out(lane) if lane.running else self._inspect(lane))
        except Exception as error:
            log.critical("unexpected error after a run", site=lane.mailbox.site, exc_info=error)
            if not lane.running and lane.inspection is not None:
                lane.answer(lane.inspection, _unexpected(error))
            lane.well = False
            return self._back_off(lane)

    async def _carry_out(self, lane: Lane) -> float:
        site = self._sites.get(lane.mailbox.site)
        if site is None:
            for change in list(lane.running.values()):
                self._lanes.drop(lane, change, "skipped")
            return 0.0
        if not self._sites.is_served(site.site_id):
            self._sites.turned_away(site.site_id, lane.mailbox.address)
            return await self._hand_over(lane, HandOver())
        if early := lane.history.early(self._clock.monotonic()):
            return await self._do(lane, site, Failed(TransientError("Graph has asked us to wait", retry_after=early)))
        try:
            result = await self._reconciler.run(site, lane.mailbox, lane.running)
        except Exception as error:
            log.critical("unexpected error in a run", site=site.site_id, exc_info=True)
            result = RunResult(trouble=TransientError(f"an unexpected error: {type(error).__name__}", unknown=True))
        for job_id, became in result.results.items():
            self._lanes.drop(lane, lane.running[job_id], became)
        for job_id, change in lane.running.items():
            known = None if result.is_stored else change.transaction_id
            change.transaction_id = result.in_doubt.get(job_id, known)
        return await self._follow(lane, site, result)

    async def _inspect(self, lane: Lane) -> float:
        """Inspect once: if it fails, the sweep that asked decides when to try again."""
        asked = lane.inspection
        if asked is None:
            return 0.0  # the lane's changes had lost their partition, and no sweep asks
        if asked.done():
            lane.inspection = None  # the sweep that asked was cancelled
            return 0.0
        try:
            found, wait = await self._inspected(lane)
        except Exception as error:
            # Every failure must reach the sweep, or it would wait without end.
            log.critical("unexpected error in an inspection", site=lane.mailbox.site, exc_info=True)
            found, wait = _unexpected(error), 0.0
        if found is not None:
            lane.answer(asked, found)
        return wait

    async def _inspected(self, lane: Lane) -> tuple[Inspected | None, float]:
        """What was found, or ``None`` while another run has the mailbox; and how long the rest must wait."""
        site = self._sites.get(lane.mailbox.site)
        if site is None or not self._sites.is_served(site.site_id):
            return self._sites.unserved(lane.mailbox.site), 0.0
        if early := lane.history.early(self._clock.monotonic()):
            return Unread("failed", "Graph has asked us to wait", early), 0.0
        answer = await self._reconciler.inspect(site, lane.mailbox)
        if isinstance(answer, MailboxSnapshot):
            self._succeeded(lane, site)
            return answer, 0.0
        if answer.busy is not None:
            return None, answer.busy
        wait = await self._follow(lane, site, answer)
        if not self._sites.is_served(site.site_id):
            return self._sites.unserved(site.site_id), wait
        return answer.unread(parked=False), wait

    async def _follow(self, lane: Lane, site: Site, result: RunResult) -> float:
        """Decide what follows from a result, and do it."""
        if "applied" in result.results.values():
            self._succeeded(lane, site)
        step: Decision = after_run(result, is_site_replaced=self._sites.get(site.site_id) is not site)
        if isinstance(step, Judge):
            judgement = await self._judge(lane, site, step.refusal)
            is_recovering = self._sites.is_recovering(site.site_id, step.refusal.code)
            step = after_judgement(step.refusal, judgement, result, is_recovering=is_recovering)
            if isinstance(step, Park):
                return await self._park(lane, step, result)
        if isinstance(step, DeadLetterChanges):
            await self._dead_letter(lane, step.refused)
            step = step.then
        if isinstance(step, Failed) and not result.results and lane.running and lane.inspection is not None:
            # Nothing gets through: a sweep must not wait behind changes for as long as that lasts.
            lane.answer(lane.inspection, Unread("failed", str(step.error), step.error.retry_after))
        return await self._do(lane, site, step)

    async def _do(self, lane: Lane, site: Site, step: Step) -> float:
        if isinstance(step, Failed):
            step = self._failed(lane, site, step.error)
        match step:
            case Done():
                lane.history.cleared()
                return 0.0
            case RunAgain():
                return 0.0
            case RunLater(seconds):
                return seconds
            case HandOver():
                return await self._hand_over(lane, step)
            case Park():
                return await self._park(lane, step, RunResult())
            case WithoutSetting(reason):
                self._reconciler.do_without_setting(lane.mailbox, reason)
                return 0.0
            case Suspend(fault):
                self._sites.suspend(site.site_id, fault)
                return await self._hand_over(lane, HandOver())

    def _succeeded(self, lane: Lane, site: Site) -> None:
        """The mailbox has answered, so a job that still fails is counted on its own."""
        lane.history.cleared()
        self._apps.succeeded(site.app)
        self._foreign.answered(lane.mailbox)
        self._sites.served(site.site_id, lane.mailbox.address)

    def _failed(self, lane: Lane, site: Site, error: TransientError) -> RunLater | RunAgain | HandOver | Park:
        now, served, history = self._clock.monotonic(), self._apps.served(site.app), lane.history
        failing_since = history.failing_since
        step = after_failure(
            error,
            history,
            lane.running.values(),
            now=now,
            served=served,
            is_foreign_for_long=error.foreign and self._foreign.failed(lane.mailbox, now, served),
            random=self._random,
        )
        if isinstance(step, RunAgain) or (isinstance(step, HandOver) and isinstance(step.then, RunAgain)):
            return step
        lane.well = False
        if not isinstance(error, StoreUnavailableError):
            self._apps.failed(site.app)
        if failing_since is not None and self._apps.is_report_due(site.app, failing_since):
            log.warning("no request of the site succeeds, its work waits", site=site.site_id, reason=str(error))
        return step

    def _back_off(self, lane: Lane) -> float:
        """Back off after an unexpected error, or when Redis could not mark or park."""
        lane.history.failures += 1
        return lane.history.backoff(None, self._random).seconds

    async def _judge(self, lane: Lane, site: Site, refusal: Refusal) -> Judgement | TransientError:
        """Whose fault the refusal is; the error, if that cannot be concluded now."""
        try:
            return await self._sites.judge(site, lane.mailbox.address, refusal, lambda: self._others_of(lane.mailbox))
        except TransientError as error:
            return error

    async def _others_of(self, mailbox: Mailbox) -> Sequence[str]:
        """Other addresses of the site: first some that have events, then some that have work here."""
        linked = {*await self._store.linked(mailbox.site, "")} - {mailbox.address}
        here = {lane.mailbox.address for lane in self._lanes if lane.mailbox.site == mailbox.site}
        first, then = sorted(linked), sorted(here - linked - {mailbox.address})
        return [address for group in (first, then) for address in self._random.sample(group, min(ASKED, len(group)))]

    async def _park(self, lane: Lane, step: Park, result: RunResult) -> float:
        """Park the mailbox and hand its work over. The result shows it."""
        try:
            await self._store.park(lane.mailbox, step.code, hourly=step.hourly)
        except StoreUnavailableError:
            return self._back_off(lane)
        result.parked = step.code
        log.warning("mailbox parked", site=lane.mailbox.site, code=step.code, hourly=step.hourly)
        return await self._hand_over(lane, HandOver())

    async def _hand_over(self, lane: Lane, step: HandOver) -> float:
        """Mark work for the sweep and give its receipts back. Work that cannot be marked is kept."""
        site_id = lane.mailbox.site
        if step.jobs is None:
            lane.take_rest()
            if step.reason:
                log.warning("mailbox handed over to the sweep", site=site_id, reason=step.reason)
        else:
            log.warning("failing jobs handed over to the sweep", site=site_id, jobs=step.jobs, reason=step.reason)
        jobs = list(lane.running) if step.jobs is None else list(step.jobs)
        then = step.then.seconds if isinstance(step.then, RunLater) else 0.0
        if not jobs:
            return then
        try:
            await self._store.mark_dirty([(lane.mailbox, job_id) for job_id in jobs])
        except StoreUnavailableError:
            return max(then, self._back_off(lane))
        for job_id in jobs:
            self._lanes.drop(lane, lane.running[job_id], "handed_over")
        return then

    async def _dead_letter(self, lane: Lane, refused: Mapping[str, RequestRefusedError]) -> None:
        """Dead-letter what Graph calls malformed in a mailbox that answers."""
        for job_id, refusal in refused.items():
            if job_id in lane.running:
                site_id = lane.mailbox.site
                log.error("event refused by Graph", site=site_id, job=job_id, status=refusal.status, code=refusal.code)
                await self._refused.refuse(lane.running[job_id], refusal)
                self._lanes.drop(lane, lane.running[job_id], "dead_lettered")


def _unexpected(error: Exception) -> Unread:
    return Unread("unexpected", f"an unexpected error: {type(error).__name__}")
