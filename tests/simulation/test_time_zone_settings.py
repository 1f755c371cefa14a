"""A time-zone setting that cannot be read must not keep an event out of a calendar that can be written."""

import asyncio

import pytest

from consumer.domain.errors import ForbiddenError, MailboxRefusedError, RequestRefusedError, TransientError
from consumer.domain.timezones import mark
from consumer.sync.zone_settings import ZONE_AGAIN_SECONDS, ZONE_RETRY_SECONDS
from tests.simulation.loop import simulate
from tests.simulation.test_changes import World
from tests.simulation.test_trouble import add_jobs

STALE = TransientError("503 MailboxInfoStale")


@pytest.mark.parametrize("refusal", [STALE, MailboxRefusedError("ResourceNotFound"), RequestRefusedError(400, "x")])
def test_an_event_is_written_in_the_sites_zone_within_a_sweep_interval(refusal: Exception) -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        world.outlook.zone_refusals[address] = refusal
        replica = world.replica()
        add_jobs(world, 1, address)
        async with asyncio.timeout(300):
            await world.until_done()
        world.judge()
        assert len(world.outlook.tags()) == 1
        assert not world.store.parked
        replica.kill()

    simulate(story())


def test_a_setting_that_cannot_be_read_is_asked_for_hourly_and_not_at_every_run() -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        world.outlook.zone_refusals[address] = STALE
        replica = world.replica()
        add_jobs(world, 1, address)
        await world.until_done()
        asked = world.outlook.zone_reads
        for _ in range(5):
            add_jobs(world, 1, address)
            await world.until_done()
        assert world.outlook.zone_reads == asked
        world.outlook.zone_refusals.clear()
        world.outlook.zones[address] = "Tokyo Standard Time"
        await asyncio.sleep(ZONE_AGAIN_SECONDS)
        add_jobs(world, 1, address)
        await world.until_done()
        assert world.outlook.zone_reads == asked + 1
        replica.kill()

    simulate(story())


def test_the_last_setting_serves_before_the_sites_zone_does() -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        world.outlook.zones[address] = "Tokyo Standard Time"
        replica = world.replica()
        add_jobs(world, 2, address)
        await world.until_done()
        await asyncio.sleep(ZONE_AGAIN_SECONDS)
        world.outlook.zone_refusals[address] = STALE
        writes = world.outlook.writes
        for _ in range(3):
            await replica.sweep(world.core)
            await asyncio.sleep(ZONE_RETRY_SECONDS)
        assert world.outlook.writes == writes  # in another zone, both events would be written again
        replica.kill()

    simulate(story())


def test_a_zone_is_read_again_hourly_and_its_change_rewrites_the_events() -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        replica = world.replica()
        add_jobs(world, 2, address)
        await world.until_done()
        world.outlook.zones[address] = "Tokyo Standard Time"
        writes = world.outlook.writes
        await asyncio.sleep(ZONE_AGAIN_SECONDS + 1)
        await replica.sweep(world.core)
        assert world.outlook.writes == writes + 2
        replica.kill()

    simulate(story())


def test_settings_and_calendars_forbidden_everywhere_suspend_the_site() -> None:
    async def story() -> None:
        world = World(1)
        for address in world.core.addresses:
            world.outlook.zone_refusals[address] = ForbiddenError("ErrorAccessDenied")
            world.outlook.refusals[address] = ForbiddenError("ErrorAccessDenied")
        replica = world.replica()
        add_jobs(world, 1, *world.core.addresses[:3])
        await world.until_done()
        assert replica.meter.up["acme"] is False
        replica.kill()

    simulate(story())


def test_a_forbidden_setting_alone_parks_no_mailbox() -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        world.outlook.zone_refusals[address] = ForbiddenError("ErrorAccessDenied")
        replica = world.replica()
        add_jobs(world, 1, *world.core.addresses)
        async with asyncio.timeout(300):
            await world.until_done()
        assert not world.store.parked
        assert replica.meter.up["acme"] is True
        world.judge()
        reports = await replica.sweep(world.core)
        assert all(report.whole for report in reports)
        replica.kill()

    simulate(story())


def test_an_outage_of_graph_puts_no_event_into_the_sites_zone() -> None:
    async def story() -> None:
        world = World(1)
        world.outlook.zones = dict.fromkeys(world.core.addresses, "Tokyo Standard Time")
        world.outlook.refusals = dict.fromkeys(world.core.addresses, TransientError("503"))
        replica = world.replica()
        add_jobs(world, 2, *world.core.addresses)
        await asyncio.sleep(2 * ZONE_RETRY_SECONDS)
        world.outlook.refusals.clear()
        await world.until_done()
        assert world.outlook.zone_reads >= len(world.core.addresses)
        marks = {link.zone_mark for links in world.store.links.values() for link in links.values()}  # type: ignore[union-attr]
        assert marks == {mark("Tokyo Standard Time")}
        replica.kill()

    simulate(story())
