"""Whole weeks in simulated time, with seeded faults: rules for every moment, and rules for the end."""

import asyncio
from datetime import timedelta
from random import Random

import pytest

from consumer.domain.errors import ForbiddenError, MailboxRefusedError, TransientError
from tests.fakes.calendars import Faults, MemoryOutlook
from tests.fakes.store import MemoryStore
from tests.simulation.loop import START, SimulatedClock, simulate
from tests.simulation.outlook import start_of
from tests.simulation.world import WINDOW_DAYS, Core, Log, Replica

PARTITIONS = [0, 1, 2, 3]


class World:
    """One log, one Core, one store, one Outlook; replicas come and go."""

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        self.random = Random(seed)
        self.log = Log(len(PARTITIONS))
        self.core = Core(self.log, self.random, mailboxes=8)
        self.store = MemoryStore(SimulatedClock())
        self.outlook = MemoryOutlook(SimulatedClock(), self.random, faults or Faults())

    def replica(self, partitions: list[int] | None = None) -> Replica:
        return Replica(self.log, self.store, self.outlook, self.random, partitions or PARTITIONS)

    async def until_done(self) -> None:
        """Wait until the group has committed everything; an hour of simulated time is more than enough."""
        async with asyncio.timeout(3600):
            while not self.log.done:
                await self.log.moved.wait()
        await self.outlook.landed()
        await asyncio.sleep(0.1)  # so that the next change is later than the last write

    def judge(self, *, beyond: bool = True) -> None:
        """Exactly Core's schedule; only what is marked for the sweep may differ.

        Without ``beyond``, events beyond the window are not checked: a sweep sees them when they enter it.
        """
        left_to_sweep = {(mailbox.address, f"{mailbox.site}/{job_id}") for mailbox, job_id in self.store.marks}
        dirty = left_to_sweep | self.outlook.overwritten
        if not beyond:
            end = START + timedelta(days=WINDOW_DAYS)
            boxes = self.outlook.events.items()
            dirty |= {
                (address, str(event.tag)) for address, box in boxes for event in box.values() if start_of(event) >= end
            }
        tags = self.outlook.tags()
        assert self.outlook.duplicates == []
        assert len(tags) == len(set(tags))
        assert self.core.wanted() - set(tags) - dirty == set()
        assert set(tags) - self.core.allowed() - dirty == set()
        for address, job_tag in tags:
            job = self.core.jobs.get(job_tag.partition("/")[2])
            if (address, job_tag) in dirty or job is None:
                continue
            [event] = [event for event in self.outlook.events[address].values() if event.tag == job_tag]
            assert (event.start, event.end) == job.scheduled
            assert f"Job: {job.subject}" in event.body


async def play(world: World, *, changes: int, kills: int = 0, duplicate: bool = False) -> None:
    """Changes arrive slowly while replicas are killed and replaced; then all work is finished."""
    replica = world.replica()
    kill_after = set(world.random.sample(range(changes), kills))
    for number in range(changes):
        world.core.change()
        await asyncio.sleep(world.random.choice([0.0, 0.01, 0.3]))
        if number in kill_after:
            replica.kill()
            await asyncio.sleep(world.random.choice([0.0, 5.0]))
            if duplicate:
                for partition in PARTITIONS:
                    world.log.committed[partition] = max(0, world.log.committed[partition] - 10)
            replica = world.replica()
    await world.until_done()
    replica.kill()


@pytest.mark.parametrize("seed", range(5))
def test_without_faults_the_calendars_equal_the_schedule(seed: int) -> None:
    async def story() -> None:
        world = World(seed)
        await play(world, changes=150)
        world.judge()
        assert not world.store.marks

    simulate(story())


@pytest.mark.parametrize("seed", range(60))
def test_with_every_fault_and_replicas_killed_no_event_ever_exists_twice(seed: int) -> None:
    async def story() -> None:
        world = World(seed, Faults(before=0.05, after=0.05, late=0.03, throttled=0.1))
        await play(world, changes=150, kills=4)
        world.judge()

    simulate(story())


@pytest.mark.parametrize("seed", range(10))
def test_records_delivered_again_from_earlier_offsets_change_nothing(seed: int) -> None:
    async def story() -> None:
        world = World(seed)
        await play(world, changes=120, kills=6, duplicate=True)
        world.judge()

    simulate(story())


@pytest.mark.parametrize("seed", range(10))
def test_two_replicas_with_a_partition_moving_between_them(seed: int) -> None:
    async def story() -> None:
        world = World(seed, Faults(after=0.05, throttled=0.05))
        first, second = world.replica([0, 1]), world.replica([2, 3])
        for _ in range(100):
            world.core.change()
            await asyncio.sleep(0.05)
        first.kill()
        third = world.replica([0, 1])
        for _ in range(50):
            world.core.change()
            await asyncio.sleep(0.05)
        await world.until_done()
        second.kill()
        third.kill()
        world.judge()

    simulate(story())


def test_delivering_the_whole_log_again_writes_nothing() -> None:
    async def story() -> None:
        world = World(1)
        await play(world, changes=100)
        writes = world.outlook.writes
        for partition in PARTITIONS:
            world.log.committed[partition] = 0
        replica = world.replica()
        await world.until_done()
        replica.kill()
        world.judge()
        assert world.outlook.writes == writes

    simulate(story())


def test_a_mailbox_without_a_licence_is_parked_and_stops_no_other() -> None:
    async def story() -> None:
        world = World(2)
        sick = world.core.addresses[0]
        world.outlook.refusals[sick] = MailboxRefusedError("MailboxNotEnabledForRESTAPI")
        await play(world, changes=100)
        world.judge()
        assert {mailbox.address for mailbox in world.store.parked} == {sick}

    simulate(story())


def test_a_forbidden_mailbox_is_parked_hourly_while_others_of_its_site_answer() -> None:
    async def story() -> None:
        world = World(3)
        sick = world.core.addresses[1]
        world.outlook.refusals[sick] = ForbiddenError("ErrorAccessDenied")
        await play(world, changes=100)
        world.judge()
        parked = world.store.parked
        assert {mailbox.address for mailbox in parked} == {sick}
        assert all(retry_at is not None for _, retry_at in parked.values())

    simulate(story())


def test_a_minute_without_redis_loses_nothing() -> None:
    async def story() -> None:
        world = World(4)
        replica = world.replica()
        for _ in range(40):
            world.core.change()
            await asyncio.sleep(0.05)
        replica.kill()
        world.store.down = True
        world.core.change()
        await asyncio.sleep(60)
        world.store.down = False
        replica = world.replica()
        await world.until_done()
        replica.kill()
        world.judge()

    simulate(story())


def test_one_mailbox_unavailable_for_minutes_is_handed_over_and_holds_up_no_offset() -> None:
    async def story() -> None:
        world = World(6)
        sick = world.core.addresses[2]
        replica = world.replica()
        world.outlook.refusals[sick] = _unavailable()
        world.core.create("acme", frozenset({sick}))
        job = list(world.core.jobs.values())[-1]
        for _ in range(400):
            world.core.change()
            world.core.put(job)  # changed or not: the failing mailbox always has work
            await asyncio.sleep(1)
        await world.until_done()
        replica.kill()
        world.judge()
        assert {mailbox.address for mailbox, _ in world.store.marks} == {sick}
        assert world.store.parked == {}

    simulate(story())


def test_graph_down_as_a_whole_hands_nothing_over_and_commits_nothing_unfinished() -> None:
    async def story() -> None:
        world = World(6)
        for address in world.core.addresses:
            world.outlook.refusals[address] = _unavailable()
        replica = world.replica()
        for _ in range(50):
            world.core.change()
        await asyncio.sleep(1800)
        assert not world.store.marks
        assert not world.log.done
        world.outlook.refusals.clear()
        await world.until_done()
        replica.kill()
        world.judge()

    simulate(story())


def _unavailable() -> Exception:
    return TransientError("503 ErrorMailboxMoveInProgress")
