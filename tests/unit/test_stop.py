"""How the service stops: it accepts no more records, waits for running work, commits, and only then closes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.app import App


@pytest.mark.parametrize("left", [True, False])
async def test_a_stop_drains_before_the_pump_leaves_the_group_and_closes_afterwards(*, left: bool) -> None:
    calls: list[str] = []

    def step(name: str, answer: Any = None) -> Callable[..., Any]:
        def call(*_: Any) -> Any:
            calls.append(name)
            return answer

        return call

    def slowly(name: str) -> Callable[..., Any]:
        async def call(*_arguments: Any) -> None:
            calls.append(f"{name} begins")
            for _ in range(5):
                await asyncio.sleep(0)
            calls.append(f"{name} ends")

        return call

    async def works() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("tasks end")

    stopping: Any = SimpleNamespace(
        _pump=SimpleNamespace(drain=step("pump drains"), stop=step("pump leaves", left)),
        _engine=SimpleNamespace(lanes=SimpleNamespace(drain=slowly("lanes drain")), close=slowly("engine closes")),
        _refused=SimpleNamespace(drain=slowly("dead letters drain")),
        _health=SimpleNamespace(stop=slowly("health stops")),
        _lag=SimpleNamespace(close=step("lag closes")),
        _heartbeats=SimpleNamespace(close=step("heartbeats close")),
        _kafka_threads=ThreadPoolExecutor(1),
    )
    stopping._in_kafka_thread = lambda *call: App._in_kafka_thread(stopping, *call)
    task = asyncio.create_task(works())
    await asyncio.sleep(0)
    assert await App._stop(stopping, [task]) is left
    assert calls == [
        "pump drains",
        "lanes drain begins",
        "lanes drain ends",
        "dead letters drain begins",
        "dead letters drain ends",
        "pump leaves",
        "tasks end",
        "health stops begins",
        "health stops ends",
        "lag closes",
        "heartbeats close",
        "engine closes begins",
        "engine closes ends",
    ]
