"""Does a step, and watches the calendars until they equal Core's schedule again."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx

from sandbox.core.schedule import Schedule
from sandbox.demo.company import PARKED
from sandbox.demo.outlook import Calendars, news
from sandbox.demo.story import Outside, Step
from sandbox.oracle import compare, expect

_POLL_SECONDS: Final = 0.004
_DONE: Final = re.compile(r"^calsync_events_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of a step."""

    step: Step
    milliseconds: float | None
    """The time from before the change in Core until the calendars showed it. None: they never showed it."""
    news: list[str]
    differences: list[str]


class Watch:
    """Compares the calendars with Core's schedule, by the oracle.

    `service` is the client for the service's metrics. `check` is called while waiting; it raises if a server has ended.
    """

    def __init__(self, outside: Outside, service: httpx.AsyncClient, check: Callable[[], None], within: float) -> None:
        self._outside = outside
        self._service = service
        self._check = check
        self._within = within

    async def observe(self, step: Step) -> Seen:
        """Does the step and returns when the calendars are correct, at the latest after `within` seconds.

        For a step that changes no calendar, also waits until the service has finished the step's records.
        """
        before = await self.calendars()
        started = time.perf_counter()
        await step.act(self._outside)
        schedule = await self._outside.core.schedule()
        while True:
            after = await self.calendars()
            seconds = time.perf_counter() - started
            differences = _differences(schedule, after)
            if not differences and (not step.still or await self._all_done()):
                return Seen(step, seconds * 1000, news(before, after), [])
            if seconds > self._within:
                return Seen(step, None, news(before, after), differences or ["the service did not finish the records"])
            self._check()
            await asyncio.sleep(_POLL_SECONDS)

    async def settle(self) -> tuple[Calendars, list[str]]:
        """Waits until the calendars are correct. Returns them, and what is still wrong after `within` seconds."""
        schedule = await self._outside.core.schedule()
        deadline = time.monotonic() + self._within
        while True:
            calendars = await self.calendars()
            differences = _differences(schedule, calendars)
            if not differences or time.monotonic() > deadline:
                return calendars, differences
            self._check()
            await asyncio.sleep(_POLL_SECONDS)

    async def calendars(self) -> Calendars:
        """Returns what Outlook shows now."""
        return await self._outside.graph.events()

    async def _all_done(self) -> bool:
        """Returns whether the service has finished every record that Core sent."""
        metrics = (await self._service.get("/metrics")).raise_for_status().text
        return sum(float(count) for count in _DONE.findall(metrics)) >= self._outside.core.records


def _differences(schedule: Schedule, calendars: Calendars) -> list[str]:
    return compare(expect(schedule, datetime.now(UTC)), calendars, exempt=PARKED)
