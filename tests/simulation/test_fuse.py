"""The fuse in simulated time, for the sweep and the topic: which deletions count, and which it stops."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
import structlog

from consumer.domain.errors import StoreUnavailableError, TransientError
from consumer.domain.job import CANCELLED, Job
from consumer.domain.mailbox import Mailbox
from consumer.sync import conclusions
from consumer.sync.ranks import RankRequest, Routed
from consumer.sync.report import Report
from tests.simulation.loop import simulate
from tests.simulation.test_changes import World
from tests.simulation.test_sweep import events
from tests.simulation.world import SITES, Log, Replica

ACME = SITES["acme"]
PER_JOB = 3


async def site_of(jobs: int) -> tuple[World, Replica, list[Job]]:
    """A site of this many jobs, each with three workers, swept once."""
    world = World(1)
    for number in range(jobs):
        first = number % 6
        world.core.create("acme", frozenset(world.core.addresses[first : first + PER_JOB]))
    replica = world.replica()
    await world.until_done()
    assert (await sweep(world, replica)).whole
    assert await world.store.events("acme") == jobs
    assert len(events(world)) == PER_JOB * jobs
    return world, replica, list(world.core.jobs.values())


async def sweep(world: World, replica: Replica, *, dry_run: bool = False) -> Report:
    return await replica.sweeper(world.core, dry_run=dry_run).sweep(ACME)


def delete_unseen(world: World, jobs: list[Job]) -> None:
    """The rows are deleted, and no record is read."""
    world.core.log = Log(1)
    for job in jobs:
        del world.core.jobs[job.job_id]


async def delete_by_the_topic(world: World, jobs: list[Job]) -> None:
    for job in jobs:
        del world.core.jobs[job.job_id]
        world.log.append(job.job_id, None)
    await world.until_done()


@pytest.mark.parametrize(
    ("jobs", "vanished", "blown"),
    [
        (60, 20, False),  # many, and a third of all; but not more than 20
        (60, 21, True),
        (69, 21, True),
        (70, 21, False),  # not more than 30 %
        (100, 30, False),
        (100, 31, True),
    ],
)
def test_more_than_20_jobs_and_more_than_30_percent_of_the_jobs_are_fused_by_the_sweep(
    jobs: int, vanished: int, blown: bool
) -> None:
    async def story() -> None:
        world, replica, present = await site_of(jobs)
        delete_unseen(world, present[:vanished])
        for dry_run in (True, False):
            report = await sweep(world, replica, dry_run=dry_run)
            assert (report.failure, report.held) == (None, PER_JOB * vanished if blown else 0)
            assert report.whole is not blown
        assert len(events(world)) == PER_JOB * (jobs if blown else jobs - vanished)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize(("jobs", "vanished", "blown"), [(60, 20, False), (60, 21, True), (100, 30, False)])
def test_more_than_20_jobs_and_more_than_30_percent_of_the_jobs_are_fused_on_the_topic_too(
    jobs: int, vanished: int, blown: bool
) -> None:
    async def story() -> None:
        world, replica, present = await site_of(jobs)
        await delete_by_the_topic(world, present[:vanished])
        # Records are routed as they arrive: those before the fuse blows are deleted.
        assert bool(world.store.marks) is blown
        assert bool(replica.meter.results.get("handed_over")) is blown
        if not blown:
            assert len(events(world)) == PER_JOB * (jobs - vanished)
        replica.kill()

    simulate(story())


def test_one_job_with_many_workers_is_one_job() -> None:
    async def story() -> None:
        world = World(1)
        world.core.addresses = [f"worker-{number:03}@example.com" for number in range(60)]
        replica = world.replica()
        for _ in range(2):
            world.core.create("acme", frozenset(world.core.addresses))
        await world.until_done()
        first, second = world.core.jobs.values()
        assert (await sweep(world, replica)).whole
        await delete_by_the_topic(world, [first])
        assert len(events(world)) == 60
        delete_unseen(world, [second])
        report = await sweep(world, replica)
        assert (report.whole, report.held, report.repairs["orphaned"]) == (True, 0, 60)
        assert events(world) == []
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("where", ["named", "everywhere"])
def test_marks_of_jobs_without_an_event_do_not_trip_the_fuse(where: str) -> None:
    """Thirty rows were created and deleted while the site was paused."""

    async def story() -> None:
        world, replica, present = await site_of(40)
        address = world.core.addresses[0] if where == "named" else ""
        never = [(Mailbox("acme", address), f"never-{number}") for number in range(30)]
        await world.store.mark_dirty(never)
        delete_unseen(world, present[:5])
        report = await sweep(world, replica)
        assert (report.whole, report.held, report.repairs["orphaned"]) == (True, 0, 5 * PER_JOB)
        assert len(events(world)) == 35 * PER_JOB
        assert not world.store.marks
        replica.kill()

    simulate(story())


def test_marks_of_deleted_jobs_with_events_count_once_with_what_the_sweep_finds() -> None:
    async def story() -> None:
        world, replica, present = await site_of(40)
        delete_unseen(world, present[:20])
        marks = [(Mailbox("acme", min(job.addresses)), job.job_id) for job in present[:20]]
        marks += [(Mailbox("acme", ""), job.job_id) for job in present[:20]]
        await world.store.mark_dirty(marks)
        report = await sweep(world, replica)
        assert (report.whole, report.held) == (True, 0)
        assert len(events(world)) == 20 * PER_JOB
        assert not world.store.marks
        replica.kill()

    simulate(story())


def test_marks_beyond_the_fuse_stay_with_the_events() -> None:
    async def story() -> None:
        world, replica, present = await site_of(60)
        delete_unseen(world, present)
        marks = [(Mailbox("acme", min(job.addresses)), job.job_id) for job in present]
        await world.store.mark_dirty(marks)
        report = await sweep(world, replica)
        assert report.held > 0
        assert len(events(world)) == 60 * PER_JOB
        assert set(world.store.marks) == set(marks)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("how", ["cancelled", "unassigned", "rescheduled", "moved"])
def test_a_job_that_core_still_has_never_counts(how: str) -> None:
    async def story() -> None:
        world, replica, present = await site_of(40)
        world.core.log = Log(1)  # its records are not read
        if how == "moved":  # to another site, whose topic was read
            world.core.log = world.log
        for job in present:
            match how:
                case "cancelled":
                    world.core.put(replace(job, status=CANCELLED))
                case "unassigned":
                    world.core.put(replace(job, addresses=frozenset()))
                case "rescheduled":
                    assert job.starts_at
                    world.core.put(replace(job, starts_at=None))
                case "moved":
                    world.core.put(replace(job, site_id="globex"))
        if how == "moved":
            await world.until_done()
            await world.store.mark_dirty([(Mailbox("acme", ""), job.job_id) for job in present])
        report = await sweep(world, replica)
        assert (report.whole, report.held) == (True, 0)
        assert {tag.partition("/")[0] for _, tag in world.outlook.tags()} == ({"globex"} if how == "moved" else set())
        replica.kill()

    simulate(story())


def test_moved_jobs_are_found_by_a_pending_link_at_their_new_site() -> None:
    async def story() -> None:
        world, replica, present = await site_of(40)
        world.core.log = Log(1)
        for job in present:
            world.core.put(replace(job, site_id="globex"))
        world.outlook.faults.after = 1.0  # no create of the new site is known to have landed
        sweeping = asyncio.create_task(replica.sweeper(world.core).sweep(SITES["globex"]))
        await asyncio.sleep(20)
        sweeping.cancel()
        world.outlook.faults.after = 0.0
        report = await sweep(world, replica)
        assert (report.failure, report.held) == (None, 0)
        replica.kill()

    simulate(story())


def test_past_events_of_vanished_jobs_do_not_count() -> None:
    async def story() -> None:
        world, replica, present = await site_of(40)
        replica.kill()
        ends = sorted(job.ends_at for job in present if job.ends_at)
        await asyncio.sleep((ends[24] - world.outlook.clock.now()).total_seconds() + 1)
        replica = world.replica()
        over = [job for job in present if job.ends_at and job.ends_at < world.outlook.clock.now()]
        assert len(over) >= 21
        left = [job for job in present if job not in over]
        await world.store.mark_dirty([(Mailbox("acme", ""), job.job_id) for job in over])
        delete_unseen(world, [*over, left[0]])
        report = await sweep(world, replica)
        assert (report.whole, report.held) == (True, 0)
        kept = {tag.partition("/")[2] for _, tag in world.outlook.tags()}
        assert kept == {job.job_id for job in (*over, *left[1:])}
        replica.kill()

    simulate(story())


def test_one_mailbox_alone_is_judged_by_the_whole_sites_jobs() -> None:
    async def story() -> None:
        world, replica, present = await site_of(120)
        address = max({address for address, _ in events(world)}, key=[pair[0] for pair in events(world)].count)
        own = [job for job in present if address in job.addresses]
        assert len(own) >= 21
        delete_unseen(world, own[:21])
        report = await replica.sweeper(world.core).sweep(ACME, only=address)
        assert (report.whole, report.held, report.repairs["orphaned"]) == (True, 0, 21)
        replica.kill()

    simulate(story())


def test_a_wiped_table_of_more_events_than_one_sweep_takes_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of vanished jobs is unknown then, so all events stay: no number is small enough to be allowed."""
    monkeypatch.setattr("consumer.sync.conclusions.UNLISTED_AT_MOST", 50)

    async def story() -> None:
        world, replica, present = await site_of(60)
        delete_unseen(world, present)
        for _ in range(4):
            report = await sweep(world, replica)
            assert not report.whole
            assert len(events(world)) == PER_JOB * 60
        replica.kill()

    simulate(story())


def test_a_failed_sweep_keeps_the_number_of_held_deletions_unless_it_holds_some_itself() -> None:
    async def story() -> None:
        world, replica, present = await site_of(60)
        vanished = {job.job_id: job for job in present[:21]}
        delete_unseen(world, [*vanished.values()])
        assert (await sweep(world, replica)).failure is None
        assert replica.meter.helds["acme"] == PER_JOB * 21

        world.outlook.refusals = {world.core.addresses[0]: TransientError("503 ErrorMailboxMoveInProgress")}
        report = await sweep(world, replica)
        assert report.failure is not None
        assert replica.meter.helds["acme"] == report.held > 0
        held = report.held

        world.core.jobs |= vanished
        report = await sweep(world, replica)
        assert report.failure is not None
        assert report.held == 0
        assert replica.meter.helds["acme"] == held

        world.outlook.refusals = {}
        assert (await sweep(world, replica)).whole
        assert replica.meter.helds["acme"] == 0
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("alone", [False, True])
def test_a_sweep_that_fails_between_its_deletions_logs_how_many_it_made(
    alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conclusions, "_ROUTED_AT_ONCE", 4)

    async def story() -> None:
        world, replica, present = await site_of(60)
        address = max(present[0].addresses) if alone else None
        delete_unseen(world, present[:20])
        before, route, calls = len(events(world)), world.store.route, 0

        async def failing(requests: Sequence[RankRequest]) -> list[Routed]:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise StoreUnavailableError("no route to host")
            return await route(requests)

        monkeypatch.setattr(world.store, "route", failing)
        with structlog.testing.capture_logs() as logged:
            report = await replica.sweeper(world.core).sweep(ACME, only=address)
        assert report.failure is not None
        assert report.deleted == before - len(events(world)) == 4
        [failed] = [entry for entry in logged if entry["event"] == "sweep failed"]
        assert (failed["vanished_deleted"], failed["outcome"]) == (4, "ended early")
        replica.kill()

    simulate(story())
