"""Sweeps that could not read everything: they report it, keep the last counts, and leave nothing running."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import structlog

from consumer.core.schedule import Roster
from consumer.domain.errors import (
    ForbiddenError,
    InvalidRecordError,
    MailboxRefusedError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.event import EventSummary
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.window import Window
from consumer.sync.change import SweepView
from consumer.sync.conclusions import UNLISTED_AT_MOST
from consumer.sync.report import Report
from consumer.sync.scheduler import SweepScheduler
from tests.fakes.calendars import MemoryCalendar
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.test_changes import World
from tests.simulation.test_sweep import any_in_window, events, second_sweep_is_idle, settled_world
from tests.simulation.test_trouble import add_jobs
from tests.simulation.world import SITES, Core, Log, Replica

ACME = SITES["acme"]
SICK = TransientError("503 ErrorMailboxMoveInProgress")


async def sweep(world: World, replica: Replica, *, dry_run: bool = False) -> Report:
    """One sweep of the first site."""
    return await replica.sweeper(world.core, dry_run=dry_run).sweep(ACME)


async def swept_world() -> tuple[World, Replica, int]:
    """A world whose first site was swept, and the number of jobs with events that were counted."""
    world, replica = await settled_world(changes=200)
    assert (await sweep(world, replica)).whole
    known = await world.store.events("acme")
    assert known > 0
    return world, replica, known


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_sweep_that_read_nothing_fails_and_keeps_the_last_counts(dry_run: bool) -> None:
    async def story() -> None:
        world, replica, known = await swept_world()
        before = events(world)
        world.outlook.refusals = dict.fromkeys(world.core.addresses, SICK)
        for _ in range(5):
            report = await sweep(world, replica, dry_run=dry_run)
            assert report.failure == f"no mailbox could be read: {SICK}"
            assert not report.whole
            assert report.unavailable == []
        assert await world.store.events("acme") == known
        assert await world.store.unread("acme") == {}
        assert events(world) == before
        replica.kill()

    simulate(story())


def test_one_unread_mailbox_fails_the_sweep_and_the_others_are_still_repaired() -> None:
    async def story() -> None:
        world, replica, known = await swept_world()
        sick, well = sorted({address for address, _ in events(world)})[:2]
        world.outlook.refusals = {sick: SICK}
        event_id = next(iter(world.outlook.events[well]))
        del world.outlook.events[well][event_id]
        [report, *_] = await replica.sweep(world.core)
        assert report.failure == f"1 mailbox could not be read: {SICK}"
        assert await world.store.events("acme") == known
        world.outlook.refusals = {}
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_a_mailbox_that_fails_at_first_is_read_again_at_the_end_of_the_same_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        address, event_id = any_in_window(world)
        world.outlook.events[address][event_id] = replace(
            world.outlook.events[address][event_id], subject="Mine", etag="mine"
        )
        view, failed = MemoryCalendar.view, set[str]()

        async def failing(calendar: MemoryCalendar, start: datetime, end: datetime) -> tuple[EventSummary, ...]:
            site_id, viewed = calendar.lease.mailbox
            if viewed == address and site_id not in failed:
                failed.add(site_id)
                raise TransientError("429", retry_after=7.0)
            return await view(calendar, start, end)

        monkeypatch.setattr(MemoryCalendar, "view", failing)
        began = SimulatedClock().monotonic()
        reports = await replica.sweep(world.core)
        assert all(report.whole for report in reports)
        assert all(report.unserved == 0 for report in reports)
        assert SimulatedClock().monotonic() - began >= 7
        assert sum(report.repairs["edited"] for report in reports) == 1
        assert await world.store.unread("acme") == {}
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("replaced", [False, True])
def test_a_mailbox_that_fails_in_three_sweeps_in_a_row_is_unavailable_until_it_answers(replaced: bool) -> None:
    """The same holds if another replica sweeps each time."""

    async def story() -> None:
        world, replica, _ = await swept_world()
        address, event_id = any_in_window(world)
        before = dict(world.outlook.events[address])
        world.outlook.refusals = {address: SICK}
        job_id = str(before[event_id].tag).partition("/")[2]
        world.core.log = Log(1)  # the row is deleted, and its record is not read
        del world.core.jobs[job_id]
        for number in range(1, 5):
            if replaced:
                replica.kill()
                replica = world.replica()
            foretold = await sweep(world, replica, dry_run=True)
            report = await sweep(world, replica)
            assert foretold.whole is report.whole is (number >= 3)
            assert [found.sweeps for found in report.unavailable] == ([number] if number >= 3 else [])
            assert replica.meter.unavailables.get("acme", 0) == len(report.unavailable) == len(foretold.unavailable)
            assert await world.store.unread("acme") == {address: number}
            assert world.outlook.events[address] == before
        world.outlook.refusals = {}
        report = await sweep(world, replica)
        assert (report.whole, report.unavailable, replica.meter.unavailables["acme"]) == (True, [], 0)
        assert await world.store.unread("acme") == {}
        replica.kill()

    simulate(story())


def test_a_mailbox_that_answered_in_between_is_not_unavailable() -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        address = min(world.core.addresses)
        for sick in (True, True, False, True, True):
            world.outlook.refusals = {address: SICK} if sick else {}
            report = await sweep(world, replica)
            assert report.whole is not sick
            assert report.unavailable == []
        await replica.sweeper(world.core).sweep(ACME, only=min(world.core.addresses[1:]))
        assert await world.store.unread("acme") == {address: 2}
        world.outlook.refusals = {}
        await replica.sweeper(world.core).sweep(ACME, only=address)
        assert await world.store.unread("acme") == {}
        replica.kill()

    simulate(story())


def test_a_failed_sweep_keeps_the_number_of_unavailable_mailboxes() -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        world.outlook.refusals = {min(world.core.addresses): SICK}
        assert [(await sweep(world, replica)).whole for _ in range(3)] == [False, False, True]
        assert replica.meter.unavailables["acme"] == 1
        world.outlook.refusals = dict.fromkeys(world.core.addresses[:2], SICK)
        world.outlook.refusals.pop(min(world.core.addresses), None)
        report = await sweep(world, replica)
        assert (report.whole, report.unavailable) == (False, [])
        assert replica.meter.unavailables["acme"] == 1
        replica.kill()

    simulate(story())


def test_the_only_mailbox_of_a_site_is_never_unavailable() -> None:
    async def story() -> None:
        world = World(1)
        world.core.addresses = world.core.addresses[:1]
        replica = world.replica()
        world.outlook.refusals = dict.fromkeys(world.core.addresses, SICK)
        for _ in range(5):
            assert not (await sweep(world, replica)).whole
        replica.kill()

    simulate(story())


def test_an_unexpected_error_never_counts_as_unavailable() -> None:
    async def story() -> None:
        world, replica, known = await swept_world()
        world.outlook.refusals = {min(world.core.addresses): ValueError("a bug")}
        with structlog.testing.capture_logs():
            reports = [await sweep(world, replica) for _ in range(5)]
        assert not any(report.whole or report.unavailable for report in reports)
        assert await world.store.events("acme") == known
        replica.kill()

    simulate(story())


def test_a_parked_mailbox_does_not_make_a_sweep_incomplete() -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        for address in world.core.addresses[:2]:
            await world.store.park(Mailbox("acme", address), "parked by hand", hourly=False)
        report = await sweep(world, replica)
        assert (report.whole, report.unserved, report.troubles.total()) == (True, 2, 0)
        replica.kill()

    simulate(story())


def test_a_site_whose_mailboxes_are_all_parked_keeps_its_count() -> None:
    async def story() -> None:
        world, replica, known = await swept_world()
        for address in world.core.addresses:
            await world.store.park(Mailbox("acme", address), "parked by hand", hourly=False)
        assert (await sweep(world, replica)).whole
        assert await world.store.events("acme") == known
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_mailbox_that_a_sweep_finds_refused_is_parked_and_the_sweep_is_complete(dry_run: bool) -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        world.outlook.refusals = {min(world.core.addresses): MailboxRefusedError("MailboxNotEnabledForRESTAPI")}
        report = await sweep(world, replica, dry_run=dry_run)
        assert (report.whole, report.unserved) == (True, 1)
        assert len(await world.store.list_parked()) == (0 if dry_run else 1)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_site_that_is_suspended_meanwhile_fails_its_sweep(dry_run: bool) -> None:
    async def story() -> None:
        world, replica, known = await swept_world()
        fault = SiteRefusedError("AADSTS7000222", "the client secret has expired: renew it")
        sick = world.core.addresses[3]
        world.outlook.refusals = {sick: fault}
        report = await sweep(world, replica, dry_run=dry_run)
        assert not report.whole
        assert report.failure is not None
        assert str(fault) in report.failure
        assert await world.store.events("acme") == known
        assert await world.store.unread("acme") == {}
        replica.kill()

    simulate(story())


def test_a_site_that_is_paused_meanwhile_fails_its_sweep() -> None:
    async def story() -> None:
        world, replica, known = await swept_world()
        sweeping = asyncio.create_task(sweep(world, replica))
        await asyncio.sleep(0.05)
        replica.sites.pause(["acme"])
        report = await sweeping
        assert report.failure is not None
        assert "paused by hand" in report.failure
        assert await world.store.events("acme") == known
        replica.kill()

    simulate(story())


def test_an_unexpected_error_in_one_mailbox_stops_neither_its_sweep_nor_the_later_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        world, replica, known = await swept_world()
        address, event_id = any_in_window(world)
        view, broken = MemoryCalendar.view, True

        async def failing(calendar: MemoryCalendar, start: datetime, end: datetime) -> tuple[EventSummary, ...]:
            if broken and calendar.lease.mailbox.address == address:
                raise KeyError("a bug, and a client's name")
            return await view(calendar, start, end)

        monkeypatch.setattr(MemoryCalendar, "view", failing)
        rounds = SweepScheduler(
            replica.sweeper(world.core),
            world.store,
            replica.sites,
            clock=SimulatedClock(),
            interval=300,
            owns=lambda site_id: site_id == "acme",
        )
        swept = len(replica.meter.sweeps["acme"])
        with structlog.testing.capture_logs() as logged:
            task = asyncio.create_task(rounds.run())
            await asyncio.sleep(3600)
            task.cancel()
            report = await sweep(world, replica)
            foretold = await sweep(world, replica, dry_run=True)
        assert len(replica.meter.sweeps["acme"]) - swept >= 10
        assert await world.store.events("acme") == known
        assert report.failure == "1 mailbox could not be read: an unexpected error: KeyError"
        assert not foretold.whole
        assert {entry["log_level"] for entry in logged if "unexpected" in entry["event"]} == {"critical"}
        del world.outlook.events[address][event_id]
        broken = False
        await replica.sweep(world.core)
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_an_unexpected_error_in_a_run_ends_the_sweep_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        address, event_id = any_in_window(world)
        run = replica.reconciler.run

        async def failing(site: Any, mailbox: Mailbox, changes: Any) -> Any:
            if mailbox.address == address:
                raise KeyError("a bug")
            return await run(site, mailbox, changes)

        monkeypatch.setattr(replica.reconciler, "run", failing)
        tag = world.outlook.events[address].pop(event_id).tag
        with structlog.testing.capture_logs():
            async with asyncio.timeout(3600):
                await replica.sweep(world.core)
        assert [f"{mailbox.site}/{job_id}" for mailbox, job_id in world.store.marks] == [tag]
        monkeypatch.undo()
        await replica.sweep(world.core)
        assert not world.store.marks
        await second_sweep_is_idle(world, replica)
        replica.kill()

    simulate(story())


def test_an_unexpected_error_in_a_sweep_fails_it_and_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world, replica, known = await swept_world()

        async def broken(_site_id: str, _window: Window) -> AsyncIterator[Roster]:
            rosters: list[Roster] = []
            for roster in rosters:
                yield roster
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(world.core, "schedule", broken)
        with structlog.testing.capture_logs() as logged:
            report = await sweep(world, replica)
        assert report.failure == "an unexpected error: ZeroDivisionError"
        assert [entry["log_level"] for entry in logged if entry.get("exc_info")] == ["critical"]
        assert await world.store.events("acme") == known
        replica.kill()

    simulate(story())


def test_mailboxes_with_changes_that_fail_do_not_keep_a_sweep_waiting_for_the_outage_to_end() -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        world.outlook.refusals = dict.fromkeys(world.core.addresses, TransientError("Graph: no route"))
        for job in list(world.core.jobs.values()):
            world.core.put(replace(job, subject="changed in the outage"))
        await asyncio.sleep(1)
        began = SimulatedClock().monotonic()
        report = await sweep(world, replica)
        assert SimulatedClock().monotonic() - began < 300
        assert report.failure == "no mailbox could be read: Graph: no route"
        replica.kill()

    simulate(story())


def test_repairs_that_never_succeed_end_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        tasks = len(asyncio.all_tasks())
        for address, event_id in events(world):
            del world.outlook.events[address][event_id]

        async def failing(_calendar: MemoryCalendar, _event_id: str) -> None:
            down = TransientError("Graph: no route")
            world.outlook.refusals = dict.fromkeys(world.core.addresses, down)
            raise down

        monkeypatch.setattr(MemoryCalendar, "get", failing)
        async with asyncio.timeout(3600):
            report = await sweep(world, replica)
        assert not report.whole
        assert len(asyncio.all_tasks()) <= tasks + len(replica.lanes._tasks)
        replica.kill()

    simulate(story())


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


@pytest.mark.parametrize("error", [TransientError("Core: HTTP 500"), ValueError("a bug")])
def test_a_failed_sweep_leaves_no_task_and_sends_no_further_request(error: Exception) -> None:
    async def story() -> None:
        world = World(1)
        replica = await big_site(world, 800)
        core = Watched(world.core)
        core.answer = error
        tasks = len(asyncio.all_tasks())
        for number in range(1, 4):
            report = await replica.sweeper(core).sweep(ACME)  # type: ignore[arg-type]
            assert not report.whole
            assert core.asked <= 4 * number
            await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) <= tasks
            assert core.open <= 4 * number
        asked = core.asked
        await asyncio.sleep(60)
        assert core.asked == asked
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


def test_a_cancelled_sweep_does_not_affect_the_next_one() -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        for _ in range(5):
            given_up = asyncio.create_task(sweep(world, replica))
            await asyncio.sleep(0.05)
            given_up.cancel()
            report = await sweep(world, replica)
            assert report.whole
            assert report.mailboxes == len(world.core.addresses)
        replica.kill()

    simulate(story())


def test_a_failed_sweep_begins_no_further_repair() -> None:
    async def story() -> None:
        world, replica, _ = await swept_world()
        address, event_id = any_in_window(world)
        tag = str(world.outlook.events[address][event_id].tag)
        state = replace(world.core.jobs[tag.partition("/")[2]], revision=world.core.revision + 1, subject="too late")
        world.outlook.refusals = {address: TransientError("429", retry_after=30.0)}
        mailbox, writes = Mailbox(tag.partition("/")[0], address), world.outlook.writes
        for given_up in (True, False):
            waiting = asyncio.ensure_future(
                replica.lanes.repair(mailbox, state.job_id, state, SweepView(None, None, "edited"))
            )
            await asyncio.sleep(1)
            if given_up:
                waiting.cancel()
            world.outlook.refusals = {}
            await asyncio.sleep(60)
            assert world.outlook.writes == writes + (not given_up)
            assert replica.lanes.busy == replica.lanes.waiting == 0
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


def test_a_site_that_is_suspended_while_a_sweep_repairs_it_fails_that_sweep() -> None:
    """Every mailbox was read; the writes of the repairs were refused, and their jobs are marked."""

    async def story() -> None:
        world, replica, known = await swept_world()
        for box in world.outlook.events.values():
            box.clear()
        read_only = ForbiddenError("ErrorAccessDenied", write=True)
        world.outlook.write_refusals = dict.fromkeys(world.core.addresses, read_only)
        report = await sweep(world, replica)
        assert replica.sites.suspended("acme") is not None
        assert not report.whole
        assert await world.store.events("acme") == known
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
