"""The services of docker-compose.yml, started natively: they work and recover, and steps can be repeated."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox.chain import CONNECTOR
from sandbox.control import GraphControl
from sandbox.demo.company import PARKED
from sandbox.oracle import compare, expect
from sandbox.servers.process import run
from tests.company import eventually, now
from tests.compose_file import steps
from tests.e2e.composed import Running, composed

SHOWN_WITHIN = 30.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with composed(tmp_path) as everything:
        yield everything


@asynccontextmanager
async def outlook(running: Running) -> AsyncIterator[GraphControl]:
    trusted = ssl.create_default_context(cafile=running.folder / "ca.pem")
    async with GraphControl(running.url("graph:8443", "https"), verify=trusted) as graph:
        yield graph


async def equal(running: Running, graph: GraphControl) -> None:
    """Wait until the calendars equal what is committed."""

    async def none_differs() -> bool:
        schedule = await asyncio.to_thread(running.core.schedule, now)
        assert schedule.jobs
        return compare(expect(schedule, now()), await graph.events(), exempt=PARKED) == []

    await eventually(none_differs, "the calendars equal Core's database", SHOWN_WITHIN)


async def commit(running: Running, graph: GraphControl, sql: str) -> None:
    """Runs one transaction; returns when the calendars show it."""
    await asyncio.to_thread(running.core.run, sql)
    await equal(running, graph)


def calsync(running: Running, *arguments: str) -> str:
    """What `docker compose exec calsync calsync …` prints. Raises ServerFailedError when the command fails."""
    here = running.composed
    return run(
        here.command("calsync", ["calsync", *arguments]), failure="calsync", environment=here.environment("calsync")
    )


async def test_a_row_changed_with_psql_reaches_outlook_and_every_step_can_be_repeated(running: Running) -> None:
    here = running.composed
    async with outlook(running) as graph:
        await equal(running, graph)
        await commit(running, graph, "update clients set name = 'Contoso & Sons' where client_id = 'contoso'")
        held = (await graph.events("anna@northwind.example"))["anna@northwind.example"]
        assert "Core Job — Contoso & Sons (Plant 4)" in [event["subject"] for event in held]
        assert all(here.healthy(name) for name in (*here.processes, "connect"))

        kept = {file.name: file.read_bytes() for file in running.folder.iterdir()}
        events = await graph.events()
        for name in here.services:
            if name in steps():
                await asyncio.to_thread(here.do, name)
        assert here.printed["topics"] == "topics created: none, all existed already"
        assert {file.name: file.read_bytes() for file in running.folder.iterdir()} == kept
        await commit(running, graph, "delete from jobs where client_id = 'contoso'")
        left = {
            address: [e for e in held if e["tag"] is None or "contoso" not in e["tag"]]
            for address, held in events.items()
        }
        assert await graph.events() == left
        assert calsync(running, "check-feed")


async def test_services_recover_after_each_failure(running: Running) -> None:
    here, connect = running.composed, running.connect.api
    async with outlook(running) as graph:
        await equal(running, graph)

        # A new Graph has an empty memory. Its health check creates the tenants, and a sweep creates the events.
        here.processes["graph"].restart()
        calsync(running, "sweep")
        await equal(running, graph)

        # A task that needs a schema fails while there is no registry, and Connect does not restart it.
        running.registry.kill()
        running.connect.restart()
        await asyncio.to_thread(
            running.core.run, "update clients set name = 'Fabrikam & Daughters' where client_id = 'fabrikam'"
        )

        async def failed() -> bool:
            return "FAILED" in await asyncio.to_thread(connect.states, CONNECTOR["name"])

        await eventually(failed, "the task has failed")
        running.registry.start()

        async def mended() -> bool:
            return here.processes["keeper"].find_in_log("a failed task was restarted") is not None

        # The calendars cannot show this, because a sweep may have repaired them before.
        await eventually(mended, "the keeper has restarted the task")
        await equal(running, graph)

        # Core's API is unavailable while its database is.
        running.postgres.stop()
        assert not here.healthy("core")
        running.postgres.start()
        assert here.healthy("core")
        calsync(running, "sweep")
        await commit(running, graph, "update clients set name = 'Contoso' where client_id = 'contoso'")
