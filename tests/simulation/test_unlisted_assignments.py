"""Assignments and jobs that Core's list does not name: a sweep asks Core about each before it removes an event."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from consumer.core.schedule import Roster
from consumer.domain.errors import (
    InvalidRecordError,
)
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.window import Window
from consumer.sync.conclusions import UNLISTED_AT_MOST
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.test_changes import World
from tests.simulation.test_incomplete_sweeps import ACME, sweep, swept_world
from tests.simulation.test_sweep import events, second_sweep_is_idle
from tests.simulation.test_trouble import add_jobs
from tests.simulation.world import Core, Log, Replica


async def big_site(world: World, jobs: int) -> Replica:
    """A site with this many events, and the replica that wrote them."""
    for number in range(jobs):
        world.core.create("acme", frozenset({world.core.addresses[number % len(world.core.addresses)]}))
    replica = world.replica()
    await world.until_done()
    assert len(events(world)) == jobs
    return replica


class Watched:
    """A Core that records the number of open requests, and of tasks during them."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.lists: list[Roster] = []
        self.open = self.most_open = self.asked = self.most_tasks = 0
        self.answer: Exception | Job | None = None

    async def schedule(self, site_id: str, window: Window) -> AsyncIterator[Roster]:
        for roster in self.lists:
            yield roster

    async def job(self, site_id: str, job_id: str) -> Job | None:
        self.asked += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
        await asyncio.sleep(0.05)
        self.open -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_an_empty_answer_of_core_for_a_big_site_costs_few_requests_and_tasks() -> None:
    async def story() -> None:
        world = World(1)
        replica = await big_site(world, 800)
        core = Watched(world.core)
        report = await replica.sweeper(core).sweep(ACME)  # type: ignore[arg-type]
        assert report.held > 0
        assert core.most_open == 4
        assert core.asked <= 0.3 * 800 + 1 + 4
        assert core.most_tasks < 30
        assert len(events(world)) == 800
        replica.kill()

    simulate(story())


def test_a_job_with_many_workers_is_asked_for_once() -> None:
    async def story() -> None:
        world = World(1)
        world.core.create("acme", frozenset(world.core.addresses))
        replica = world.replica()
        await world.until_done()
        core = Watched(world.core)
        report = await replica.sweeper(core).sweep(ACME)  # type: ignore[arg-type]
        assert core.asked == 1
        assert report.repairs["orphaned"] == len(world.core.addresses)
        assert events(world) == []
        replica.kill()

    simulate(story())


def test_more_unlisted_assignments_than_one_sweep_takes_are_left_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.sync.conclusions.UNLISTED_AT_MOST", 10)
    assert UNLISTED_AT_MOST > 10_000

    async def story() -> None:
        world = World(1)
        replica = await big_site(world, 25)
        core = Watched(world.core)
        left = [25]
        while left[-1]:
            report = await replica.sweeper(core).sweep(ACME, allow_mass_delete=True)  # type: ignore[arg-type]
            left.append(len(events(world)))
            assert report.whole is (left[-1] == 0)
        assert left == [25, 15, 5, 0]
        replica.kill()

    simulate(story())


def test_an_unusable_row_does_not_count_as_a_vanished_job_and_its_mark_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        monkeypatch.setattr("consumer.domain.fuse.JOBS", 0)
        before = events(world)
        ours = [
            job
            for job in world.core.jobs.values()
            if (min(job.addresses, default=""), f"acme/{job.job_id}") in world.core.wanted()
        ]
        marks = [(Mailbox("acme", min(job.addresses)), job.job_id) for job in ours]
        assert marks
        await world.store.mark_dirty(marks)
        core = Watched(world.core)
        core.answer = InvalidRecordError("ends_at is before starts_at")
        report = await replica.sweeper(core).sweep(ACME)  # type: ignore[arg-type]
        assert (report.whole, report.held) == (True, 0)
        assert report.unusable == core.asked > 0
        assert events(world) == before
        assert set(marks) <= set(world.store.marks)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("in_place", [None, 0, 1])
def test_an_assignment_that_core_lists_late_is_repaired_and_not_orphaned(in_place: int | None, only: bool) -> None:
    """Core lists an address once in its place, with this many of its jobs or none, and again at the end."""

    async def story() -> None:
        world, replica, _ = await swept_world()
        world.core.log = Log(1)  # its records are not read
        address = min(world.core.addresses)
        for _ in range(3):
            world.core.create("acme", frozenset({address}))
        await replica.sweep(world.core)
        assert len(world.outlook.events[address]) >= 3
        world.outlook.events[address].popitem()
        rosters = [roster async for roster in world.core.schedule("acme", Window.of(SimulatedClock().now(), 21))]
        [ours] = [roster for roster in rosters if roster.address == address]
        jobs = list(ours.jobs.items())
        listed = [] if in_place is None else [Roster(address, dict(jobs[:in_place]))]
        core = Watched(world.core)
        core.lists = [
            *listed,
            *(roster for roster in rosters if roster is not ours),
            Roster(address, dict(jobs[in_place or 0 :]), late=True),
        ]
        options: dict[str, Any] = {"only": address} if only else {}
        report = await replica.sweeper(core).sweep(ACME, **options)  # type: ignore[arg-type]
        assert (report.failure, report.repairs.total(), core.asked) == (None, 1, 0)
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_an_assignment_that_neither_the_list_nor_its_late_part_names_is_orphaned() -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        address, tag = min(pair for pair in world.core.wanted() if pair[1].startswith("acme/"))
        [event_id] = [event.event_id for event in world.outlook.events[address].values() if event.tag == tag]
        rosters = [roster async for roster in world.core.schedule("acme", Window.of(SimulatedClock().now(), 21))]
        core = Watched(world.core)
        core.lists = [
            *(roster for roster in rosters if roster.address != address),
            Roster(address, {}, {"J-unusable": "ends_at is before starts_at"}, late=True),
        ]
        report = await replica.sweeper(core).sweep(ACME)  # type: ignore[arg-type]
        assert core.asked == report.repairs["orphaned"] > 0
        assert event_id not in world.outlook.events[address]
        assert report.unusable == 1
        replica.kill()

    simulate(story())


def test_a_site_that_has_left_the_sites_file_is_not_asked_about() -> None:
    """Core no longer knows the site and would never answer; only the job's other links are left of it."""

    async def story() -> None:
        world = World(1)
        replica = world.replica()
        anna, ben = world.core.addresses[:2]
        [job_id] = add_jobs(world, 1, anna, site_id="globex")
        add_jobs(world, 1, *world.core.addresses)
        await world.until_done()
        replica.sites.replace({"acme": ACME})  # globex was merged into acme
        world.core.put(replace(world.core.jobs[job_id], site_id="acme", addresses=frozenset({ben})))
        await world.until_done()
        world.core.log = Log(1)
        del world.core.jobs[job_id]  # and its record is not read
        world.core.unknown_sites = {"globex"}
        assert (await sweep(world, replica)).whole
        replica.kill()

    simulate(story())
