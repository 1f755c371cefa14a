"""The ingress answers in place of a service, before or after the service has done its work."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox.control import CoreControl, GraphControl, IngressControl, RegistryControl
from sandbox.core import app as core
from sandbox.core.schedule import Schedule
from sandbox.graph import app as graph
from sandbox.graph.world import World
from sandbox.ingress import Ingress
from sandbox.registry import Registry
from tests.company import now


class Asked:
    """An application that counts what reaches it."""

    def __init__(self, url: str, ingress: IngressControl, reached: list[str]) -> None:
        self.url = url
        self.ingress = ingress
        self.reached = reached

    async def ask(self, path: str, method: str = "GET") -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.request(method, f"{self.url}{path}")


@pytest.fixture
async def world() -> AsyncIterator[Asked]:
    reached: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        reached.append(f"{request.method} {request.path}")
        return web.Response(text="the service")

    app = web.Application(middlewares=[Ingress().middleware])
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        async with httpx.AsyncClient(base_url=f"{url}/_sandbox") as client:
            yield Asked(url, IngressControl(client), reached)


async def test_the_default_answer_is_that_of_an_ingress_without_a_backend(world: Asked) -> None:
    await world.ingress.answer()
    answer = await world.ask("/jobs/1")
    assert (answer.status_code, answer.text) == (404, "default backend - 404")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert world.reached == []
    await world.ingress.clear()
    assert (await world.ask("/jobs/1")).text == "the service"


async def test_path_and_method_select_the_requests_that_a_rule_strikes(world: Asked) -> None:
    await world.ingress.answer("/sites/*/jobs/", method="get")
    struck = {
        (method, path): (await world.ask(path, method)).status_code == 404
        for method in ("GET", "POST")
        for path in ("/sites/a/jobs/1", "/sites/b/jobs/2/x", "/sites/a/schedule", "/sites/a", "/jobs/1")
    }
    assert {asked for asked, was in struck.items() if was} == {
        ("GET", "/sites/a/jobs/1"),
        ("GET", "/sites/b/jobs/2/x"),
    }


async def test_a_rule_strikes_as_often_as_set_and_counts_its_hits(world: Asked) -> None:
    rule = await world.ingress.answer(skip=1, times=2, status=502, body="")
    assert [(await world.ask("/")).status_code for _ in range(5)] == [200, 502, 502, 200, 200]
    await world.ingress.wait(rule, 2)
    assert await world.ingress.hits(rule) == 2
    with pytest.raises(TimeoutError):
        await world.ingress.wait(rule, 3, within=0.01)


async def test_a_rule_ends_after_its_seconds(world: Asked) -> None:
    await world.ingress.answer(seconds=0)
    assert (await world.ask("/")).status_code == 200


async def test_a_rule_can_replace_the_answer_after_the_service_has_done_its_work(world: Asked) -> None:
    await world.ingress.answer(method="POST", when="after", status=400, content_type="", body="")
    answer = await world.ask("/events", "POST")
    assert (answer.status_code, answer.text, "Content-Type" in answer.headers) == (400, "", False)
    assert world.reached == ["POST /events"]


@pytest.mark.parametrize("wrong", [{"status": 99}, {"when": "soon"}, {"colour": "red"}])
async def test_an_invalid_rule_is_refused(world: Asked, wrong: dict[str, object]) -> None:
    async with httpx.AsyncClient(base_url=world.url) as client:
        assert (await client.post("/_sandbox/ingress", json=wrong)).status_code == 400
        assert (await client.delete("/_sandbox/ingress/i9")).status_code == 404


@pytest.mark.parametrize(
    ("build", "control"),
    [
        (lambda: graph.build(World()), GraphControl),
        (lambda: core.build(Schedule(now), token="t"), CoreControl),
        (lambda: Registry().app(), RegistryControl),
    ],
    ids=["graph", "core", "registry"],
)
async def test_every_stand_in_has_an_ingress(
    build: Callable[[], web.Application], control: Callable[[str], GraphControl | CoreControl | RegistryControl]
) -> None:
    async with TestServer(build()) as server:
        url = str(server.make_url("")).rstrip("/")
        async with control(url) as controls, httpx.AsyncClient() as client:
            rule = await controls.ingress.answer(status=418, body="tea")
            assert (await client.get(f"{url}/anything")).text == "tea"
            assert await controls.ingress.hits(rule) == 1
            await controls.ingress.clear()
            assert (await client.get(f"{url}/anything")).text != "tea"
