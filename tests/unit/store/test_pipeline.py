"""Each caller of the store gets an answer, even after an unexpected error or beside a cancelled caller."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ReadOnlyError
from structlog.testing import capture_logs

from consumer.domain.errors import StoreUnavailableError
from consumer.store.pipeline import Pipeline


class Broken:
    """A client that raises an unexpected error."""

    def pipeline(self, *, transaction: bool) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'is_connected'")


async def test_an_unexpected_error_leaves_no_caller_waiting() -> None:
    pipeline = Pipeline(Broken(), [])  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await pipeline.call("PING")


class Demoted:
    """A client of a server that refuses writes, and whose connections cannot be closed."""

    def __init__(self) -> None:
        self.connection_pool = self
        self.gate = asyncio.Event()

    def pipeline(self, *, transaction: bool) -> Any:
        return self

    def execute_command(self, *_command: Any) -> None: ...

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        await self.gate.wait()
        return [ReadOnlyError("You can't write against a read only replica.")]

    async def disconnect(self, *, inuse_connections: bool) -> None:
        raise ConnectionError("broken pipe")


async def test_a_connection_that_cannot_be_closed_leaves_no_caller_waiting() -> None:
    client = Demoted()
    client.gate.set()
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailableError, match="read only replica"):
                await Pipeline(client, []).call("SET", "a", "b")  # type: ignore[arg-type]
    assert [line["event"] for line in logs] == ["connection to Redis not closed cleanly"]


async def test_a_caller_that_was_cancelled_disturbs_no_other() -> None:
    client = Demoted()
    pipeline = Pipeline(client, [])  # type: ignore[arg-type]
    cancelled = asyncio.create_task(pipeline.call("SET", "a", "b"))
    await asyncio.sleep(0)
    other = asyncio.create_task(pipeline.call("SET", "a", "b"))
    await asyncio.sleep(0)
    cancelled.cancel()
    client.gate.set()
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailableError):
            await other
