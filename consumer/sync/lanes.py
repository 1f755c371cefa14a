"""Lanes: all the work for one mailbox, one run after another, many mailboxes at a time."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol, TypeAlias

import structlog

from consumer.domain.compare import MailboxSnapshot, Unread
from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    SiteRefusedError,
    StoreUnavailableError,
    TransientError,
)
from consumer.domain.job import State
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.sync.apply import RunResult
from consumer.sync.change import Change, SweepView
from consumer.sync.foreign import FOREIGN_CODE, Foreign
from consumer.sync.lane_store import LaneStore
from consumer.sync.neighbours import ASKED
from consumer.sync.ports import Clock
from consumer.sync.receipts import Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.refusals import Refusal
from consumer.sync.site_registry import Judgement, SiteRegistry
from consumer.sync.turns import Slots, Turns

log = structlog.get_logger(__name__)

RUNS_AT_ONCE: Final = 640
"""Enough that one busy app fills every batch in flight with its share; small enough that memory stays flat."""
HAND_OVER_SECONDS: Final = 120.0
"""How long a mailbox, or a change in it, may fail before it is handed over, if the app was served meanwhile.

If it was not, Graph is down as a whole, or the tenant is: then nothing is handed over, and the lag pages.
"""
OVERDUE_SHARE: Final = 10
"""One run in this number is for an overdue sweep, even while changes wait."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_REPORT_SECONDS: Final = 60.0
_SILENT_SECONDS: Final = 10.0
RELIEVE_AT_ONCE: Final = 1000
"""How many assignments :meth:`Lanes.relieve` hands over in one go."""
Inspected: TypeAlias = MailboxSnapshot | Unread
"""What an inspection found, or why there was none."""


@dataclass(slots=True, eq=False)
class _Lane:
    mailbox: Mailbox
    app: str = ""
    """Whose turn it takes, as of when it began to wait for a run."""
    waiting: dict[str, Change] = field(default_factory=dict)
    running: dict[str, Change] = field(default_factory=dict)
    busy: bool = False
    inspection: asyncio.Future[Inspected] | None = None
    """What a sweep waits for; changes go first."""
    overdue_at: float = math.inf
    """From when on, on the monotonic clock, that sweep is to have its share all the same."""
    queued: bool = False
    timer: asyncio.TimerHandle | None = None
    well: bool = True
    """Whether the last run met no trouble."""
    failures: int = 0
    failing_since: float | None = None
    not_before: float = 0.0
    """Until when, on the monotonic clock, we were asked to wait."""


class RefusedChanges(Protocol):
    """Takes the changes whose events Graph calls malformed."""

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """Answer for the change's records from now on. Returns at once: the mailbox goes on."""


class Lanes:
    """Takes changes, runs each mailbox's lane when it is due, and gives the receipts back."""

    def __init__(
        self,
        reconciler: Reconciler,
        store: LaneStore,
        sites: SiteRegistry,
        clock: Clock,
        random: Random,
        refused: RefusedChanges,
        *,
        runs_at_once: int = RUNS_AT_ONCE,
    ) -> None:
        self._reconciler = reconciler
        self._store = store
        self._sites = sites
        self._clock = clock
        self._random = random
        self._refused = refused
        self._slots = Slots(runs_at_once, clock.monotonic)
        self._lanes: dict[Mailbox, _Lane] = {}
        self._ready: Turns[_Lane] = Turns(self._slots)
        self._to_inspect: Turns[_Lane] = Turns(self._slots)
        self._tasks: set[asyncio.Task[None]] = set()
        self._jobs: dict[str, set[Mailbox]] = {}
        self._last_success: dict[str, float] = {}
        self._failing: dict[str, float] = {}
        """Since when, on the monotonic clock, nothing but trouble comes from an app."""
        self._foreign = Foreign()
        self._reported: dict[str, float] = {}
        self._runs = 0
        self._stopping = False

    @property
    def busy(self) -> int:
        """Lanes with a run under way."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Lanes with work that is not being done."""
        return sum(1 for lane in self._lanes.values() if lane.waiting and not lane.busy)

    def holding(self, job_id: str) -> frozenset[Mailbox]:
        """The mailboxes in which this replica has the job in flight or waiting."""
        return frozenset(self._jobs.get(job_id, ()))

    def newest(self, job_id: str) -> int:
        """The highest rank of the job that this replica has in flight or waiting; 0 if it has none."""
        lanes = [self._lanes[mailbox] for mailbox in self._jobs.get(job_id, ())]
        changes = [work.get(job_id) for lane in lanes for work in (lane.waiting, lane.running)]
        return max((change.state.rank for change in changes if change), default=0)

    def add(self, mailbox: Mailbox, change: Change) -> None:
        """Let the mailbox's next run bring the job to this state, unless a newer one waits there already."""
        lane = self._lanes.get(mailbox)
        if lane is None:
            lane = self._lanes[mailbox] = _Lane(mailbox)
        if lane.queued and not lane.waiting:
            # It waits to be inspected, behind every change there is: it goes among the changes now.
            self._unqueue(lane)
        self._put(lane, change)
        self._queue(lane)

    def inspect(self, mailbox: Mailbox, overdue_at: float = math.inf) -> "asyncio.Future[Inspected]":
        """Have the mailbox inspected when no change is waiting.

        From ``overdue_at`` on, on the monotonic clock, one run in ten is for inspections even while changes wait.
        """
        lane = self._lanes.get(mailbox)
        if lane is None:
            lane = self._lanes[mailbox] = _Lane(mailbox)
        if lane.inspection is None or lane.inspection.done():  # done: the sweep that asked before was cancelled
            lane.inspection = asyncio.get_running_loop().create_future()
        lane.overdue_at = overdue_at
        self._queue(lane)
        return lane.inspection

    def repair(self, mailbox: Mailbox, job_id: str, state: State, sweep_view: SweepView) -> "asyncio.Future[str]":
        """Have the mailbox's next run bring the job to this state, for a sweep; what became of it.

        A sweep that fails cancels what it waits for, and what has not begun by then is not done.
        """
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        receipt = Receipt(
            None,
            lambda _, result: None if done.done() else done.set_result(result),
            lambda: not done.cancelled(),
        )
        self.add(mailbox, Change(job_id, state, receipt, sweep_view=sweep_view))
        return done

    def wake(self, site_id: str) -> None:
        """Try the waiting lanes of a site now."""
        for lane in self._lanes.values():
            if lane.mailbox.site == site_id:
                self._wake(lane)

    async def relieve(self) -> None:
        """Hand over the oldest waiting work of apps that fail while another app is served.

        To be called again and again while what waits here would pause consumption: one tenant's trouble must not hold
        up the offsets of the others. If no app is served, nothing is handed over: Graph is down as a whole, and the lag
        pages. At most ``RELIEVE_AT_ONCE`` assignments at once; none while Redis cannot mark them.
        """
        lanes = self._take_failing()
        jobs = {lane.mailbox: list(lane.running) for lane in lanes}
        if not jobs:
            return
        marked = False
        try:
            await self._store.mark_dirty([(mailbox, job_id) for mailbox, ids in jobs.items() for job_id in ids])
            marked = True
        except StoreUnavailableError as trouble:
            log.warning("Redis is unavailable, nothing is handed over", reason=str(trouble))
        finally:
            for lane in lanes:
                for job_id in jobs[lane.mailbox] if marked else ():
                    self._drop(lane, lane.running[job_id], "handed_over")
                lane.busy = False
                self._put_back(lane)
                self._next(lane, _LONGEST_WAIT)
        if marked:
            sites, count = sorted({mailbox.site for mailbox in jobs}), sum(map(len, jobs.values()))
            log.warning("sites fail, their oldest work is handed over to the sweep", sites=sites[:10], jobs=count)

    def _take_failing(self) -> list[_Lane]:
        """The oldest lanes with work of failing apps, taken as for a run."""
        now = self._clock.monotonic()
        recent = max((at for at in self._last_success.values() if at > now - HAND_OVER_SECONDS), default=-math.inf)
        # An answer that was on its way when everything failed does not show that others are served.
        failing = {
            app
            for app, since in self._failing.items()
            if since <= now - _SILENT_SECONDS and since + _SILENT_SECONDS / 2 <= recent
        }
        taken: list[_Lane] = []
        count = 0
        for lane in self._lanes.values() if failing else ():
            if count >= RELIEVE_AT_ONCE:
                break
            if lane.waiting and not lane.busy and self._app(lane) in failing:
                self._unqueue(lane)
                if lane.timer is not None:
                    lane.timer.cancel()
                    lane.timer = None
                lane.busy = True
                lane.running, lane.waiting = lane.waiting, {}
                count += len(lane.running)
                taken.append(lane)
        return taken

    async def drain(self, deadline: float) -> None:
        """Start nothing more, and wait until the runs under way have ended, at most ``deadline`` seconds."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline)

    def _put(self, lane: _Lane, change: Change) -> None:
        present = lane.waiting.get(change.job_id)
        lane.waiting[change.job_id] = present.merge(change) if present else change
        self._jobs.setdefault(change.job_id, set()).add(lane.mailbox)

    def _queue(self, lane: _Lane) -> None:
        if lane.queued or lane.busy or lane.timer is not None or not (lane.waiting or lane.inspection):
            return
        lane.queued = True
        lane.app = self._app(lane)
        (self._ready if lane.waiting else self._to_inspect).add(lane.app, lane)
        self._start()

    def _unqueue(self, lane: _Lane) -> None:
        if lane.queued:
            self._ready.remove(lane.app, lane)
            self._to_inspect.remove(lane.app, lane)
            lane.queued = False

    def _app(self, lane: _Lane) -> str:
        site = self._sites.get(lane.mailbox.site)
        return site.app if site is not None else ""

    def _wake(self, lane: _Lane) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        self._queue(lane)

    def _start(self) -> None:
        while self._slots.free > 0 and not self._stopping and (lane := self._next_lane()) is not None:
            lane.queued = False
            lane.busy = True
            self._slots.start(lane.app)
            # A mailbox with ever new changes is inspected too, once that is overdue.
            if lane.inspection is None or lane.overdue_at > self._clock.monotonic():
                lane.running, lane.waiting = lane.waiting, {}
            task = asyncio.get_running_loop().create_task(self._run(lane))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _next_lane(self) -> _Lane | None:
        lane = self._most_overdue() if self._ready and (self._runs + 1) % OVERDUE_SHARE == 0 else None
        lane = lane or self._ready.take() or self._to_inspect.take()
        if lane is not None:
            self._runs += 1
        return lane

    def _most_overdue(self) -> _Lane | None:
        waiting = [lane for lane in self._to_inspect if self._slots.may_start(lane.app)]
        lane = min(waiting, key=lambda lane: lane.overdue_at, default=None)
        if lane is None or lane.overdue_at > self._clock.monotonic():
            return None
        self._to_inspect.remove(lane.app, lane)
        return lane

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("unexpected error in a lane's bookkeeping", exc_info=error)
        self._start()

    async def _run(self, lane: _Lane) -> None:
        app, lane.well = lane.app, True
        for change in [change for change in lane.running.values() if not change.live]:
            # Their partition has moved: its new owner gets them again.
            self._drop(lane, change, "skipped")
        wait: float | None = _LONGEST_WAIT  # unless the run ends as it should
        try:
            wait = await (self._carry_out(lane) if lane.running else self._inspect(lane))
        except Exception as error:
            log.critical("unexpected error in a lane run", site=lane.mailbox.site, exc_info=error)
            wait = self._failed(lane, error)
        finally:
            lane.busy = False
            self._slots.end(app, well=lane.well)
            self._ready.ended(app)
            self._to_inspect.ended(app)
            self._put_back(lane)
            self._next(lane, wait)

    def _failed(self, lane: _Lane, error: Exception) -> float:
        """After an unexpected error: nothing is lost, and a sweep is not left waiting. Returns how long to wait."""
        lane.failures += 1
        lane.well = False
        if not lane.running and lane.inspection is not None:
            self._answer(lane, lane.inspection, Unread("unexpected", f"an unexpected error: {type(error).__name__}"))
        return self._backoff(lane, TransientError("unexpected error"))

    def _put_back(self, lane: _Lane) -> None:
        """What is still in ``running`` is not done: it goes back, behind what has come since."""
        unfinished, lane.running = lane.running, {}
        for change in unfinished.values():
            newer = lane.waiting.get(change.job_id)
            lane.waiting[change.job_id] = change.merge(newer) if newer else change

    def _next(self, lane: _Lane, wait: float | None) -> None:
        if not lane.waiting and lane.inspection is None:
            if lane.failing_since is None:
                del self._lanes[lane.mailbox]
        elif wait:
            loop = asyncio.get_running_loop()
            lane.timer = loop.call_later(wait, self._wake, lane)
        else:
            self._queue(lane)

    async def _inspect(self, lane: _Lane) -> float | None:
        """An inspection that fails is not repeated: the sweep that asked for it knows best when to try again."""
        asked = lane.inspection
        if asked is None:
            return None  # its changes had lost their partition, and nobody asked for more
        if asked.done():
            lane.inspection = None  # the sweep that asked was cancelled
            return None
        try:
            found, wait = await self._inspected(lane)
        except Exception as error:
            # Any failure must reach the sweep that waits, or it would wait for ever.
            log.critical("an inspection failed: an unexpected error", site=lane.mailbox.site, exc_info=True)
            found, wait = Unread("unexpected", f"an unexpected error: {type(error).__name__}"), None
        if found is None:
            return wait
        self._answer(lane, asked, found)
        return wait

    @staticmethod
    def _answer(lane: _Lane, asked: "asyncio.Future[Inspected]", found: Inspected) -> None:
        if not asked.done():
            asked.set_result(found)
        if lane.inspection is asked:
            lane.inspection = None

    async def _inspected(self, lane: _Lane) -> tuple[Inspected | None, float | None]:
        """What was found, or ``None`` while the mailbox is busy; and how many seconds what else waits must wait."""
        site = self._sites.get(lane.mailbox.site)
        if site is None or not self._sites.is_served(site.site_id):
            return self._sites.unserved(lane.mailbox.site), None
        if early := self._early(lane):
            return Unread("failed", "Graph has asked us to wait", early), None
        answer = await self._reconciler.inspect(site, lane.mailbox)
        if isinstance(answer, MailboxSnapshot):
            self._succeeded(lane, site)
            return answer, None
        if answer.busy is not None:
            return None, answer.busy
        wait = await self._decide(lane, site, answer)
        if not self._sites.is_served(site.site_id):
            return self._sites.unserved(site.site_id), wait
        return answer.unread(parked=False), wait

    async def _carry_out(self, lane: _Lane) -> float | None:
        """One run; returns how many seconds what is left of the lane must wait."""
        site = self._sites.get(lane.mailbox.site)
        if site is None:
            for change in list(lane.running.values()):
                self._drop(lane, change, "skipped")
            return None
        if not self._sites.is_served(site.site_id):
            self._sites.turned_away(site.site_id, lane.mailbox.address)
            return await self._hand_over(lane)
        if early := self._early(lane):
            return await self._trouble(lane, site, TransientError("Graph has asked us to wait", retry_after=early))
        try:
            result = await self._reconciler.run(site, lane.mailbox, lane.running)
        except Exception as error:
            log.critical("a run failed: an unexpected error", site=site.site_id, exc_info=True)
            result = RunResult(trouble=TransientError(f"an unexpected error: {type(error).__name__}", unknown=True))
        for job_id, became in result.results.items():
            self._drop(lane, lane.running[job_id], became)
        for job_id, change in lane.running.items():
            known = None if result.is_stored else change.transaction_id
            change.transaction_id = result.in_doubt.get(job_id, known)
        return await self._decide(lane, site, result)

    async def _decide(self, lane: _Lane, site: Site, result: RunResult) -> float | None:
        if "applied" in result.results.values():
            self._succeeded(lane, site)
        refusal = result.mailbox or result.forbidden or next(iter(result.refused.values()), None)
        if (result.site or refusal) and self._sites.get(site.site_id) is not site:
            return 0.0  # the sites file has changed meanwhile: what refused us may be what was mended
        if result.site is not None:
            self._sites.suspend(site.site_id, result.site)
            return await self._hand_over(lane)
        if result.parked is not None:
            return await self._hand_over(lane)
        trouble = result.trouble
        if refusal is not None:
            judgement = await self._judge(lane, site, refusal)
            if isinstance(judgement, SiteRefusedError):
                return await self._hand_over(lane)
            if judgement == "mailbox":
                return await self._park(lane, refusal, result)
            if judgement == "request":
                await self._refuse(lane, result.refused)
            else:
                trouble = judgement
        if result.busy is not None:
            return result.busy
        if trouble is not None:
            if not result.results and lane.running and lane.inspection is not None:
                # Nothing gets through: a sweep must not wait behind changes for as long as that lasts.
                self._answer(lane, lane.inspection, Unread("failed", str(trouble), trouble.retry_after))
            return await self._trouble(lane, site, trouble)
        lane.failures, lane.failing_since = 0, None
        return None

    async def _judge(self, lane: _Lane, site: Site, refusal: Refusal) -> Judgement | TransientError:
        """Whose fault the refusal is; the trouble, if that cannot be concluded now."""
        try:
            return await self._sites.judge(site, lane.mailbox.address, refusal, lambda: self._others_of(lane.mailbox))
        except TransientError as trouble:
            return trouble

    async def _others_of(self, mailbox: Mailbox) -> Sequence[str]:
        """Other addresses of the site: first some that have events, then some that have work here."""
        linked = {*await self._store.linked(mailbox.site, "")} - {mailbox.address}
        here = {lane.mailbox.address for lane in self._lanes.values() if lane.mailbox.site == mailbox.site}
        first, then = sorted(linked), sorted(here - linked - {mailbox.address})
        return [address for group in (first, then) for address in self._random.sample(group, min(ASKED, len(group)))]

    def _succeeded(self, lane: _Lane, site: Site) -> None:
        """The mailbox has answered, so a job that still fails is counted on its own."""
        lane.failures, lane.failing_since = 0, None
        self._last_success[site.app] = self._clock.monotonic()
        self._failing.pop(site.app, None)
        self._foreign.answered(lane.mailbox)
        self._sites.served(site.site_id, lane.mailbox.address)

    def _early(self, lane: _Lane) -> float:
        """Seconds for which we were asked to wait still; 0 for less than is worth a timer."""
        left = lane.not_before - self._clock.monotonic()
        return left if left > _FIRST_WAIT else 0.0

    async def _trouble(self, lane: _Lane, site: Site, trouble: TransientError) -> float | None:
        now = self._clock.monotonic()
        lane.well = False
        lane.failures += 1
        lane.not_before = now + (trouble.retry_after or 0.0)
        served = self._last_success.get(site.app, -math.inf)
        if lane.failing_since is not None:
            self._report(lane, site, trouble)
        lane.failing_since = _failing_since(lane.failing_since, served, now)
        for change in lane.running.values():
            change.failing_since = _failing_since(change.failing_since, served, now)
        if isinstance(trouble, StoreUnavailableError):
            return self._backoff(lane, trouble)
        self._failing.setdefault(site.app, now)
        if trouble.foreign and self._foreign.failed(lane.mailbox, now, served):
            return await self._park(lane, MailboxRefusedError(FOREIGN_CODE, hourly=True), RunResult())
        given_up = now - HAND_OVER_SECONDS
        if lane.failing_since <= given_up:
            log.warning("mailbox unavailable, handed over to the sweep", site=site.site_id, reason=str(trouble))
            return await self._hand_over(lane)
        stuck = [
            job_id
            for job_id, change in lane.running.items()
            if change.failing_since is not None and change.failing_since <= given_up
        ]
        if stuck:
            log.warning("jobs fail, handed over to the sweep", site=site.site_id, jobs=stuck, reason=str(trouble))
            await self._hand_over_some(lane, stuck)
        return self._backoff(lane, trouble)

    def _report(self, lane: _Lane, site: Site, trouble: TransientError) -> None:
        """Once in a while, if nothing of the app comes through: lag says that work waits, but not for what."""
        now, served = self._clock.monotonic(), self._last_success.get(site.app, -math.inf)
        if served > (lane.failing_since or now) or now - served < _SILENT_SECONDS:
            return
        if now >= self._reported.get(site.app, -math.inf) + _REPORT_SECONDS:
            self._reported[site.app] = now
            log.warning("nothing of the site comes through, its work waits", site=site.site_id, reason=str(trouble))

    def _backoff(self, lane: _Lane, trouble: TransientError) -> float:
        """Seconds to wait: what was asked for, else doubling, jittered so that lanes do not march in step."""
        if trouble.retry_after is not None and (trouble.retry_after > 0 or lane.failures < 5):
            # Looked at again when it may be handed over, however long we were asked to wait.
            return min(trouble.retry_after, HAND_OVER_SECONDS)
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(lane.failures - 1, 10))
        return longest * (0.5 + self._random.random() / 2)

    async def _park(self, lane: _Lane, refusal: Refusal, result: RunResult) -> float | None:
        """Park the mailbox: for good where Graph says that there is none, else for an hour. The result shows it.

        If only its time-zone setting is refused, its calendar is served without it.
        """
        if isinstance(refusal, ForbiddenError) and refusal.setting:
            self._reconciler.do_without_setting(lane.mailbox, str(refusal))
            return 0.0
        hourly = not isinstance(refusal, MailboxRefusedError) or refusal.hourly
        hourly = hourly or self._sites.is_recovering(lane.mailbox.site, refusal.code)
        try:
            await self._store.park(lane.mailbox, refusal.code, hourly=hourly)
        except StoreUnavailableError as trouble:
            lane.failures += 1
            return self._backoff(lane, trouble)
        result.parked = refusal.code
        log.warning("mailbox parked", site=lane.mailbox.site, code=refusal.code, hourly=hourly)
        return await self._hand_over(lane)

    async def _hand_over(self, lane: _Lane) -> float | None:
        """Mark the lane's work for the sweep and give its receipts back; what cannot be marked is kept."""
        for job_id, change in lane.waiting.items():
            present = lane.running.get(job_id)
            lane.running[job_id] = present.merge(change) if present else change
        lane.waiting = {}
        return await self._hand_over_some(lane, list(lane.running))

    async def _hand_over_some(self, lane: _Lane, jobs: list[str]) -> float | None:
        if not jobs:
            return None
        try:
            await self._store.mark_dirty([(lane.mailbox, job_id) for job_id in jobs])
        except StoreUnavailableError as trouble:
            lane.failures += 1
            return self._backoff(lane, trouble)
        for job_id in jobs:
            self._drop(lane, lane.running[job_id], "handed_over")
        return None

    async def _refuse(self, lane: _Lane, refused: Mapping[str, RequestRefusedError]) -> None:
        """Dead-letter what Graph calls malformed in a mailbox that it does answer for."""
        for job_id, refusal in refused.items():
            if job_id in lane.running:
                site_id = lane.mailbox.site
                log.error(
                    "Graph refuses what we sent", site=site_id, job=job_id, status=refusal.status, code=refusal.code
                )
                await self._refused.refuse(lane.running[job_id], refusal)
                self._drop(lane, lane.running[job_id], "dead_lettered")

    def _drop(self, lane: _Lane, change: Change, result: str) -> None:
        del lane.running[change.job_id]
        if change.job_id not in lane.waiting:
            mailboxes = self._jobs.get(change.job_id)
            if mailboxes is not None:
                mailboxes.discard(lane.mailbox)
                if not mailboxes:
                    del self._jobs[change.job_id]
        change.done(result)


def _failing_since(before: float | None, served: float, now: float) -> float:
    """Since when something fails, ignoring outages of the whole app, which must not count against one mailbox.

    ``served`` is when a run of the same app last succeeded.
    """
    return now if before is None or served <= before else before
