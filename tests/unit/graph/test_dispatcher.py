"""The dispatcher's results for answers to whole batches, for refused tokens, and for sites that share an app."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from consumer.domain.errors import ForbiddenError, RequestRefusedError, SiteRefusedError, TransientError
from consumer.domain.site import Site
from consumer.graph.calendars import GraphCalendars
from consumer.graph.call import Call
from consumer.graph.dispatcher import Dispatcher
from consumer.http import Answer

SITE = Site("acme", "Acme", "Europe/London", "tenant", "client", "secret")
GRAPH = "https://graph.example/v1.0"


BODIES = {
    status: {"error": {"code": code}}
    for status, code in ((400, "BadRequest"), (401, "InvalidAuthenticationToken"), (404, "ErrorItemNotFound"))
}


class Meter:
    def request(self, operation: str, status: str) -> None: ...

    def exchange(self, operation: str, seconds: float) -> None: ...

    def throttled(self) -> None: ...


class Tokens:
    """One token for each secret, until it is refused."""

    def __init__(self, *refused: str) -> None:
        self.refusals: list[str] = []
        self._wrong = refused
        self._number = 0

    async def get(self, site: Site) -> str:
        if site.client_secret in self._wrong:
            raise SiteRefusedError("AADSTS7000215", "wrong")
        return f"{site.client_secret}-{self._number}"

    def refused(self, site: Site, token: str) -> None:
        self.refusals.append(token)
        self._number += 1

    def start_over(self, site: Site) -> None: ...

    def close(self) -> None: ...


class Graph:
    """Answers each single request by its address, and batches with the given status."""

    def __init__(self, *, batch: int = 200, alone: Mapping[str, int] | None = None) -> None:
        self.batch = batch
        self.alone = alone or {}
        self.sent: list[str] = []

    async def request(self, method: str, url: str, *, headers: Any = None, body: bytes | None = None) -> Answer:
        path = url.removeprefix(GRAPH)
        self.sent.append(path)
        if path != "/$batch":
            status = self.alone.get(path, 200)
            return Answer(status, {}, orjson.dumps(BODIES.get(status, {})))
        if self.batch != 200:
            return Answer(self.batch, {}, b'{"error":{"code":"BadRequest"}}')
        requests = orjson.loads(body or b"")["requests"]
        statuses = {r["id"]: self.alone.get(r["url"], 200) for r in requests}
        replies = [{"id": n, "status": status, "body": BODIES.get(status, {})} for n, status in statuses.items()]
        return Answer(200, {}, orjson.dumps({"responses": replies}))

    async def close(self) -> None: ...


def dispatcher(graph: Graph, tokens: Tokens | None = None) -> Dispatcher:
    return Dispatcher(SITE, GRAPH, graph, tokens or Tokens(), Meter())  # type: ignore[arg-type]


def call(address: str) -> Call:
    return Call("get", "GET", f"/{address}", address)


async def outcomes(target: Dispatcher, *addresses: str) -> list[Any]:
    return await asyncio.gather(*(target.send(call(address)) for address in addresses), return_exceptions=True)


async def test_a_batch_refused_as_a_whole_fails_its_calls_temporarily_and_each_is_sent_alone_next() -> None:
    graph = Graph(batch=400, alone={"/b": 400})
    target = dispatcher(graph)
    first = await outcomes(target, "a", "b", "c")
    assert [type(outcome) for outcome in first] == [TransientError] * 3
    a, b, c = await outcomes(target, "a", "b", "c")
    assert (a, c) == ({}, {})
    assert isinstance(b, RequestRefusedError)
    assert sorted(graph.sent) == ["/$batch", "/a", "/b", "/c"]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_batch_that_fails_because_of_one_throttled_call_returns_the_results_of_the_others(whole: bool) -> None:
    class Throttled(Graph):
        async def request(self, method: str, url: str, *, headers: Any = None, body: bytes | None = None) -> Answer:
            answer = await super().request(method, url, headers=headers, body=body)
            return Answer(424, {}, answer.body if whole else b'{"error":{"code":"FailedDependency"}}')

    target = dispatcher(Throttled(alone={"/b": 429}))
    done, throttled = await asyncio.gather(
        *(target.send(Call("create", "POST", f"/{address}", address, {})) for address in "ab"), return_exceptions=True
    )
    assert isinstance(throttled, TransientError)
    if whole:
        assert (done, throttled.unknown) == ({}, False)
    else:
        assert isinstance(done, TransientError)
        assert (done.unknown, throttled.unknown) == (True, True)


async def test_a_token_refused_within_a_batch_is_replaced() -> None:
    tokens = Tokens()
    a, b = await outcomes(dispatcher(Graph(alone={"/b": 401}), tokens), "a", "b")
    assert a == {}
    assert isinstance(b, ForbiddenError)
    assert tokens.refusals == ["secret-0"]


async def test_a_site_with_a_wrong_secret_affects_no_other_site_of_the_same_app() -> None:
    calendars = GraphCalendars(GRAPH, "https://login.microsoftonline.com", None, Meter())
    await calendars.close()
    calendars._http, calendars._tokens = Graph(), Tokens("wrong")  # type: ignore[assignment]
    answers: tuple[Any, Any] = await asyncio.gather(
        calendars.send(SITE, call("a")),
        calendars.send(replace(SITE, site_id="globex", client_secret="wrong"), call("b")),
        return_exceptions=True,
    )
    good, bad = answers
    assert good == {}
    assert isinstance(bad, SiteRefusedError)


class Throttling:
    """Answers the first request with 429, and counts all requests."""

    def __init__(self) -> None:
        self.sent = 0
        self.asked = asyncio.Event()

    async def request(self, method: str, url: str, *, headers: Any = None, body: bytes | None = None) -> Answer:
        self.sent += 1
        self.asked.set()
        await asyncio.sleep(0)
        return Answer(429, {"Retry-After": "7"}, b"{}") if self.sent == 1 else Answer(200, {}, b"{}")


async def test_other_calls_of_a_throttled_mailbox_wait_for_its_retry_after() -> None:
    graph = Throttling()
    target = dispatcher(graph)  # type: ignore[arg-type]
    first = asyncio.create_task(target.send(call("a")))
    await graph.asked.wait()
    [behind] = await outcomes(target, "a")  # queued while the other request is in flight
    refused: Any = (await asyncio.gather(first, return_exceptions=True))[0]
    [later], [other] = await outcomes(target, "a"), await outcomes(target, "b")
    for outcome in (refused, behind, later):
        assert isinstance(outcome, TransientError)
        assert outcome.retry_after
        assert outcome.retry_after > 5
    assert other == {}
    assert graph.sent == 2
