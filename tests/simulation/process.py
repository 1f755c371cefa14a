"""Processes of a simulated world: each may be killed or frozen between any two steps of its tasks.

A process is a context variable. The simulated loop asks the process of each callback whether it runs, and keeps those
that do not: until the process thaws, or until the story is over. No ``finally`` block runs and no exception is raised,
as with SIGKILL.

What a process has sent is no longer its own: :func:`in_world` carries a request out whether or not its sender still
runs, and gives the answer to one that does.
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
Graph is carried out, while its answer is awaited."""

PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


@dataclass
class Strike:
    """What happens to a process when it has passed a point so many times."""

    point: Point
    left: int
    act: Callable[[], object]


class Process:
    """Tasks and timers that stop and go on together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Literal["running", "frozen", "killed", "buried"] = "running"
        self.undisturbed = True
        """It runs, and no strike is to come: so nothing is to be asked of each of its steps."""
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
        """As SIGKILL: not one further step."""
        if self.state not in {"killed", "buried"}:
            self._turn("killed")
            self.on_kill()

    def freeze(self, seconds: float) -> None:
        """Stand still for so long, and go on as if nothing had been: as SIGSTOP, or a virtual machine that is moved."""
        if self.runs:
            self._turn("frozen")
            self.on_freeze()
            asyncio.get_running_loop().call_later(seconds, self.thaw, context=_world())

    def thaw(self) -> None:
        """Go on."""
        if self.state == "frozen":
            self._turn("running")
            self.thawed_at = asyncio.get_running_loop().time()
            self.on_thaw()
            self._resume()

    def may_run(self, handle: asyncio.Handle) -> bool:
        """Whether this callback runs now; the loop asks."""
        if self.state == "running":
            self.reach("step")
        if self.state in {"running", "buried"}:
            return True
        self._kept.append(handle)
        return False

    def reach(self, point: Point) -> None:
        """The process has come to this point."""
        strike = self._strike
        if strike is not None and strike.point == point:
            strike.left -= 1
            if strike.left <= 0:
                self.arm(None)
                strike.act()

    def arm(self, strike: Strike | None) -> None:
        """Have this happen when the process comes to its point."""
        self._strike = strike
        self._turn(self.state)

    async def bury(self) -> None:
        """At the end of a story: let the tasks of a process that is no longer wanted end."""
        self.kill()
        self._turn("buried")
        self._resume()
        while tasks := [task for task in self.tasks if not task.done() and task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _turn(self, state: Literal["running", "frozen", "killed", "buried"]) -> None:
        self.state = state
        self.undisturbed = state == "running" and self._strike is None

    def _resume(self) -> None:
        loop: Any = asyncio.get_running_loop()
        kept, self._kept = self._kept, []
        loop._ready.extend(handle for handle in kept if not handle.cancelled())


def current(context: Context | None = None) -> Process | None:
    """The process of a context, or of what runs now; ``None``: the world itself."""
    return PROCESS.get() if context is None else context.get(PROCESS)


_under_way: set["asyncio.Task[Any]"] = set()


async def in_world(work: Coroutine[Any, Any, T]) -> T:
    """Carry out what a process has sent. It ends whatever becomes of its sender."""
    task = asyncio.get_running_loop().create_task(work, context=_world())
    _under_way.add(task)
    task.add_done_callback(_ended, context=_world())
    return await asyncio.shield(task)


def _ended(task: "asyncio.Task[Any]") -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # whoever waits is given it; a killed sender does not wait


def _world() -> Context:
    context = copy_context()
    context.run(PROCESS.set, None)
    return context
