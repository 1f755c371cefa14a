"""An event loop in simulated time: when nothing is ready, the clock jumps to the next timer.

What belongs to a :class:`~tests.simulation.process.Process` runs only while that process runs: a frozen or killed
process stops between two steps of its tasks.
"""

import asyncio
import heapq
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple

from tests.simulation.process import PROCESS, Process, current

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)


class _Jumping(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the simulated world waits for nothing: it would wait for ever")
        self.passed += max(0.0, timeout)
        return super().select(0)


class _Handle(asyncio.Handle):
    """A step of a task, or another callback, of the process in whose context it was scheduled."""

    _context: Context

    def _run(self, run: Callable[[asyncio.Handle], None] = asyncio.Handle._run) -> None:
        process = self._context.get(PROCESS)
        if process is None or process.undisturbed or process.may_run(self):
            run(self)


class _TimerHandle(asyncio.TimerHandle):
    _scheduled: bool
    _run = _Handle._run


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs as fast as it can, and always in the same order."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self.processes: list[Process] = []
        self.stops: list[Callable[[], object]] = []
        """Called when the world has ended: sources of new tasks must stop, or the loop would never end."""
        self.set_task_factory(_registered)

    def time(self) -> float:
        return self._jumping.passed

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer


def _registered(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    """The task factory: each process knows its own tasks."""
    task = asyncio.Task(work, loop=loop, **options)
    process = current(options.get("context"))
    if process is not None:
        process.tasks.add(task)
    return task


class SimulatedClock:
    """The clock port on the running simulated loop."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def simulate(world: Coroutine[Any, Any, T]) -> T:
    """Run a world to its end."""

    async def whole() -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        try:
            return await world
        finally:
            for stop in loop.stops:
                stop()
            for process in loop.processes:
                await process.end()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(whole())
