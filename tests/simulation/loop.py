"""An event loop in simulated time: when nothing is ready, the clock jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

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


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs as fast as it can, and always in the same order."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed


class SimulatedClock:
    """The clock port on the running simulated loop."""

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def simulate(world: Coroutine[Any, Any, T]) -> T:
    """Run a world to its end."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(world)
