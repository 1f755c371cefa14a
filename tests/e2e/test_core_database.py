"""The sandbox's Core over a real PostgreSQL: its API returns what is committed, and its company can be made again."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from consumer.core.api import CoreApi
from consumer.domain.window import Window
from consumer.http import Http
from sandbox.core import committed
from sandbox.core.database import CoreDatabase
from sandbox.core.document import dump
from sandbox.demo.company import MAILBOXES, SITES, WORKERS
from sandbox.demo.rows import company
from sandbox.demo.story import Week
from sandbox.servers.postgres import Postgres
from tests.company import now
from tests.unit.sandbox.test_core_api import TOKEN, validate

SITE = SITES[0].site_id


@dataclass
class Core:
    """A database with the company in it, the API over it, and a client."""

    postgres: Postgres
    database: CoreDatabase
    url: str
    http: aiohttp.ClientSession

    async def ask(self, operation: str, path: str, **query: str) -> tuple[int, object]:
        """The answer to a request, checked against the OpenAPI file."""
        async with self.http.get(f"{self.url}{path}", params=query, headers=TOKEN) as answer:
            document = await answer.json(content_type=None)
            validate(operation, answer.status, answer.content_type, document)
            return answer.status, document

    async def page(self) -> tuple[int, str]:
        """The schedule of four weeks, as text."""
        span = {"from": now().isoformat(), "to": (now() + timedelta(weeks=4)).isoformat()}
        status, document = await self.ask("getSchedule", f"/sites/{SITE}/schedule", **span)
        return status, str(document)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    with Postgres(tmp_path, settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture
async def core(postgres: Postgres) -> AsyncIterator[Core]:
    database = CoreDatabase(postgres.psql)
    database.create()
    database.run(company(now()))
    app = committed.build(database, now, token="secret", page_size=2)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield Core(postgres, database, str(server.make_url("")).rstrip("/"), http)


async def test_a_committed_change_is_in_the_next_answer(core: Core) -> None:
    week = f"{Week.after(now()).monday:%G-w%V}"
    status, before = await core.page()
    assert (status, "Contoso" in before, "Renamed" in before) == (200, True, False)
    with core.database.session() as planner:
        planner.run("begin; update clients set name = 'Renamed' where client_id = 'contoso'")
        assert await core.page() == (200, before)
        planner.run("commit")
    assert "Renamed" in (await core.page())[1]
    status, job = await core.ask("getJob", f"/sites/{SITE}/jobs/contoso-{week}")
    assert (status, "Renamed" in str(job)) == (200, True)
    core.database.run("delete from jobs where client_id = 'contoso'")
    assert (await core.ask("getJob", f"/sites/{SITE}/jobs/contoso-{week}"))[0] == 404
    assert (
        await core.ask(
            "getSchedule", "/sites/nobodys/schedule", **{"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
        )
    )[0] == 404


async def test_the_service_reads_every_worker_of_the_database(core: Core) -> None:
    http = Http(ca_file=None, timeout=10)
    api = CoreApi(core.url, lambda: "secret", http)
    read = {roster.address: len(roster.jobs) async for roster in api.schedule(SITE, Window.of(now(), 21))}
    await http.close()
    assert read == {worker.calendar_email: count for worker, count in zip(WORKERS, (2, 3, 2, 1), strict=False)}
    assert read.keys() <= {mailbox.address for mailbox in MAILBOXES}


async def test_requests_fail_while_the_database_is_unavailable(core: Core) -> None:
    core.postgres.stop()
    assert (await core.page())[0] == 503
    core.postgres.start()
    assert (await core.page())[0] == 200


async def test_making_the_database_again_undoes_nothing(core: Core) -> None:
    core.database.run("update jobs set notes = 'A planner was here'; delete from assignments where worker_id = 'ben'")
    core.database.run("delete from jobs where client_id = 'contoso'; delete from workers where worker_id = 'ewa'")
    state = core.database.schedule(now)
    core.database.create("another password")
    core.database.run(company(now()))
    assert dump(core.database.schedule(now)) == dump(state)


async def test_making_the_database_a_week_later_adds_the_jobs_of_that_week(core: Core) -> None:
    def jobs() -> int:
        return int(core.database.run("select count(*) from jobs"))

    first = jobs()
    core.database.run(company(now() + timedelta(weeks=1)))
    assert jobs() == 2 * first > 0
