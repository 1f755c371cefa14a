"""What the dispatcher does not send: writes of a dry run, and requests beyond the limits that Graph publishes."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from consumer.domain.errors import (
    CalsyncError,
    GoneError,
    MailboxRefusedError,
    ReadOnlyError,
    RequestRefusedError,
    TransientError,
)
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.render import render
from consumer.domain.site import Site
from consumer.domain.timezones import UTC_ZONE
from consumer.graph import budget
from consumer.graph import throttle as module
from consumer.graph.budget import Budget
from consumer.graph.calendars import GraphCalendar, GraphCalendars
from consumer.graph.call import Call
from consumer.graph.dispatcher import Dispatcher
from consumer.http import Answer
from consumer.sync.lease import Lease

SITE = Site("acme", "Acme", "Europe/London", "tenant", "client", "secret")
GRAPH = "https://graph.example/v1.0"
START = datetime(2026, 12, 1, 9, tzinfo=UTC)
EVENT = render(Job("J-1", "acme", 1, "scheduled"), START, START + timedelta(hours=1), UTC_ZONE)
JSON = {"Content-Type": "application/json"}


class Doubles:
    """The meter, the tokens and the connection to Graph, which gives each request the same answer."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.sent: list[str] = []
        self.asked = asyncio.Event()
        self.exchanges: list[str] = []

    async def request(self, method: str, url: str, **_: Any) -> Answer:
        self.sent.append(f"{method} {url.removeprefix(GRAPH)}")
        self.asked.set()
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def get(self, *_: Any) -> str:
        return "token"

    def refused(self, *_: Any) -> None: ...

    def exchange(self, operation: str, _seconds: float) -> None:
        self.exchanges.append(operation)


class Meter:
    def __init__(self, doubles: Doubles) -> None:
        self.exchange = doubles.exchange

    def request(self, *_: Any) -> None: ...

    def throttled(self) -> None: ...


def dispatcher(doubles: Doubles, *, read_only: bool = False, now: float = 1000.0) -> Dispatcher:
    any_double: Any = doubles
    return Dispatcher(SITE, GRAPH, any_double, any_double, Meter(doubles), read_only=read_only, monotonic=lambda: now)


def call(address: str = "ann", method: str = "GET") -> Call:
    return Call("get", method, f"/{address}", address, None if method in ("GET", "DELETE") else {})


async def outcome(target: Dispatcher, asked: Call) -> Any:
    return (await asyncio.gather(target.send(asked), return_exceptions=True))[0]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_a_dry_run_sends_no_write(method: str) -> None:
    doubles = Doubles(Answer(200, JSON, b"{}"))
    target = dispatcher(doubles, read_only=True)
    with pytest.raises(ReadOnlyError):
        await target.send(call(method=method))
    assert doubles.sent == []
    assert await target.send(call()) == {}


async def test_a_mailbox_that_used_up_its_requests_waits_and_no_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAILBOX_REQUESTS", 4)
    doubles = Doubles(Answer(200, JSON, b"{}"))
    target = dispatcher(doubles)
    assert [await outcome(target, call()) for _ in range(2)] == [{}, {}]
    refused = await outcome(target, call())
    assert isinstance(refused, TransientError)
    assert (refused.tenant_wide, refused.retry_after) == (False, 300.0)
    assert await outcome(target, call("bob")) == {}
    assert doubles.sent.count("GET /ann") == 2


async def test_an_app_that_used_up_its_requests_waits_for_all_mailboxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APP_REQUESTS", 4)
    target = dispatcher(Doubles(Answer(200, JSON, b"{}")))
    assert [await outcome(target, call(address)) for address in ("ann", "bob")] == [{}, {}]
    refused = await outcome(target, call("cid"))
    assert isinstance(refused, TransientError)
    assert (refused.tenant_wide, refused.retry_after) == (True, 5.0)


@pytest.mark.parametrize(("method", "unknown"), [("GET", False), ("POST", True)])
async def test_an_unexpected_error_while_sending_leaves_no_caller_waiting(method: str, unknown: bool) -> None:
    doubles = Doubles(ZeroDivisionError())
    target = dispatcher(doubles)
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["exception"]))
    async with asyncio.timeout(5):
        failed = await outcome(target, call(method=method))
    assert isinstance(failed, TransientError)
    assert failed.unknown is unknown, "a write may have been carried out"
    assert doubles.exchanges == ["get"]
    doubles.answer = Answer(200, JSON, b"{}")
    assert await outcome(target, call()) == {}


async def test_a_caller_that_was_cancelled_disturbs_no_other() -> None:
    body = {"responses": [{"id": "0", "status": 200, "body": {}}, {"id": "1", "status": 200, "body": {}}]}
    doubles = Doubles(Answer(200, JSON, orjson.dumps(body)))
    target = dispatcher(doubles)
    first, second = asyncio.create_task(target.send(call("ann"))), asyncio.create_task(target.send(call("bob")))
    await doubles.asked.wait()
    first.cancel()
    with capture_logs() as logs:
        async with asyncio.timeout(2):
            assert await second == {}
    assert logs == []


def opened(status: int, code: str) -> GraphCalendar:
    doubles: Any = Doubles(Answer(status, JSON, orjson.dumps({"error": {"code": code, "message": ""}})))
    calendars = GraphCalendars(GRAPH, "https://login.example", None, Meter(doubles))
    calendars._http, calendars._tokens = doubles, doubles
    return calendars.open(SITE, Lease("app", Mailbox("acme", "ann"), "token", time.monotonic()))


async def fault(act: Any) -> CalsyncError:
    with pytest.raises(CalsyncError) as caught:
        await act
    return caught.value


async def test_a_create_that_finds_no_calendar_refuses_the_mailbox_and_never_counts_as_a_deleted_event() -> None:
    refused = await fault(opened(404, "ErrorItemNotFound").create(EVENT, "acme/J-1", "transaction"))
    assert isinstance(refused, MailboxRefusedError)
    assert refused.hourly
    assert isinstance(await fault(opened(404, "ErrorItemNotFound").update("AAMk=", EVENT)), GoneError)


async def test_a_duplicate_transaction_refuses_a_request_that_creates_nothing() -> None:
    refused = await fault(opened(409, "ErrorDuplicateTransactionId").update("AAMk=", EVENT))
    assert isinstance(refused, RequestRefusedError)


def test_a_budget_forgets_only_keys_that_have_their_requests_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_FORGET_AT", 3)
    limited = Budget(2, 60)
    assert limited.take("spent", 0.0) == 0.0
    for number in range(10):
        assert limited.take(f"{number}", 30.0 + number) == 0.0
    assert limited.take("spent", 59.0) > 0.0
    for number in range(10, 20):
        assert limited.take(f"{number}", 1000.0 * number) == 0.0
    assert len(limited._earned_at) <= 4
