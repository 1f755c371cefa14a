"""A hanging tenant does not delay a healthy one: its requests hold no connection that another tenant needs."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer

from consumer.domain.site import Site
from consumer.graph.calendars import GraphCalendars
from consumer.graph.call import Call
from consumer.graph.dispatcher import AT_ONCE
from sandbox.control import GraphControl, Secret
from sandbox.graph.app import build
from sandbox.graph.world import World

SLOW_TENANTS = 5


class Meter:
    def request(self, operation: str, status: str) -> None: ...

    def exchange(self, operation: str, seconds: float) -> None: ...

    def throttled(self) -> None: ...


@pytest.fixture
async def graph() -> AsyncIterator[GraphControl]:
    async with TestServer(build(World())) as server, GraphControl(str(server.make_url("")).rstrip("/")) as control:
        yield control


def site(tenant: str) -> Site:
    return Site(tenant, tenant.title(), "Europe/London", tenant, "app", "secret")


async def test_tenants_that_hang_hold_up_no_other(graph: GraphControl) -> None:
    slow = [f"slow-{number}" for number in range(SLOW_TENANTS)]
    for tenant in (*slow, "well"):
        await graph.add_app(tenant, "app", [Secret("secret")])
        await graph.add_many_mailboxes(tenant, f"w{{n}}@{tenant}.example", AT_ONCE + 1)
    calendars = GraphCalendars(f"{graph.url}/v1.0", graph.url, None, Meter())

    async def read(tenant: str, number: int) -> object:
        address = f"w{number}@{tenant}.example"
        path = f"/users/{address}/mailboxSettings/timeZone"
        return await calendars.send(site(tenant), Call("timezone", "GET", path, address))

    faults = [await graph.set_fault("slow", tenant=tenant, hold_seconds=60) for tenant in slow]
    hanging = []
    for tenant in slow:
        for number in range(1, AT_ONCE + 1):
            hanging.append(asyncio.create_task(read(tenant, number)))
            # Each in its own turn of the event loop, so that none travels in a batch with another.
            await asyncio.sleep(0.001)
    for fault in faults:
        await graph.wait_for_fault(fault, AT_ONCE)
    async with asyncio.timeout(5):
        assert await read("well", 1)
    beyond = asyncio.create_task(read(slow[0], AT_ONCE + 1))
    await asyncio.sleep(0.05)
    [listed, *_] = await graph.faults()
    assert listed["hits"] == AT_ONCE, "each app bounds itself"
    for fault in faults:
        await graph.release(fault)
    await graph.clear_faults()
    assert all(await asyncio.gather(*hanging, beyond))
    await calendars.close()
