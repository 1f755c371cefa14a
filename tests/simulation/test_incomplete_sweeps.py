"""Sweeps that could not read everything: they report it, keep the last counts, and leave nothing running."""

import asyncio
from dataclasses import replace
from datetime import datetime

import pytest
import structlog

from consumer.domain.errors import (
    MailboxRefusedError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.event import EventSummary
from consumer.domain.mailbox import Mailbox
from consumer.sync.report import Report
from tests.fakes.calendars import MemoryCalendar
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.test_changes import World
from tests.simulation.test_sweep import any_in_window, events, second_sweep_is_idle, settled_world
from tests.simulation.world import SITES, Log, Replica

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
