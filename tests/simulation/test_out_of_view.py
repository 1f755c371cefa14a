"""Linked events that the sweep's view does not show, in simulated time: what a person added to them survives."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.simulation.loop import START, simulate
from tests.simulation.test_changes import World
from tests.simulation.test_sweep import any_in_window, events, second_sweep_is_idle, settled_world
from tests.simulation.test_trouble import add_jobs
from tests.simulation.world import Replica

HOUR = timedelta(hours=1)


def drag(world: World, address: str, event_id: str) -> None:
    """A person moves the event two months on."""
    event, later = world.outlook.events[address][event_id], timedelta(days=60)
    assert event.start
    assert event.end
    world.outlook.events[address][event_id] = replace(
        event, start=event.start + later, end=event.end + later, etag="dragged"
    )


def of_tag(world: World, address: str, tag: str | None) -> list[str]:
    return [event.event_id for event in world.outlook.events[address].values() if event.tag == tag]


def test_an_event_dragged_to_another_month_comes_back_as_the_same_event() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        tag = world.outlook.events[address][event_id].tag
        for _ in range(2):  # again, after it was back
            drag(world, address, event_id)
            writes = world.outlook.writes
            await replica.sweep(world.core)
            assert of_tag(world, address, tag) == [event_id]
            assert world.outlook.writes == writes + 1
            await second_sweep_is_idle(world, replica)
            await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("place", ["elsewhere", "deleted_items"])
@pytest.mark.parametrize("dragged", [False, True])
def test_an_event_that_no_update_brings_into_view_is_recreated_by_one_sweep(place: str, dragged: bool) -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        tag = world.outlook.events[address][event_id].tag
        getattr(world.outlook, place).add(event_id)
        if dragged:
            drag(world, address, event_id)
        await replica.sweep(world.core)
        [remade] = of_tag(world, address, tag)
        assert remade != event_id
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_a_deleted_event_is_recreated_by_one_sweep_if_its_id_finds_nothing() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        del world.outlook.events[address][event_id]
        await replica.sweep(world.core)
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_an_event_out_of_view_under_another_id_is_adopted() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        box = world.outlook.events[address]
        tag = box[event_id].tag
        drag(world, address, event_id)
        box["imported"] = replace(box.pop(event_id), event_id="imported")
        await replica.sweep(world.core)
        assert of_tag(world, address, tag) == ["imported"]
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("tag", [None, "globex/J1", "acme/J0"])
def test_a_linked_event_without_our_tag_is_left_alone(tag: str | None) -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        box = world.outlook.events[address]
        drag(world, address, event_id)
        theirs = box[event_id] = replace(box[event_id], tag=tag)
        await replica.sweep(world.core)
        assert box.pop(event_id) == theirs
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_of_two_unlinked_events_the_older_stays() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        box = world.outlook.events[address]
        tag, created = box[event_id].tag, box[event_id].created
        assert created
        older, younger = created - timedelta(days=7), created + timedelta(days=1)
        box["0-younger"] = replace(box[event_id], event_id="0-younger", created=younger)
        box["z-older"] = replace(box[event_id], event_id="z-older", created=older)
        world.store.links.clear()
        await replica.sweep(world.core)
        assert of_tag(world, address, tag) == ["z-older"]
        await second_sweep_is_idle(world, replica, beyond=False)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("unsure", ["late", "after", "before", "throttled"])
def test_an_event_out_of_view_ends_as_one_event_in_view_after_any_failure(unsure: str) -> None:
    async def story() -> None:
        for seed in range(4):
            world, replica = await settled_world(seed)
            dragged = sorted(events(world))[::2]
            for address, event_id in dragged:
                drag(world, address, event_id)
            setattr(world.outlook.faults, unsure, 0.2)
            await replica.sweep(world.core)
            setattr(world.outlook.faults, unsure, 0.0)
            await world.outlook.landed()
            for _ in range(3):
                await replica.sweep(world.core)
            world.outlook.overwritten.clear()
            await second_sweep_is_idle(world, replica, beyond=False)
            replica.kill()

    simulate(story())


def test_a_dry_run_shows_the_change_of_an_event_out_of_view() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        drag(world, address, event_id)
        planned = await step(world, replica)
        assert planned == ["update"]
        await replica.sweep(world.core)
        assert await step(world, replica) == []
        world.outlook.elsewhere.add(event_id)
        assert await step(world, replica) == ["remake"]
        replica.kill()

    async def step(world: World, replica: Replica) -> list[str]:
        await replica.sweep(world.core, dry_run=True)
        return [repair.step for repair in replica.planned]

    simulate(story())


def copied(world: World, address: str, event_id: str, to: datetime) -> None:
    """A person copies the event to another time."""
    box = world.outlook.events[address]
    created = START + timedelta(days=1)
    box["copy"] = replace(box[event_id], event_id="copy", etag="copied", start=to, end=to + HOUR, created=created)


def test_a_dragged_event_stays_and_its_copy_in_the_old_place_is_deleted() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        event = world.outlook.events[address][event_id]
        assert event.start
        copied(world, address, event_id, event.start)
        drag(world, address, event_id)
        await replica.sweep(world.core)
        assert of_tag(world, address, event.tag) == [event_id]
        assert world.outlook.events[address][event_id].start == event.start
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("disowned", [False, True])
def test_the_event_of_a_job_beyond_the_window_stays_and_its_copy_in_the_window_is_deleted(disowned: bool) -> None:
    """A linked event without our tag belongs to a person: it stays too, and the copy becomes the job's event."""

    async def story() -> None:
        world = World(1)
        replica = world.replica()
        address, far = world.core.addresses[0], START + timedelta(days=40)
        [job_id] = add_jobs(world, 1, address)
        await world.until_done()
        world.core.put(replace(world.core.jobs[job_id], starts_at=far, ends_at=far + HOUR))
        await world.until_done()
        box = world.outlook.events[address]
        [(event_id, event)] = box.items()
        copied(world, address, event_id, START + timedelta(days=3))
        if disowned:
            box[event_id] = replace(event, tag=None)
        await replica.sweep(world.core)
        assert list(box) == ([event_id, "copy"] if disowned else [event_id])
        assert of_tag(world, address, event.tag) == (["copy"] if disowned else [event_id])
        assert {each.start for each in box.values()} == {far}
        replica.kill()

    simulate(story())
