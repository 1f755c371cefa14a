"""A schedule that never ends fails the read: a sweep must not turn pages for ever."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from consumer.core.api import CoreApi
from consumer.domain.errors import CoreUnavailableError
from consumer.domain.window import Window
from consumer.http import Answer

START = datetime(2026, 12, 1, tzinfo=UTC)


class Endless:
    """Each page is empty and names another one."""

    def __init__(self) -> None:
        self.pages = 0

    async def request(self, _method: str, _url: str, **_: Any) -> Answer:
        self.pages += 1
        await asyncio.sleep(0)  # without a pause, no timeout ends the test
        page = {"workers": [], "next_cursor": f"{self.pages}"}
        return Answer(200, {"Content-Type": "application/json"}, orjson.dumps(page))


async def test_a_schedule_that_goes_on_without_workers_fails_the_read() -> None:
    http: Any = Endless()
    core = CoreApi("https://core.example", lambda: "secret", http)
    window = Window(START, START + timedelta(days=21))
    with pytest.raises(CoreUnavailableError, match="goes on without workers"):
        async with asyncio.timeout(5):
            assert [roster async for roster in core.schedule("acme", window)] == []
    assert http.pages < 200
