"""The sweep in simulated time: what was missed, lost or edited is right after one, and a second writes nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fakes.calendars import Faults
from tests.simulation.loop import simulate
from tests.simulation.test_changes import World, play
from tests.simulation.world import Log, Replica


async def settled_world(seed: int = 1, changes: int = 60) -> tuple[World, Replica]:
    """A world whose calendars equal the schedule, with one replica."""
    world = World(seed)
    await play(world, changes=changes)
    return world, world.replica()


def events(world: World) -> list[tuple[str, str]]:
    return [(address, event_id) for address, box in world.outlook.events.items() for event_id in box]


async def second_sweep_is_idle(world: World, replica: Replica, *, beyond: bool = True) -> None:
    world.judge(beyond=beyond)
    writes, views = world.outlook.writes, world.outlook.views
    assert all(report.whole for report in await replica.sweep(world.core))
    assert world.outlook.writes == writes
    assert world.outlook.views - views == 2 * len(world.core.addresses)


Spoil = Callable[[World, str, str], Awaitable[None]]


async def edited(world: World, address: str, event_id: str) -> None:
    box = world.outlook.events[address]
    box[event_id] = replace(box[event_id], subject="Mine now", etag="edited")


async def moved(world: World, address: str, event_id: str) -> None:
    box = world.outlook.events[address]
    event = box[event_id]
    later = timedelta(days=60)
    box[event_id] = replace(event, start=event.start + later, end=event.end + later, etag="moved")


async def deleted(world: World, address: str, event_id: str) -> None:
    del world.outlook.events[address][event_id]


async def copied(world: World, address: str, event_id: str) -> None:
    box = world.outlook.events[address]
    box["a-copy"] = replace(box[event_id], event_id="a-copy", etag="copy")


async def made_a_series(world: World, address: str, event_id: str) -> None:
    box = world.outlook.events[address]
    box[event_id] = replace(box[event_id], single=False, etag="series")


async def made_all_day(world: World, address: str, event_id: str) -> None:
    box = world.outlook.events[address]
    box[event_id] = replace(box[event_id], is_all_day=True, etag="day")


@pytest.mark.parametrize("spoil", [edited, moved, deleted, copied, made_a_series, made_all_day])
def test_what_a_person_does_to_our_event_is_put_right_once(spoil: Spoil) -> None:
    async def story() -> None:
        world, replica = await settled_world()
        in_window = world.core.wanted()
        address, event_id = next(
            (address, event_id)
            for address, event_id in sorted(events(world))
            if (address, world.outlook.events[address][event_id].tag) in in_window
        )
        await spoil(world, address, event_id)
        await replica.sweep(world.core)
        assert sum(replica.meter.repairs.values()) == 1
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_an_etag_that_moved_by_itself_causes_no_write() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        for box in world.outlook.events.values():
            for event_id in list(box):
                box[event_id] = replace(box[event_id], etag=f"moved-{event_id}")
        writes = world.outlook.writes
        await replica.sweep(world.core)
        assert world.outlook.writes == writes
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("seed", range(8))
def test_changes_that_never_came_are_repaired_by_one_sweep(seed: int) -> None:
    async def story() -> None:
        world, replica = await settled_world(seed)
        world.core.log = Log(1)  # which nobody reads
        for _ in range(60):
            world.core.change()
        reports = await replica.sweep(world.core, allow_mass_delete=True)
        assert all(report.failure is None for report in reports)
        await second_sweep_is_idle(world, replica, beyond=False)
        replica.kill()

    simulate(story())


def test_an_emptied_store_is_rebuilt_from_the_tags_without_a_write() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        for box in world.outlook.events.values():
            beyond = [
                e
                for e, event in box.items()
                if (event.tag and event.start > world.outlook.clock.now() + timedelta(days=21))
            ]
            for event_id in beyond:
                del box[event_id]  # one that neither Core's window nor the store knows cannot be found
        writes = world.outlook.writes
        world.store.links.clear()
        world.store._newest.clear()
        await replica.sweep(world.core)
        assert world.outlook.writes == writes
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("trouble", ["down", "fails in the middle", "leaves a mailbox out"])
def test_a_failed_read_of_core_deletes_nothing_and_is_told(trouble: str) -> None:
    async def story() -> None:
        world, replica = await settled_world()
        before = events(world)
        match trouble:
            case "down":
                world.core.down = True
            case "fails in the middle":
                world.core.fails_at = 3
            case "leaves a mailbox out":
                world.core.lost = frozenset(world.core.addresses[:2])
        reports = await replica.sweep(world.core)
        assert any(report.failure for report in reports)
        assert events(world) == before
        replica.kill()

    simulate(story())


def test_more_vanished_jobs_than_the_fuse_bears_are_held_until_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.domain.fuse.EVENTS", 1)

    async def story() -> None:
        world, replica = await settled_world(changes=400)
        before = events(world)
        world.core.jobs.clear()
        reports = await replica.sweep(world.core)
        assert any(report.held for report in reports)
        assert set(events(world)) <= set(before)
        assert all(report.failure is None for report in reports)
        await replica.sweep(world.core, allow_mass_delete=True)
        in_window = [
            event
            for box in world.outlook.events.values()
            for event in box.values()
            if event.start < world.outlook.clock.now() + timedelta(days=20)
        ]
        assert in_window == []
        replica.kill()

    simulate(story())


def test_a_wiped_table_that_arrives_as_deletions_is_held_on_the_topics_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.domain.fuse.EVENTS", 1)

    async def story() -> None:
        world, replica = await settled_world(changes=400)
        await replica.sweep(world.core)
        for job_id in list(world.core.jobs):
            del world.core.jobs[job_id]
            world.log.append(job_id, None)
        await world.until_done()
        left = events(world)
        assert replica.meter.results["handed_over"] > 0
        reports = await replica.sweep(world.core)
        assert any(report.held for report in reports)
        assert events(world) == left
        await replica.sweep(world.core, allow_mass_delete=True)
        world.judge()
        assert world.store.marks == set()
        assert events(world) == []
        replica.kill()

    simulate(story())


def test_two_addresses_of_one_mailbox_leave_each_others_events_alone() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address = next(address for address, _ in sorted(events(world)))
        world.core.addresses.append("alias@example.com")
        world.outlook.aliases["alias@example.com"] = address
        before = events(world)
        for _ in range(3):
            await replica.sweep(world.core)
            assert events(world) == before
        replica.kill()

    simulate(story())


def test_a_body_that_graph_rewrites_strangely_is_repaired_once_and_then_left() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        world.outlook.strange = True
        for box in world.outlook.events.values():
            for event_id in list(box):
                box[event_id] = replace(box[event_id], body="<p>something else</p>", etag="rewritten")
        await replica.sweep(world.core)
        writes = world.outlook.writes
        for _ in range(3):
            for box in world.outlook.events.values():
                for event_id in list(box):
                    box[event_id] = replace(box[event_id], etag=f"{box[event_id].etag}+")
            await replica.sweep(world.core)
        assert world.outlook.writes == writes
        assert replica.meter.repairs["unsettled"] > 0
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("seed", range(20))
def test_sweeps_and_a_burst_of_changes_on_the_same_jobs_with_every_fault(seed: int) -> None:
    async def story() -> None:
        world = World(seed, Faults(before=0.03, after=0.03, late=0.02, throttled=0.05))
        replica = world.replica()

        async def sweeping() -> None:
            while True:
                await asyncio.sleep(world.random.uniform(0, 5))
                await replica.sweep(world.core)

        sweeps = asyncio.create_task(sweeping())
        for _ in range(120):
            world.core.change()
            await asyncio.sleep(0.1)
        await world.until_done()
        sweeps.cancel()
        world.outlook.faults = Faults()
        await asyncio.sleep(60)  # leases of runs that the cancelled sweep left behind
        await world.outlook.landed()
        await replica.sweep(world.core)
        world.outlook.overwritten.clear()
        await second_sweep_is_idle(world, replica)
        assert world.store.marks == set()
        replica.kill()

    simulate(story())
