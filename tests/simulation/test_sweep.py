"""The sweep in simulated time: one sweep repairs what was missed, lost or edited, and a second writes nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from consumer.domain.errors import RequestRefusedError, StoreUnavailableError
from consumer.domain.job import Job
from consumer.domain.link import Link, Pending
from consumer.domain.mailbox import Mailbox
from consumer.sync.apply import LANDING_SECONDS
from tests.fakes.calendars import Faults
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.outlook import start_of
from tests.simulation.test_changes import PARTITIONS, World, play
from tests.simulation.world import SITES, Log, Replica


async def settled_world(seed: int = 1, changes: int = 60) -> tuple[World, Replica]:
    """A world whose calendars equal the schedule, with jobs of each site in each mailbox, and one replica."""
    world = World(seed)
    await play(world, changes=changes)
    for site_id in SITES:
        for address in world.core.addresses:
            world.core.create(site_id, frozenset({address}))
    replica = world.replica()
    await world.until_done()
    return world, replica


def events(world: World) -> list[tuple[str, str]]:
    return [(address, event_id) for address, box in world.outlook.events.items() for event_id in box]


def any_in_window(world: World) -> tuple[str, str]:
    """The address and id of an event that must be in its calendar."""
    wanted = world.core.wanted()
    return next(
        (address, event_id)
        for address, event_id in sorted(events(world))
        if (address, world.outlook.events[address][event_id].tag) in wanted
    )


def state(world: World) -> list[tuple[str, object]]:
    """All that Outlook and the store hold."""
    held = [(address, event) for address, box in world.outlook.events.items() for event in box.values()]
    linked = [(str(mailbox), link) for mailbox, links in world.store.links.items() for link in links.items()]
    return [*held, *linked, *((str(mark), times) for mark, times in world.store.marks.items())]


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
    assert event.end is not None
    box[event_id] = replace(event, start=start_of(event) + later, end=event.end + later, etag="moved")


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
def test_a_persons_edit_of_our_event_is_repaired_once(spoil: Spoil) -> None:
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


def test_an_etag_that_changed_by_itself_causes_no_write() -> None:
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
def test_changes_that_never_arrived_are_repaired_by_one_sweep(seed: int) -> None:
    async def story() -> None:
        world, replica = await settled_world(seed)
        world.core.log = Log(1)  # its records are not read
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
                if (event.tag and start_of(event) > world.outlook.clock.now() + timedelta(days=21))
            ]
            for event_id in beyond:
                del box[event_id]  # an event that neither Core's window nor the store knows cannot be found
        writes = world.outlook.writes
        world.store.links.clear()
        world.store._newest.clear()
        await replica.sweep(world.core)
        assert world.outlook.writes == writes
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("trouble", ["down", "fails in the middle", "leaves a mailbox out"])
def test_a_failed_read_of_core_deletes_nothing_and_is_reported(trouble: str) -> None:
    async def story() -> None:
        world, replica = await settled_world()
        before = events(world)
        match trouble:
            case "down":
                world.core.down = True
            case "fails in the middle":
                world.core.fails_at = 3
            case "leaves a mailbox out":
                world.core.lost = frozenset(address for address, _ in world.core.wanted())
        reports = await replica.sweep(world.core)
        assert any(report.failure for report in reports)
        assert events(world) == before
        replica.kill()

    simulate(story())


def test_vanished_jobs_beyond_the_fuse_are_kept_until_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.domain.fuse.JOBS", 1)

    async def story() -> None:
        world, replica = await settled_world(changes=400)
        before = events(world)
        world.core.jobs.clear()
        reports = await replica.sweep(world.core)
        assert any(report.held for report in reports)
        assert before
        assert events(world) == before
        assert all(report.failure is None for report in reports)
        await replica.sweep(world.core, allow_mass_delete=True)
        in_window = [
            event
            for box in world.outlook.events.values()
            for event in box.values()
            if start_of(event) < world.outlook.clock.now() + timedelta(days=20)
        ]
        assert in_window == []
        replica.kill()

    simulate(story())


def test_a_wiped_table_that_arrives_as_deletions_trips_the_fuse_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.domain.fuse.JOBS", 1)

    async def story() -> None:
        world, replica = await settled_world(changes=400)
        await replica.sweep(world.core)
        for job_id in list(world.core.jobs):
            del world.core.jobs[job_id]
            world.log.append(job_id, None)
        await world.until_done()
        left = events(world)
        assert left
        assert replica.meter.results["handed_over"] > 0
        reports = await replica.sweep(world.core)
        assert any(report.held for report in reports)
        assert events(world) == left
        await replica.sweep(world.core, allow_mass_delete=True)
        world.judge()
        assert not world.store.marks
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


def test_a_body_that_graph_rewrites_is_repaired_once_and_then_left() -> None:
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


def test_a_failure_in_one_mailbox_fails_the_sweep_however_early_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world, replica = await settled_world(changes=200)
        address, event_id = any_in_window(world)
        await copied(world, address, event_id)
        gone = next(job for job in world.core.jobs.values() if job.addresses)
        del world.core.jobs[gone.job_id]

        async def unavailable(_job_id: str) -> dict[Mailbox, Link | Pending]:
            raise StoreUnavailableError("Redis: unavailable")

        before = events(world)
        monkeypatch.setattr(world.store, "remembered", unavailable)
        reports = await replica.sweep(world.core)
        assert any(report.failure for report in reports)
        assert events(world) == before
        replica.kill()

    simulate(story())


def restore(world: World, backup: dict[str, Job], revision: int) -> None:
    """Restores Core's database from a backup, without any record of the changes since."""
    world.core.jobs = dict(backup)
    world.core.revision = revision
    world.log.records = {partition: [] for partition in world.log.records}
    world.log.committed = dict.fromkeys(world.log.records, 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ranks", ["remembered", "forgotten"])
def test_a_restored_database_wins_after_a_quarter_of_an_hour(seed: int, ranks: str) -> None:
    async def story() -> None:
        world, replica = await settled_world(seed)
        backup, revision = dict(world.core.jobs), world.core.revision
        for _ in range(20):
            world.core.change()
        await world.until_done()
        restore(world, backup, revision)
        if ranks == "forgotten":
            world.store.forget_ranks()
        written = world.outlook.writes
        reports = await replica.sweep(world.core)
        assert all(report.failure is None for report in reports)
        # Events of jobs missing from Core's answers are deleted at once; events newer than the answers stay for now.
        before, written = events(world), world.outlook.writes
        await replica.sweep(world.core)
        assert (events(world), world.outlook.writes) == (before, written)
        await asyncio.sleep(900)
        await replica.sweep(world.core, allow_mass_delete=True)
        await second_sweep_is_idle(world, replica, beyond=False)
        replica.kill()

    simulate(story())


def test_an_event_removed_by_a_repeated_deletion_is_back_a_quarter_of_an_hour_later() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        job_id = next(iter(world.core.wanted()))[1].partition("/")[2]
        world.store.forget_ranks()
        world.log.append(job_id, None)  # a late deletion of a row that was inserted again since
        await world.until_done()
        await replica.sweep(world.core)
        assert (await replica.sweep(world.core))[0].failure is None
        assert not world.core.wanted() <= set(world.outlook.tags())
        await asyncio.sleep(900)
        await replica.sweep(world.core)
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_a_link_is_forgotten_when_its_event_is_over_for_a_month_and_the_event_stays() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        for box in world.outlook.events.values():
            for event_id, event in list(box.items()):
                assert event.end
                if event.end > world.outlook.clock.now() + timedelta(days=30):
                    del box[event_id]  # it would be in the window when its job is gone
        before = events(world)
        assert before
        world.core.jobs.clear()
        for days in (35, 45):
            replica.kill()
            assert any(world.store.links.values())
            await asyncio.sleep(timedelta(days=days).total_seconds())
            replica = world.replica()
            await replica.sweep(world.core)
        assert not any(world.store.links.values())
        assert events(world) == before
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("runs_at_once", [1, 64])
def test_an_overdue_sweep_ends_although_changes_never_do(runs_at_once: int) -> None:
    """With one run at a time, changes take every turn; with many, each mailbox always has a change waiting."""

    async def story() -> None:
        world, settled = await settled_world()
        settled.kill()
        replica = Replica(world.log, world.store, world.outlook, world.random, PARTITIONS, runs_at_once)
        everyone = frozenset(world.core.addresses)
        for site_id in SITES:
            world.core.create(site_id, everyone)
        own = [job for job in world.core.jobs.values() if job.addresses == everyone]

        async def busy() -> None:
            while True:
                for job in own:
                    world.core.put(replace(job, subject=f"edit {world.core.revision}"))
                await asyncio.sleep(0.01)

        changes = asyncio.create_task(busy())
        await asyncio.sleep(1)
        sweep = asyncio.create_task(replica.sweep(world.core, overdue_at=SimulatedClock().monotonic() + 40))
        await asyncio.sleep(39)
        assert not sweep.done()
        async with asyncio.timeout(300):
            await sweep
        changes.cancel()
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("seed", range(3))
def test_a_dry_run_plans_what_a_sweep_then_does_and_writes_nothing(seed: int) -> None:
    async def story() -> None:
        world, replica = await settled_world(seed)
        world.core.log = Log(1)  # its records are not read
        for _ in range(30):
            world.core.change()
        in_window = world.core.wanted()
        wanted = [
            (address, event_id)
            for address, event_id in sorted(events(world))
            if (address, world.outlook.events[address][event_id].tag) in in_window
        ]
        for spoil, (address, event_id) in zip((edited, deleted, copied, moved), wanted, strict=False):
            await spoil(world, address, event_id)
        before = state(world)
        foretold = await replica.sweep(world.core, dry_run=True, allow_mass_delete=True)
        assert state(world) == before
        done = await replica.sweep(world.core, allow_mass_delete=True)
        assert [report.repairs for report in foretold] == [report.repairs for report in done]
        assert Counter(repair.mailbox.site for repair in replica.planned) == Counter(
            {report.site_id: report.repairs.total() for report in done}
        )
        assert sum(report.repairs.total() for report in done) > 3
        replica.kill()

    simulate(story())


def test_one_mailbox_that_neither_core_nor_a_link_names_is_swept_alone() -> None:
    async def story() -> None:
        world, replica = await settled_world(changes=400)
        left = next(address for address, _ in sorted(events(world)))
        other = next(address for address, _ in sorted(events(world)) if address != left)
        await edited(world, other, next(iter(world.outlook.events[other])))
        for job in list(world.core.jobs.values()):
            if left in job.addresses:
                world.core.put(replace(job, addresses=job.addresses - {left}))
        world.log.records = {partition: [] for partition in world.log.records}
        world.core.addresses.remove(left)
        world.store.links.clear()
        within = world.outlook.clock.now() + timedelta(days=20)
        assert [event for event in world.outlook.events[left].values() if start_of(event) < within]
        views = world.outlook.views
        reports = await replica.sweep(world.core, only=left, named=False)
        assert [report.mailboxes for report in reports] == [0, 0]
        assert world.outlook.views == views
        await replica.sweep(world.core, only=left)
        assert not [event for event in world.outlook.events[left].values() if start_of(event) < within]
        assert "Mine now" in [event.subject for event in world.outlook.events[other].values()]
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
        await world.outlook.landed()
        await asyncio.sleep(LANDING_SECONDS)
        await replica.sweep(world.core)
        world.outlook.overwritten.clear()
        await second_sweep_is_idle(world, replica)
        assert not world.store.marks
        replica.kill()

    simulate(story())


def test_a_mark_stays_while_graph_calls_the_repair_malformed() -> None:
    """Beyond the window, only the mark makes a sweep read the event."""

    async def story() -> None:
        world = World(1)
        replica = world.replica()
        address = world.core.addresses[0]
        world.core.create("acme", frozenset({address}))
        await world.until_done()
        [job] = world.core.jobs.values()
        assert job.starts_at is not None
        assert job.ends_at is not None
        later = timedelta(days=60)
        moved = replace(job, revision=job.revision + 100, starts_at=job.starts_at + later, ends_at=job.ends_at + later)
        world.core.jobs[job.job_id] = moved
        mark = (Mailbox("acme", address), job.job_id)
        await world.store.mark_dirty([mark])
        world.outlook.write_refusals[address] = RequestRefusedError(400, "ErrorInvalidRequest")
        for tries in (1, 2):
            await replica.sweep(world.core)
            assert len(replica.refused) == tries
            assert set(world.store.marks) == {mark}
        world.outlook.write_refusals.clear()
        await replica.sweep(world.core)
        assert not world.store.marks
        [event] = world.outlook.events[address].values()
        assert event.start == moved.starts_at
        replica.kill()

    simulate(story())
