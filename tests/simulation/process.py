"""Processes of a simulated world: each may be killed or frozen between any two steps of its tasks.

A process is a context variable. The simulated loop asks the process of each callback whether it runs, and keeps the
callbacks of a process that does not: until the process thaws, or until the story is over. No ``finally`` block runs and
no exception is raised, as with SIGKILL.

A request that a process has sent is independent of it: :func:`in_world` carries a request out even if its sender no
longer runs, and gives the answer to a sender that does.
"""

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Point = Literal["step", "store before", "store after", "graph before", "graph after"]
"""Where a process can be struck: between two steps of its tasks; before or after a script of the store or a request to
Graph is carried out, while its answer is awaited.
"""

PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


@dataclass
class Strike:
    """Happens to a process when it has passed a point this many times."""

    point: Point
    left: int
    act: Callable[[], object]


class Process:
    """Tasks and timers that stop and continue together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Literal["running", "frozen", "killed", "ended"] = "running"
        self.undisturbed = True
        """Whether the process runs and no strike is planned, so that its steps need no check."""
        self.thawed_at = float("-inf")
        """On the monotonic clock."""
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._strike: Strike | None = None
        self.on_freeze: Callable[[], object] = lambda: None
        self.on_thaw: Callable[[], object] = lambda: None
        self.on_kill: Callable[[], object] = lambda: None
        self._kept: list[asyncio.Handle] = []
        loop: Any = asyncio.get_running_loop()
        loop.processes.append(self)

    @property
    def runs(self) -> bool:
        return self.state == "running"

    def context(self) -> Context:
        """A context in which everything belongs to this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return context

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a task of this process."""
        return asyncio.get_running_loop().create_task(work, context=self.context())

    def kill(self) -> None:
        """Stops the process for good, as SIGKILL does."""
        if self.state not in {"killed", "ended"}:
            self._turn("killed")
            self.on_kill()

    def freeze(self, seconds: float) -> None:
        """Stops for this many seconds and then continues, as after SIGSTOP or the move of a virtual machine."""
        if self.runs:
            self._turn("frozen")
            self.on_freeze()
            asyncio.get_running_loop().call_later(seconds, self.thaw, context=_world())

    def thaw(self) -> None:
        """Continues after a freeze."""
        if self.state == "frozen":
            self._turn("running")
            self.thawed_at = asyncio.get_running_loop().time()
            self.on_thaw()
            self._resume()

    def may_run(self, handle: asyncio.Handle) -> bool:
        """Whether this callback may run now; the loop asks."""
        if self.state == "running":
            self.reach("step")
        if self.state in {"running", "ended"}:
            return True
        self._kept.append(handle)
        return False

    def reach(self, point: Point) -> None:
        """Called when the process has come to this point."""
        strike = self._strike
        if strike is not None and strike.point == point:
            strike.left -= 1
            if strike.left <= 0:
                self.arm(None)
                strike.act()

    def arm(self, strike: Strike | None) -> None:
        """Plans this strike for when the process comes to its point."""
        self._strike = strike
        self._turn(self.state)

    async def end(self) -> None:
        """At the end of a story: ends the tasks of the process."""
        self.kill()
        self._turn("ended")
        self._resume()
        while tasks := [task for task in self.tasks if not task.done() and task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _turn(self, state: Literal["running", "frozen", "killed", "ended"]) -> None:
        self.state = state
        self.undisturbed = state == "running" and self._strike is None

    def _resume(self) -> None:
        loop: Any = asyncio.get_running_loop()
        kept, self._kept = self._kept, []
        loop._ready.extend(handle for handle in kept if not handle.cancelled())


def current(context: Context | None = None) -> Process | None:
    """The process of a context, or of the running code; ``None``: the world itself."""
    return PROCESS.get() if context is None else context.get(PROCESS)


_under_way: set["asyncio.Task[Any]"] = set()


async def in_world(work: Coroutine[Any, Any, T]) -> T:
    """Carries out what a process has sent. It ends even if its sender does not run any more."""
    task = asyncio.get_running_loop().create_task(work, context=_world())
    _under_way.add(task)
    task.add_done_callback(_ended, context=_world())
    return await asyncio.shield(task)


def _ended(task: "asyncio.Task[Any]") -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # a waiting sender receives it; a killed one does not wait


def _world() -> Context:
    context = copy_context()
    context.run(PROCESS.set, None)
    return context
