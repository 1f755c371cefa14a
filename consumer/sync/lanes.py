"""Lanes: all the work for one mailbox, one run after another, many mailboxes at a time."""

import asyncio
import math
from collections import Counter
from random import Random
from typing import Final

import structlog

from consumer.domain.errors import StoreUnavailableError
from consumer.domain.job import State
from consumer.domain.mailbox import Mailbox
from consumer.sync.after_run import LONGEST_WAIT_SECONDS
from consumer.sync.app_health import AppHealth
from consumer.sync.change import Change, SweepView
from consumer.sync.lane import Inspection, Lane, LaneIndex
from consumer.sync.lane_runs import LaneRuns, RefusedChanges
from consumer.sync.lane_store import LaneStore
from consumer.sync.ports import Clock
from consumer.sync.receipts import ChangeResult, Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.site_registry import SiteRegistry
from consumer.sync.turns import Slots, Turns

log = structlog.get_logger(__name__)

RUNS_AT_ONCE: Final = 640
"""Enough that one busy app fills every batch in flight with its share; small enough that memory stays flat."""
OVERDUE_SHARE: Final = 10
"""One run in this number is for an overdue sweep, also while changes wait."""
RELIEVE_AT_ONCE: Final = 1000
"""How many assignments :meth:`Lanes.relieve` hands over in one call."""
_SITES_LOGGED: Final = 10


class Lanes:
    """Takes changes, runs each mailbox's lane in its turn, and gives the receipts back.

    Bounded by the records that are not done yet, and by the sweeps' own bounds; ``RUNS_AT_ONCE`` runs at a time.
    """

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
        self._store = store
        self._sites = sites
        self._clock = clock
        self._lanes = LaneIndex()
        self._apps = AppHealth(clock.monotonic)
        self._lane_runs = LaneRuns(reconciler, store, sites, clock, random, refused, self._lanes, self._apps)
        self._slots = Slots(runs_at_once, clock.monotonic)
        self._ready: Turns[Lane] = Turns(self._slots)
        self._to_inspect: Turns[Lane] = Turns(self._slots)
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs = 0
        self._stopping = False

    @property
    def busy(self) -> int:
        """Lanes with a run under way."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Lanes with changes that wait for a run."""
        return sum(1 for lane in self._lanes if lane.waiting and not lane.busy)

    def waiting_by_site(self) -> Counter[str]:
        """The number of lanes with changes that wait for a run, of each site that has any."""
        return Counter(lane.mailbox.site for lane in self._lanes if lane.waiting and not lane.busy)

    def holding(self, job_id: str) -> frozenset[Mailbox]:
        """The mailboxes in which this replica has the job in flight or waiting."""
        return self._lanes.holding(job_id)

    def newest(self, job_id: str) -> int:
        """The highest rank of the job that this replica has in flight or waiting; 0 if it has none."""
        return self._lanes.newest(job_id)

    def add(self, mailbox: Mailbox, change: Change) -> None:
        """Let the mailbox's next run bring the job to this state, unless a newer state waits there already."""
        lane = self._lanes.of(mailbox)
        if lane.queued and not lane.waiting:
            # It waits to be inspected, behind every change: from now on it waits among the changes.
            self._unqueue(lane)
        self._lanes.put(lane, change)
        self._queue(lane)

    def inspect(self, mailbox: Mailbox, overdue_at: float = math.inf) -> Inspection:
        """Have the mailbox inspected when no change is waiting.

        From ``overdue_at`` on, on the monotonic clock, one run in ten is for inspections, also while changes wait.
        """
        lane = self._lanes.of(mailbox)
        if lane.inspection is None or lane.inspection.done():  # done: the sweep that asked before was cancelled
            lane.inspection = asyncio.get_running_loop().create_future()
        lane.overdue_at = overdue_at
        self._queue(lane)
        return lane.inspection

    def repair(
        self, mailbox: Mailbox, job_id: str, state: State, sweep_view: SweepView
    ) -> "asyncio.Future[ChangeResult]":
        """Have the mailbox's next run bring the job to this state, for a sweep; returns what becomes of it.

        A sweep that fails cancels the futures that it waits for. A repair that has not begun by then is not done.
        """
        done: asyncio.Future[ChangeResult] = asyncio.get_running_loop().create_future()
        receipt = Receipt(
            None,
            lambda _, result: None if done.done() else done.set_result(result),
            lambda: not done.cancelled(),
        )
        self.add(mailbox, Change(job_id, state, receipt, sweep_view=sweep_view))
        return done

    def wake(self, site_id: str) -> None:
        """Try the waiting lanes of a site now."""
        for lane in self._lanes:
            if lane.mailbox.site == site_id:
                self._wake(lane)

    async def relieve(self) -> None:
        """Hand over the oldest waiting work of apps that fail while another app is served.

        To be called repeatedly while the waiting work would pause consumption: one tenant's trouble must not hold up
        the offsets of the others. If no app is served, nothing is handed over: Graph is down as a whole, and the lag
        pages. At most ``RELIEVE_AT_ONCE`` assignments in one call; none while Redis cannot mark them.
        """
        lanes = self._take_failing()
        jobs = {lane.mailbox: list(lane.running) for lane in lanes}
        if not jobs:
            return
        marked = False
        try:
            await self._store.mark_dirty([(mailbox, job_id) for mailbox, ids in jobs.items() for job_id in ids])
            marked = True
        except StoreUnavailableError:
            pass  # the store logs it
        finally:
            for lane in lanes:
                for job_id in jobs[lane.mailbox] if marked else ():
                    self._lanes.drop(lane, lane.running[job_id], "handed_over")
                self._ended(lane, LONGEST_WAIT_SECONDS)
        if marked:
            sites, count = sorted({mailbox.site for mailbox in jobs}), sum(map(len, jobs.values()))
            log.warning(
                "oldest work of failing sites handed over to the sweep", sites=sites[:_SITES_LOGGED], jobs=count
            )

    async def drain(self, deadline: float) -> None:
        """Start no more runs, and wait until those under way have ended, at most ``deadline`` seconds."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline)

    def _take_failing(self) -> list[Lane]:
        """The oldest lanes with work of failing apps, taken as for a run."""
        failing = self._apps.failing_alone()
        taken: list[Lane] = []
        count = 0
        for lane in self._lanes if failing else ():
            if count >= RELIEVE_AT_ONCE:
                break
            if lane.waiting and not lane.busy and self._app(lane) in failing:
                self._unqueue(lane)
                lane.cancel_timer()
                lane.busy = True
                lane.take()
                count += len(lane.running)
                taken.append(lane)
        return taken

    def _queue(self, lane: Lane) -> None:
        if lane.queued or lane.busy or lane.timer is not None or not (lane.waiting or lane.inspection):
            return
        lane.queued = True
        lane.app = self._app(lane)
        (self._ready if lane.waiting else self._to_inspect).add(lane.app, lane)
        self._start()

    def _unqueue(self, lane: Lane) -> None:
        if lane.queued:
            self._ready.remove(lane.app, lane)
            self._to_inspect.remove(lane.app, lane)
            lane.queued = False

    def _app(self, lane: Lane) -> str:
        site = self._sites.get(lane.mailbox.site)
        return site.app if site is not None else ""

    def _wake(self, lane: Lane) -> None:
        lane.cancel_timer()
        self._queue(lane)

    def _start(self) -> None:
        """Start runs while there is room."""
        while self._slots.free > 0 and not self._stopping and (lane := self._next_lane()) is not None:
            lane.queued = False
            lane.busy = True
            self._slots.start(lane.app)
            # A mailbox that gets new changes all the time is inspected too, once that is overdue.
            if lane.inspection is None or lane.overdue_at > self._clock.monotonic():
                lane.take()
            task = asyncio.get_running_loop().create_task(self._run(lane))
            self._tasks.add(task)
            task.add_done_callback(self._task_ended)

    def _next_lane(self) -> Lane | None:
        lane = self._most_overdue() if self._ready and (self._runs + 1) % OVERDUE_SHARE == 0 else None
        lane = lane or self._ready.take() or self._to_inspect.take()
        if lane is not None:
            self._runs += 1
        return lane

    def _most_overdue(self) -> Lane | None:
        waiting = [lane for lane in self._to_inspect if self._slots.may_start(lane.app)]
        lane = min(waiting, key=lambda lane: lane.overdue_at, default=None)
        if lane is None or lane.overdue_at > self._clock.monotonic():
            return None
        self._to_inspect.remove(lane.app, lane)
        return lane

    async def _run(self, lane: Lane) -> None:
        app, lane.well = lane.app, True
        wait = LONGEST_WAIT_SECONDS  # if the run is cancelled
        try:
            wait = await self._lane_runs.run(lane)
        finally:
            self._slots.end(app, well=lane.well)
            self._ready.ended(app)
            self._to_inspect.ended(app)
            self._ended(lane, wait)

    def _ended(self, lane: Lane, wait: float) -> None:
        """The lane is free again; the rest of its work joins the queue after ``wait`` seconds."""
        lane.busy = False
        lane.put_back()
        if self._lanes.close_idle(lane):
            return
        if wait:
            lane.timer = asyncio.get_running_loop().call_later(wait, self._wake, lane)
        else:
            self._queue(lane)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("unexpected error in a lane", exc_info=error)
        self._start()
