"""A store that loses data: no second event is made, and the first one stays, with what its worker has added to it."""

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumer.domain.errors import RequestRefusedError
from consumer.domain.mailbox import Mailbox
from consumer.sync.grant import Grant
from consumer.sync.lease import LEASE_SECONDS, Lease
from consumer.sync.reconcile import QUIET_SECONDS
from tests.fakes.store import MemoryStore
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.test_changes import World
from tests.simulation.test_sweep import second_sweep_is_idle
from tests.simulation.test_trouble import add_jobs


async def staffed_world(seed: int = 1, jobs: int = 6) -> World:
    """A world whose calendars equal the schedule: ``jobs`` in each mailbox, written from the topic only."""
    world = World(seed)
    replica = world.replica()
    add_jobs(world, jobs, *world.core.addresses)
    await world.until_done()
    replica.kill()
    return world


def event_ids(world: World) -> dict[tuple[str, str | None], str]:
    """The event of each assignment."""
    return {
        (address, event.tag): event_id
        for address, box in world.outlook.events.items()
        for event_id, event in box.items()
    }


def change_some(world: World, share: int = 3) -> None:
    """Give one job in ``share`` another subject."""
    for job in list(world.core.jobs.values())[::share]:
        world.core.put(replace(job, subject=f"changed {world.core.revision}"))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("loss", ["emptied", "rolled back", "new beside the calendars"])
def test_changes_after_the_store_lost_its_data_update_the_existing_events(loss: str, seed: int) -> None:
    async def story() -> None:
        world = await staffed_world(seed)
        before = event_ids(world)
        snapshot = copy.deepcopy(world.store)
        add_jobs(world, 1, *world.core.addresses)
        replica = world.replica()
        await world.until_done()
        match loss:
            case "emptied":
                world.store.forget()
            case "rolled back":
                world.store.roll_back(snapshot)
            case "new beside the calendars":
                replica.kill()
                world.store = MemoryStore(SimulatedClock())
                replica = world.replica()
        present = event_ids(world)
        change_some(world)
        await world.until_done()
        assert world.outlook.duplicates == []
        assert event_ids(world) == present
        assert before
        assert before.items() <= present.items()
        world.judge()
        await asyncio.sleep(QUIET_SECONDS)
        await replica.sweep(world.core)
        await replica.sweep(world.core)
        assert event_ids(world) == present
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_a_mailbox_is_listed_once_however_often_its_jobs_change_and_only_before_a_create() -> None:
    async def story() -> None:
        world = await staffed_world()
        assert world.outlook.lists == len(world.core.addresses)
        world.store.forget()
        replica = world.replica()
        change_some(world, share=1)
        await world.until_done()
        change_some(world, share=1)
        await world.until_done()
        assert world.outlook.lists == 2 * len(world.core.addresses)
        world.store.roll_back(copy.deepcopy(world.store))
        change_some(world, share=1)  # their events are linked: nothing is created
        await world.until_done()
        assert world.outlook.lists == 2 * len(world.core.addresses)
        replica.kill()

    simulate(story())


def test_the_oldest_of_two_events_with_one_tag_stays_after_a_loss() -> None:
    async def story() -> None:
        world = await staffed_world(jobs=1)
        (address, tag), first = next(iter(event_ids(world).items()))
        box = world.outlook.events[address]
        box["a younger copy"] = replace(
            box[first], event_id="a younger copy", created=SimulatedClock().now(), etag="copied"
        )
        world.store.forget()
        replica = world.replica()
        change_some(world, share=1)
        await world.until_done()
        assert event_ids(world)[address, tag] == first
        assert list(box) == [first]
        replica.kill()

    simulate(story())


def test_a_reassigned_job_leaves_its_old_mailbox_beyond_the_window_too_after_a_loss() -> None:
    async def story() -> None:
        world = await staffed_world(jobs=1)
        job = next(iter(world.core.jobs.values()))
        [address] = job.addresses
        other = next(each for each in world.core.addresses if each != address)
        later = world.core.random_time(40, first_day=25)
        world.core.put(replace(job, **later))
        replica = world.replica()
        await world.until_done()
        world.store.forget()
        world.core.put(replace(world.core.jobs[job.job_id], addresses=frozenset({other})))
        await world.until_done()
        await asyncio.sleep(QUIET_SECONDS)
        for _ in range(2):  # the first sweep learns what the mailbox holds, and the next asks Core about it
            await replica.sweep(world.core)
        assert (address, f"acme/{job.job_id}") not in event_ids(world)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("seed", range(20))
def test_a_create_in_flight_while_the_store_forgets_is_found_and_not_repeated(seed: int) -> None:
    async def story() -> None:
        world = World(seed)
        replica = world.replica()
        add_jobs(world, 2, *world.core.addresses)
        # Requests take up to 0.3 s: some runs have sent their creates, some have not.
        await asyncio.sleep(world.random.uniform(0.2, 0.8))
        world.store.forget()
        await world.until_done()
        assert world.outlook.duplicates == []
        world.judge()
        replica.kill()

    simulate(story())


def test_no_run_begins_right_after_a_loss_while_others_may_still_be_sending() -> None:
    async def story() -> None:
        world = await staffed_world(jobs=1)
        replica = world.replica()
        change_some(world, share=1)
        await world.until_done()
        world.store.forget()
        writes = world.outlook.writes
        change_some(world, share=1)
        await asyncio.sleep(QUIET_SECONDS - 0.5)
        assert world.outlook.writes == writes
        await world.until_done()
        world.judge()
        replica.kill()

    simulate(story())


def test_a_run_that_has_lost_its_lease_sends_nothing_and_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = MemoryStore.begin
    lost: list[Lease] = []

    async def begin_and_lose(store: MemoryStore, *arguments: Any, **options: Any) -> Any:
        answer = await begin(store, *arguments, **options)
        if isinstance(answer, Grant):
            held = store._leases[answer.lease.app, answer.lease.mailbox.address]
            held.token = "somebody else"
            assert not await store.renew(answer.lease)
            lost.append(answer.lease)
        return answer

    async def story() -> None:
        world = await staffed_world(jobs=1)
        replica = world.replica()
        writes, before = world.outlook.writes, copy.deepcopy(world.store.links)
        with monkeypatch.context() as patched:
            patched.setattr(MemoryStore, "begin", begin_and_lose)
            change_some(world, share=1)
            await asyncio.sleep(LEASE_SECONDS / 2)
        assert {lease.mailbox.address for lease in lost} == set(world.core.addresses)
        assert (world.outlook.writes, world.store.links) == (writes, before)
        await world.until_done()
        world.judge()
        replica.kill()

    simulate(story())


@pytest.mark.parametrize(
    ("age", "lost", "may"), [(0.0, False, True), (3.9, False, True), (4.1, False, False), (0.0, True, False)]
)
def test_a_request_leaves_only_under_a_lease_that_was_renewed_in_time(age: float, lost: bool, may: bool) -> None:
    lease = Lease("app", Mailbox("acme", "anna@acme.example"), "token", 100.0, lost)
    assert lease.may_send(100.0 + age) is may


def test_a_mailbox_that_cannot_be_listed_gets_no_new_event_and_its_other_work_goes_on() -> None:
    async def story() -> None:
        world = await staffed_world(jobs=1)
        replica = world.replica()
        world.store.roll_back(copy.deepcopy(world.store))  # nothing is lost, and no mailbox is known
        world.outlook.list_refusal = RequestRefusedError(400, "ErrorInvalidRequest")
        before = event_ids(world)
        assert before
        change_some(world, share=1)
        add_jobs(world, 1, world.core.addresses[0])
        await asyncio.sleep(60)
        assert event_ids(world) == before
        assert replica.refused == []
        assert all("changed" in event.body for box in world.outlook.events.values() for event in box.values())
        world.outlook.list_refusal = None
        await world.until_done()
        await replica.sweep(world.core)
        world.judge()
        replica.kill()

    simulate(story())


def test_history_is_neither_linked_nor_asked_about() -> None:
    async def story() -> None:
        world = await staffed_world(jobs=1)
        (address, _), event_id = next(iter(event_ids(world).items()))
        box, years = world.outlook.events[address], timedelta(days=800)
        old = box[event_id]
        assert old.start
        assert old.end
        for number in range(50):
            box[f"old-{number}"] = replace(
                old, event_id=f"old-{number}", tag=f"acme/old-{number}", start=old.start - years, end=old.end - years
            )
        world.store.forget()
        asked: list[tuple[str, str]] = []
        elsewhere = world.store.linked_elsewhere

        async def noted(mailbox: Mailbox, events: Sequence[tuple[str, str]]) -> set[str]:
            asked.extend(events)
            return await elsewhere(mailbox, events)

        world.store.linked_elsewhere = noted  # type: ignore[method-assign]
        replica = world.replica()
        change_some(world, share=1)
        await world.until_done()
        linked = [job_id for links in world.store.links.values() for job_id in links]
        for job_ids in ([job_id for job_id, _ in asked], linked):
            assert job_ids
            assert not any(job_id.startswith("old") for job_id in job_ids)
        assert world.outlook.duplicates == []
        replica.kill()

    simulate(story())
