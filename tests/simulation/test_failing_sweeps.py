"""Sweeps that an error or a cancellation ends: it is reported, and the sweep leaves nothing running."""

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
    TransientError,
)
from consumer.domain.event import EventSummary
from consumer.domain.mailbox import Mailbox
from consumer.domain.window import Window
from consumer.sync.change import SweepView
from consumer.sync.scheduler import SweepScheduler
from tests.fakes.calendars import MemoryCalendar
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.test_changes import World
from tests.simulation.test_incomplete_sweeps import ACME, sweep, swept_world
from tests.simulation.test_sweep import any_in_window, events, second_sweep_is_idle
from tests.simulation.test_unlisted_assignments import Watched, big_site


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
