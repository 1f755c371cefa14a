"""Unusable rows and addresses of Core in simulated time: their own event misses a change, and nothing else happens."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from consumer.core.schedule import Roster
from consumer.domain.errors import InvalidRecordError
from consumer.domain.job import CANCELLED, Job
from consumer.domain.text import html_lines
from consumer.domain.window import Window
from tests.simulation.loop import simulate
from tests.simulation.test_changes import World, play
from tests.simulation.world import Core, Replica


class Spoiled:
    """A Core with one job that cannot be used: its row names no job, or has impossible values."""

    def __init__(self, core: Core, job_id: str, *, nameless: bool) -> None:
        self._core = core
        self._job_id = job_id
        self._nameless = nameless
        self.questions: list[str] = []

    async def schedule(self, site_id: str, window: Window) -> AsyncIterator[Roster]:
        async for roster in self._core.schedule(site_id, window):
            if roster.jobs.pop(self._job_id, None) is not None:
                if self._nameless:
                    roster.nameless = 1
                else:
                    roster.unusable[self._job_id] = "subject holds broken characters"
            yield roster

    async def job(self, site_id: str, job_id: str) -> Job | None:
        self.questions.append(job_id)
        if job_id == self._job_id and not self._nameless:
            raise InvalidRecordError("subject holds broken characters")
        return await self._core.job(site_id, job_id)


async def world_with_a_job(*, boxes: int = 2) -> tuple[World, Replica, Job]:
    world = World(1)
    await play(world, changes=40)
    world.core.create("acme", frozenset(world.core.addresses[:boxes]))
    replica = world.replica()
    await world.until_done()
    [*_, job] = world.core.jobs.values()
    assert len(holders(world, job)) == boxes
    return world, replica, job


def holders(world: World, job: Job) -> dict[str, str]:
    """The first line of the job's event in each mailbox that has it."""
    tagged = [
        (address, event)
        for address, box in world.outlook.events.items()
        for event in box.values()
        if event.tag == f"acme/{job.job_id}"
    ]
    assert len({address for address, _ in tagged}) == len(tagged)
    return {address: html_lines(event.body)[0] for address, event in tagged}


@pytest.mark.parametrize("nameless", [True, False])
def test_the_event_of_an_unusable_row_stays_and_the_rest_is_swept(nameless: bool) -> None:
    async def story() -> None:
        world, replica, job = await world_with_a_job()
        other = next(each for each in world.core.jobs.values() if each.scheduled and each.addresses and each != job)
        for box in world.outlook.events.values():
            for event_id in [event_id for event_id, event in box.items() if event.tag == f"acme/{other.job_id}"]:
                del box[event_id]
        spoiled = Spoiled(world.core, job.job_id, nameless=nameless)
        reports = await replica.sweep(cast("Core", spoiled))
        assert [report.failure for report in reports] == [None, None]
        assert sum(report.unusable for report in reports) >= 1
        assert job.job_id not in spoiled.questions
        world.judge()
        replica.kill()

    simulate(story())


class Hidden:
    """A Core whose schedule has an entry that names no mailbox in the place of one of its workers."""

    def __init__(self, core: Core, address: str) -> None:
        self._core = core
        self._address = address

    async def schedule(self, site_id: str, window: Window) -> AsyncIterator[Roster]:
        rosters = [roster async for roster in self._core.schedule(site_id, window) if roster.address != self._address]
        rosters[-1].unnamed_workers = 1
        for roster in rosters:
            yield roster

    async def job(self, site_id: str, job_id: str) -> Job | None:
        return await self._core.job(site_id, job_id)


def test_an_entry_that_names_no_mailbox_fails_no_sweep_and_its_jobs_are_read_by_their_ids() -> None:
    async def story() -> None:
        world, replica, job = await world_with_a_job()
        ann, bob = sorted(job.addresses)
        world.core.log = type(world.core.log)(1)  # its records are not read
        world.core.put(replace(job, subject="Pump"))
        reports = await replica.sweep(cast("Core", Hidden(world.core, ann)))
        assert [report.failure for report in reports] == [None, None]
        assert holders(world, job) == {ann: "Job: Pump", bob: "Job: Pump"}
        world.judge()
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("by", ["topic", "sweep"])
def test_an_address_that_becomes_unusable_deletes_no_event(by: str) -> None:
    async def story() -> None:
        world, replica, job = await world_with_a_job()
        ann, bob = sorted(job.addresses)
        log = world.core.log
        if by == "sweep":
            world.core.log = type(log)(1)  # its records are not read
        world.core.put(replace(job, addresses=frozenset({ann}), unusable_addresses=1, subject="Pump"))
        await world.until_done()
        for _ in range(2):
            assert all(report.failure is None for report in await replica.sweep(world.core))
            assert holders(world, job) == {ann: "Job: Pump", bob: "Job: new"}, "one has the change, no other lost it"
        # The job is usable again and does not name bob: now it is known that bob's event is not wanted.
        world.core.put(replace(job, addresses=frozenset({ann}), subject="Pump"))
        await world.until_done()
        await replica.sweep(world.core)
        assert set(holders(world, job)) == {ann}
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("by", ["topic", "sweep"])
def test_a_cancelled_job_is_deleted_everywhere_despite_unusable_addresses(by: str) -> None:
    async def story() -> None:
        world, replica, job = await world_with_a_job()
        if by == "sweep":
            world.core.log = type(world.core.log)(1)
        world.core.put(replace(job, addresses=frozenset(), unusable_addresses=2, status=CANCELLED))
        await world.until_done()
        await replica.sweep(world.core)
        assert holders(world, job) == {}
        replica.kill()

    simulate(story())
