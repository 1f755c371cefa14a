"""Sweeps of tenants that hang do not delay the sweeps of other sites."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from consumer.domain.site import Site
from consumer.sync.report import Report
from consumer.sync.scheduler import OVERDUE_INTERVALS, SITES_AT_ONCE, STANDING_STILL_SECONDS, SweepScheduler
from consumer.sync.site_registry import SiteRegistry
from tests.fakes.store import MemoryStore
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.world import Counts

HANGING = [f"hangs-{number}" for number in range(3 * SITES_AT_ONCE)]
BUSY = [f"busy-{number}" for number in range(2 * SITES_AT_ONCE)]


class Sweeps:
    """A sweeper: some sites hang, others read a mailbox each second."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.under_way = 0
        self.most = 0
        self.overdue_in: dict[str, list[float]] = {}
        """Of each sweep of a site: in how many seconds from its start it is overdue."""

    async def sweep(self, site: Site, *, overdue_at: float, progress: Callable[[Report], None]) -> Report:
        self.started.append(site.site_id)
        self.overdue_in.setdefault(site.site_id, []).append(overdue_at - SimulatedClock().monotonic())
        report = Report(site.site_id)
        if site.site_id in HANGING:
            await asyncio.sleep(1000)
            return report
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(60):
            await asyncio.sleep(1)
            progress(report)
        self.under_way -= 1
        return report


def rounds(sweeps: Sweeps, site_ids: list[str], owns: Callable[[str], bool] = lambda _: True) -> SweepScheduler:
    states: Any = SiteRegistry(None, Counts(), on_resumed=lambda _: None)  # type: ignore[arg-type]
    states.replace({site_id: Site(site_id, site_id, "UTC", "t", site_id, "s") for site_id in site_ids})
    return SweepScheduler(
        sweeps,  # type: ignore[arg-type]
        MemoryStore(SimulatedClock()),
        states,
        clock=SimulatedClock(),
        interval=300,
        owns=owns,
    )


def test_a_site_is_swept_although_more_sites_hang_than_are_swept_at_once() -> None:
    async def story() -> None:
        sweeps = Sweeps()
        running = asyncio.create_task(rounds(sweeps, [*HANGING, "well"]).run())
        await asyncio.sleep(len(HANGING) / SITES_AT_ONCE * (STANDING_STILL_SECONDS + 2) + 2)
        assert "well" in sweeps.started
        running.cancel()

    simulate(story())


def test_sweeps_that_move_on_are_a_few_at_a_time() -> None:
    async def story() -> None:
        sweeps = Sweeps()
        running = asyncio.create_task(rounds(sweeps, BUSY).run())
        await asyncio.sleep(200)
        assert sweeps.most == SITES_AT_ONCE
        assert sorted(sweeps.started) == sorted(BUSY)
        running.cancel()

    simulate(story())


def test_a_site_that_was_away_is_not_overdue_when_it_comes_back() -> None:
    """Another replica swept it meanwhile, so it has not waited."""

    async def story() -> None:
        sweeps, owned = Sweeps(), {"busy-0", "busy-1"}
        running = asyncio.create_task(rounds(sweeps, ["busy-0", "busy-1"], owned.__contains__).run())
        await asyncio.sleep(30)
        owned.remove("busy-1")
        await asyncio.sleep(3000)
        owned.add("busy-1")
        await asyncio.sleep(30)
        assert sweeps.overdue_in["busy-1"] == [pytest.approx(OVERDUE_INTERVALS * 300)] * 2
        running.cancel()

    simulate(story())
