"""Redis unavailable: one line a minute for all commands of the process, and one when it answers again."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs

from consumer.domain.errors import StoreUnavailableError
from consumer.store.outage import Outage
from consumer.store.pipeline import Pipeline


class Switched:
    """A Redis that can be switched off."""

    def __init__(self) -> None:
        self.is_on = False

    def pipeline(self, **_: Any) -> "Switched":
        return self

    def execute_command(self, *_: Any) -> None:
        """Queued."""

    async def execute(self, **_: Any) -> list[Any]:
        if not self.is_on:
            raise NoConnectionError("Connection refused.")
        return [b"OK"]


async def test_an_outage_is_one_line_a_minute_for_all_commands_and_one_at_its_end() -> None:
    now, redis = [1000.0], Switched()
    outage = Outage(lambda: now[0])
    pipelines = [Pipeline(redis, [], outage) for _ in range(2)]  # type: ignore[arg-type]
    with capture_logs() as lines:
        for _ in range(90):
            answers = await asyncio.gather(*(one.call("PING") for one in pipelines), return_exceptions=True)
            assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
            now[0] += 1
        redis.is_on = True
        for _ in range(3):
            assert [await one.call("PING") for one in pipelines] == [b"OK", b"OK"]
    assert [(line["event"], line.get("repeated"), line.get("seconds")) for line in lines] == [
        ("Redis is unavailable", None, None),
        ("Redis is unavailable", 120, None),
        ("Redis answers again", None, 90.0),
    ]
    assert lines[0]["reason"] == "Connection refused."


class Full:
    """A Redis that answers reads, and refuses writes while it is full."""

    def __init__(self) -> None:
        self.is_full = True
        self.connection_pool = self
        self._commands: list[str] = []

    def pipeline(self, **_: Any) -> "Full":
        return self

    def execute_command(self, name: str, *_: Any) -> None:
        self._commands.append(name)

    async def execute(self, **_: Any) -> list[Any]:
        commands, self._commands = self._commands, []
        full = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        return [full if self.is_full and name in {"SET", "HSET"} else b"OK" for name in commands]

    async def disconnect(self, **_: Any) -> None:
        """There is no connection."""


@pytest.mark.parametrize("read", ["GET", "EVALSHA", "HDEL"])
async def test_a_redis_that_refuses_writes_answers_again_only_with_a_write(read: str) -> None:
    now, redis = [1000.0], Full()
    outage = Outage(lambda: now[0])
    pipelines = [Pipeline(redis, [], outage) for _ in range(2)]  # type: ignore[arg-type]
    with capture_logs() as lines:
        for _ in range(5):
            with pytest.raises(StoreUnavailableError):
                await pipelines[0].call("SET", "writable", 1)
            await pipelines[1].call(read, "a")
            now[0] += 1
        redis.is_full = False
        await pipelines[1].call(read, "a")
        assert [line["event"] for line in lines] == ["Redis is unavailable"]
        await pipelines[0].call("SET", "writable", 1)
    assert [(line["event"], line.get("seconds")) for line in lines] == [
        ("Redis is unavailable", None),
        ("Redis answers again", 5.0),
    ]


async def test_a_command_line_tool_logs_no_outage_because_it_reports_it_itself() -> None:
    with capture_logs() as lines:
        await asyncio.gather(Pipeline(Switched(), []).call("PING"), return_exceptions=True)  # type: ignore[arg-type]
    assert lines == []
