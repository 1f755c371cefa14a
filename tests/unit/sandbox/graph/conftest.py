"""A sandbox on a real loopback socket, with one tenant, app and mailbox, and a client that has a token."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sandbox.control import Secret
from sandbox.graph.app import build
from sandbox.graph.world import World
from tests.unit.sandbox.graph.client import ANN, APP, SECRET, TENANT, MakeEvent, Outlook, event, tagged


@pytest.fixture
async def outlook() -> AsyncIterator[Outlook]:
    world = World()
    runner = web.AppRunner(build(world), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    outlook = Outlook(f"http://127.0.0.1:{runner.addresses[0][1]}", world)
    await outlook.control.add_app(TENANT, APP, [Secret(SECRET)])
    await outlook.control.add_mailboxes(TENANT, [ANN, "bob@acme.example"])
    await outlook.log_in()
    yield outlook
    await outlook.close()
    await runner.cleanup()


@pytest.fixture
def make_event() -> MakeEvent:
    return event


@pytest.fixture
def make_tagged() -> MakeEvent:
    return tagged
