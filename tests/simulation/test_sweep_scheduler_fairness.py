"""Sweeps of tenants that hang do not delay the sweeps of other sites."""

import asyncio
from collections.abc import Callable
from typing import Any

from consumer.domain.site import Site
from consumer.sync.report import Report
from consumer.sync.scheduler import SITES_AT_ONCE, STANDING_STILL_SECONDS, SweepScheduler
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
        self.forgotten: list[str] = []

    def forget(self, site_id: str) -> None:
        self.forgotten.append(site_id)

    async def sweep(self, site: Site, *, overdue_at: float, progress: Callable[[Report], None]) -> Report:
        self.started.append(site.site_id)
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


def test_the_sweeps_of_a_site_that_moved_away_are_forgotten_once_the_last_has_ended() -> None:
    async def story() -> None:
        sweeps, owned = Sweeps(), {"busy-0", "busy-1"}
        running = asyncio.create_task(rounds(sweeps, ["busy-0", "busy-1", "busy-2"], owned.__contains__).run())
        await asyncio.sleep(30)
        owned.remove("busy-1")
        await asyncio.sleep(25)
        assert (sweeps.under_way, sweeps.forgotten) == (2, []), "its sweep is still under way, and will be counted"
        await asyncio.sleep(60)
        assert sweeps.forgotten == ["busy-1"], "once, and no site that was never swept here"
        owned.add("busy-1")
        await asyncio.sleep(300)
        owned.clear()
        await asyncio.sleep(120)
        assert sorted(sweeps.forgotten) == ["busy-0", "busy-1", "busy-1"]
        running.cancel()

    simulate(story())
