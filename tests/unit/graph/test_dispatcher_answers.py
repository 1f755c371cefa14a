"""The dispatcher's results for foreign or incomplete answers: never "done", "gone" or "refused"."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from consumer.domain.errors import (
    CalsyncError,
    ForbiddenError,
    GoneError,
    MailboxRefusedError,
    RequestRefusedError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.event import RemoteEvent
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.render import render
from consumer.domain.site import Site
from consumer.domain.timezones import UTC_ZONE
from consumer.foreign import ForeignAnswers
from consumer.graph.calendars import GraphCalendar, GraphCalendars
from consumer.graph.call import Call
from consumer.graph.dialect import from_json
from consumer.graph.dispatcher import Dispatcher
from consumer.http import Answer, NoAnswerError
from consumer.sync.lease import SEND_WITHIN_SECONDS, Lease

SITE = Site("acme", "Acme", "Europe/London", "tenant", "client", "secret")
GRAPH = "https://graph.example/v1.0"
PAGE = b"<html><body>default backend - 404</body></html>"
DECIDED = (GoneError, MailboxRefusedError, ForbiddenError, RequestRefusedError, SiteRefusedError)
"""Errors that would park, refuse, delete or dead-letter."""


class Meter:
    def request(self, operation: str, status: str) -> None: ...

    def exchange(self, operation: str, seconds: float) -> None: ...

    def throttled(self) -> None: ...


class Tokens:
    """A new token after each refusal; fetching one waits for the gate."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.wanted = asyncio.Event()

    async def get(self, site: Site) -> str:
        self.wanted.set()
        await self.gate.wait()
        return f"token-{len(self.refusals)}"

    def refused(self, site: Site, token: str) -> None:
        if token == f"token-{len(self.refusals)}":
            self.refusals.append(token)


class Graph:
    """Answers each request with the result of ``answer`` for its path and body."""

    def __init__(self, answer: Callable[[str, Any], Answer]) -> None:
        self.answer = answer
        self.sent: list[tuple[str, str]] = []
        self.tokens: list[str] = []

    async def request(self, method: str, url: str, *, headers: Any = None, body: bytes | None = None) -> Answer:
        path = url.removeprefix(GRAPH)
        self.sent.append((method, path))
        self.tokens.append(headers["Authorization"])
        return self.answer(path, orjson.loads(body) if body else None)

    async def close(self) -> None: ...


class Desk:
    """A dispatcher with its doubles."""

    def __init__(self, answer: Callable[[str, Any], Answer]) -> None:
        self.graph = Graph(answer)
        self.tokens = Tokens()
        self.foreign: list[str] = []
        counted = ForeignAnswers(self.foreign.append, time.monotonic)
        self.dispatcher = Dispatcher(SITE, GRAPH, self.graph, self.tokens, Meter(), counted)  # type: ignore[arg-type]

    async def outcomes(self, *calls: Call) -> list[Any]:
        return await asyncio.gather(*(self.dispatcher.send(call) for call in calls), return_exceptions=True)


def call(address: str = "a", *, write: bool = False, lease: Lease | None = None) -> Call:
    if write:
        return Call("create", "POST", f"/users/{address}/events", address, {}, lease)
    return Call("get", "GET", f"/users/{address}/events/1", address, None, lease)


def lease(address: str = "a") -> Lease:
    return Lease("app", Mailbox("acme", address), "token", time.monotonic())


def replies(*documents: Any) -> Callable[[str, Any], Answer]:
    return lambda path, body: Answer(200, {}, orjson.dumps({"responses": list(documents)}))


def page(status: int, content_type: str = "text/html", body: bytes = PAGE, *, wait: str | None = None) -> Answer:
    waits = {} if wait is None else {"Retry-After": wait}
    return Answer(status, {"Content-Type": content_type, **waits}, body)


# --- foreign answers ----------------------------------------------------------------------------------------------

FOREIGN_PAGES = [
    *(page(status) for status in (200, 201, 203, 301, 302, 307, 400, 401, 403, 404, 405, 408, 409, 410, 413, 422)),
    *(page(status, "", b"") for status in (200, 201, 202, 204, 206, 400, 403, 404)),
    page(404, "text/plain", b"default backend - 404"),
    page(404, "application/json", b'{"message":"no Route matched with those values"}'),
    page(403, "application/json", b'{"error":"forbidden"}'),
    page(400, "application/json", b'{"error":{"code":400,"message":"?"}}'),
    page(404, "application/json", b'{"error":{"code":"ErrorItemNotFound"'),
    page(200, "application/json", b"[]"),
    page(200, "application/json", b"null"),
]


@pytest.mark.parametrize("answer", FOREIGN_PAGES, ids=lambda answer: f"{answer.status} {answer.body[:20]!r}")
@pytest.mark.parametrize("write", [True, False])
async def test_a_page_instead_of_an_answer_decides_nothing(answer: Answer, *, write: bool) -> None:
    desk = Desk(lambda *_: answer)
    [outcome] = await desk.outcomes(call(write=write))
    assert type(outcome) is TransientError
    assert (outcome.foreign, outcome.unknown) == (True, write)
    assert "graph.example" in str(outcome)
    assert str(answer.status) in str(outcome)
    assert desk.foreign == ["graph"]
    assert desk.tokens.refusals == [], "the token is not at fault"
    assert len(desk.graph.sent) == 1


@pytest.mark.parametrize("answer", FOREIGN_PAGES, ids=lambda answer: f"{answer.status} {answer.body[:20]!r}")
async def test_a_page_instead_of_a_batchs_answer_decides_nothing(answer: Answer) -> None:
    desk = Desk(lambda *_: answer)
    read, written = await desk.outcomes(call("a"), call("b", write=True))
    for outcome, unknown in ((read, False), (written, True)):
        assert type(outcome) is TransientError
        assert (outcome.foreign, outcome.unknown) == (True, unknown)
    assert desk.foreign == ["graph"], "one answer"
    assert desk.tokens.refusals == []


@pytest.mark.parametrize("body", [None, "PGh0bWw+", {}, {"error": {}}, {"error": {"code": 404}}, [1]])
@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 404, 405, 408, 410, 413, 424])
async def test_a_page_within_a_batch_decides_nothing(status: int, body: Any) -> None:
    headers = {"Content-Type": "text/html", "Retry-After": 7}
    inner = [{"id": str(n), "status": status, "headers": headers, "body": body} for n in range(2)]
    desk = Desk(replies(*inner))
    read, written = await desk.outcomes(call("a"), Call("update", "PATCH", "/users/b/events/1", "b", {}))
    for outcome, unknown in ((read, False), (written, True)):
        if status == 200 and isinstance(body, dict):
            assert not isinstance(outcome, CalsyncError), "an object, for a call that takes any"
            continue
        assert type(outcome) is TransientError
        assert (outcome.foreign, outcome.unknown, outcome.retry_after) == (True, unknown, 7)
    assert desk.tokens.refusals == []


@pytest.mark.parametrize("status", [429, 503])
async def test_a_proxys_retry_after_is_obeyed(status: int) -> None:
    desk = Desk(lambda *_: page(status, "", b"", wait="7"))
    [outcome] = await desk.outcomes(call(write=True))
    assert isinstance(outcome, TransientError)
    assert (outcome.retry_after, outcome.foreign, outcome.unknown) == (7, False, status == 503)
    [again] = await desk.outcomes(call())
    assert isinstance(again, TransientError)
    assert again.retry_after
    assert 6 < again.retry_after <= 7
    assert len(desk.graph.sent) == 1


NOT_GRAPHS = [
    *(page(status, wait="3600") for status in (200, 302, 400, 401, 403, 404, 408, 429, 500, 502, 503)),
    page(503, "application/json", b'{"error":{"code":503}}', wait="3600"),
    page(429, "application/json", b'{"message":"API rate limit exceeded"}', wait="3600"),
    page(302, "application/json", b'{"error":{"code":"TooManyRequests"}}', wait="3600"),
]


@pytest.mark.parametrize("addresses", ["a", "ab"])
@pytest.mark.parametrize("answer", NOT_GRAPHS, ids=lambda answer: f"{answer.status} {answer.body[:20]!r}")
async def test_a_foreign_answer_stops_a_mailbox_for_a_minute_at_most(answer: Answer, addresses: str) -> None:
    desk = Desk(lambda *_: answer)
    for outcome in (*await desk.outcomes(*map(call, addresses)), *await desk.outcomes(*map(call, addresses))):
        assert isinstance(outcome, TransientError)
        assert outcome.retry_after is not None
        assert 50 < outcome.retry_after <= 60


@pytest.mark.parametrize(
    ("status", "body"), [(429, None), (503, "<html>"), (404, {"error": "no"}), (200, []), (503, {"error": {}})]
)
async def test_a_foreign_answer_within_a_batch_stops_its_mailbox_for_a_minute_at_most(status: int, body: Any) -> None:
    headers = {"Retry-After": "3600"}
    desk = Desk(replies(*({"id": str(n), "status": status, "headers": headers, "body": body} for n in range(2))))
    for outcome in (*await desk.outcomes(call("a"), call("b")), *await desk.outcomes(call("a"))):
        assert isinstance(outcome, TransientError)
        assert outcome.retry_after is not None
        assert 50 < outcome.retry_after <= 60


async def test_a_delete_with_an_unidentified_answer_stops_its_mailbox_for_a_minute_at_most() -> None:
    desk = Desk(lambda *_: Answer(204, {"Retry-After": "3600"}, b""))
    deleted, again = [(await desk.outcomes(Call("delete", "DELETE", "/users/a/events/1", "a")))[0] for _ in range(2)]
    assert deleted is None
    assert 50 < again.retry_after <= 60


@pytest.mark.parametrize("addresses", ["a", "ab"])
@pytest.mark.parametrize("status", [429, 503])
async def test_graphs_retry_after_is_obeyed_up_to_an_hour(status: int, addresses: str) -> None:
    body = orjson.dumps({"error": {"code": "ApplicationThrottled"}})
    desk = Desk(lambda *_: page(status, "application/json", body, wait="1800"))
    for outcome in await desk.outcomes(*map(call, addresses)):
        assert outcome.retry_after == 1800
    if status == 429 or addresses == "a":
        [again] = await desk.outcomes(call("a"))
        assert 1790 < again.retry_after <= 1800


EVENT = {"id": "AAMk=", "subject": "x", "start": None, "end": None}
WHOLE: list[tuple[str, str, int, Any]] = [
    ("create", "POST", 201, EVENT),
    ("create", "POST", 200, EVENT),
    ("update", "PATCH", 200, EVENT),
    ("delete", "DELETE", 204, None),
    ("get", "GET", 200, EVENT),
    ("view", "GET", 200, {"value": [EVENT]}),
    ("find", "GET", 200, {"value": []}),
    ("tagged", "GET", 200, {"value": []}),
    ("time_zone", "GET", 200, {"value": "UTC"}),
    ("time_zone", "GET", 200, {"value": ""}),
    ("time_zone", "GET", 200, {"value": None}),
]
EMPTY: tuple[Any, ...] = (None, {}, EVENT)
NO_EVENT: tuple[Any, ...] = (None, {}, [], "x", {"value": []})
NO_LIST: tuple[Any, ...] = (None, {}, [], EVENT, {"value": None}, {"value": {}}, {"value": [None]}, {"value": [{}]})
NO_ZONE: tuple[Any, ...] = (None, {}, [], "UTC", {"value": 5}, {"timeZone": "UTC"}, {"value": {}})
NOT_WHOLE: list[tuple[str, int, Any]] = [
    *(("create", status, EVENT) for status in (202, 203, 204, 206)),
    *(("update", status, EVENT) for status in (201, 202, 204)),
    *(("delete", status, body) for status in (200, 201, 202) for body in EMPTY),
    *(("get", status, EVENT) for status in (201, 202, 204, 206)),
    *((name, 200, body) for name in ("create", "update", "get") for body in NO_EVENT),
    *((name, 200, {"id": wrong}) for name in ("create", "update", "get") for wrong in (None, "", 5)),
    ("get", 200, EVENT | {"location": "a text"}),
    *((name, 204, None) for name in ("view", "find", "tagged", "time_zone")),
    *((name, 200, body) for name in ("view", "find", "tagged") for body in NO_LIST),
    *((name, 200, {"value": [], "@odata.nextLink": 5}) for name in ("view", "find", "tagged")),
    *(("time_zone", 200, body) for body in NO_ZONE),
]


def act(calendar: GraphCalendar, name: str) -> Any:
    start = datetime(2026, 12, 1, 9, tzinfo=UTC)
    event = render(Job("J", "acme", 1, "x"), start, start + timedelta(hours=1), UTC_ZONE)
    acts: dict[str, Callable[[], Any]] = {
        "create": lambda: calendar.create(event, "acme/J", "t"),
        "update": lambda: calendar.update("AAMk=", event),
        "delete": lambda: calendar.delete("AAMk="),
        "get": lambda: calendar.get("AAMk="),
        "view": lambda: calendar.view(start, start + timedelta(days=1)),
        "find": lambda: calendar.find("acme/J"),
        "tagged": lambda: calendar.tagged("acme", start),
        "time_zone": lambda: calendar.time_zone(),
    }
    return acts[name]()


def opened(status: int, body: Any, foreign: list[str]) -> GraphCalendar:
    counted = ForeignAnswers(foreign.append, time.monotonic)
    calendars = GraphCalendars(GRAPH, "https://login.microsoftonline.com", None, Meter(), counted)
    answer = Answer(status, {"Content-Type": "application/json"}, b"" if body is None else orjson.dumps(body))
    calendars._http, calendars._tokens = Graph(lambda *_: answer), Tokens()  # type: ignore[assignment]
    return calendars.open(SITE, lease())


@pytest.mark.parametrize(("name", "method", "status", "body"), WHOLE)
async def test_answers_of_graph_itself_are_accepted(name: str, method: str, status: int, body: Any) -> None:
    foreign: list[str] = []
    answer = await act(opened(status, body, foreign), name)
    assert foreign == []
    assert not isinstance(answer, RemoteEvent) or answer.event_id == "AAMk="


@pytest.mark.parametrize(("name", "status", "body"), NOT_WHOLE)
async def test_a_foreign_success_does_not_count_as_a_success(name: str, status: int, body: Any) -> None:
    foreign: list[str] = []
    with pytest.raises(TransientError) as failed:
        await act(opened(status, body, foreign), name)
    assert failed.value.foreign
    assert failed.value.unknown is (name in ("create", "update", "delete"))
    assert foreign == ["graph"]


HOSTILE = b'{"id":"AAMk=","reminderMinutesBeforeStart":1e999}'


async def test_an_event_that_cannot_be_read_fails_no_other_call_of_its_batch() -> None:
    inner = b'{"responses":[{"id":"0","status":200,"body":%s},{"id":"1","status":200,"body":{}}]}' % HOSTILE
    desk = Desk(lambda *_: Answer(200, {}, inner))
    hostile = Call("update", "PATCH", "/users/a/events/1", "a", {}, None, from_json)
    read, other = await desk.outcomes(hostile, call("b"))
    assert type(read) is TransientError
    assert (read.foreign, read.unknown) == (True, True)
    assert other == {}


# --- requests without an answer in a batch ------------------------------------------------------------------------

DONE = {"id": "1", "status": 201, "body": EVENT}
INCOMPLETE: list[list[Any]] = [
    [],
    [DONE],
    [DONE, {"id": "0"}],
    [DONE, {"id": "0", "status": None}],
    [DONE, {"id": "0", "status": "201", "body": EVENT}],
    [DONE, {"id": "0", "status": True, "body": EVENT}],
    [DONE, {"id": "0", "status": 201.0, "body": EVENT}],
    [DONE, {"id": 0, "status": 201, "body": EVENT}],
    [DONE, {"id": ["0"], "status": 201, "body": EVENT}],
    [DONE, {"id": "7", "status": 201, "body": EVENT}],
    [DONE, {"status": 201, "body": EVENT}],
    [DONE, None, "0", 5],
    [DONE, {"id": "0", "status": 201, "body": EVENT}, {"id": "0", "status": 201, "body": EVENT}],
    [DONE, {"id": "0", "status": 404, "body": {"error": {"code": "ErrorItemNotFound"}}}, {"id": "0", "status": 200}],
    [DONE, {"id": "0", "status": 0}],
    [DONE, {"id": "0", "status": 999, "body": {"error": {"code": "ErrorItemNotFound"}}}],
]


@pytest.mark.parametrize("documents", INCOMPLETE, ids=repr)
async def test_a_request_without_its_answer_in_a_batch_is_in_doubt(documents: list[Any]) -> None:
    desk = Desk(replies(*documents))
    doubtful, other = await desk.outcomes(call("a", write=True), call("b", write=True))
    assert isinstance(doubtful, TransientError)
    assert doubtful.unknown
    assert other == EVENT if DONE in documents else other.unknown
    desk = Desk(replies(*documents))
    read, _ = await desk.outcomes(call("a"), call("b"))
    assert isinstance(read, TransientError)
    assert not read.unknown


async def test_any_headers_of_a_reply_are_accepted() -> None:
    headers: list[Any] = [None, [], {"Retry-After": None}]
    strange = [{"id": str(n), "status": 429, "headers": h} for n, h in enumerate(headers)]
    desk = Desk(replies(*strange))
    for outcome in await desk.outcomes(call("a", write=True), call("b"), call("c")):
        assert type(outcome) is TransientError
        assert not outcome.unknown


async def test_a_retry_after_within_a_batch_applies_only_to_its_mailbox() -> None:
    def answer(path: str, body: Any) -> Answer:
        if path != "/$batch":
            return Answer(200, {}, b"{}")
        throttled = {"error": {"code": "ApplicationThrottled"}}
        return replies(
            {"id": "0", "status": 429, "headers": {"Retry-After": "7"}, "body": throttled},
            {"id": "1", "status": 200, "headers": {}, "body": {}},
        )(path, body)

    desk = Desk(answer)
    throttled, well = await desk.outcomes(call("a"), call("b"))
    assert (throttled.retry_after, well) == (7, {})
    [again] = await desk.outcomes(call("a"))
    assert isinstance(again, TransientError)
    assert again.retry_after
    assert 6 < again.retry_after <= 7
    assert await desk.outcomes(call("b")) == [{}]
    assert desk.graph.sent == [("POST", "/$batch"), ("GET", "/users/b/events/1")]


@pytest.mark.parametrize(("sent", "write", "unknown"), [(True, True, True), (True, False, False), (False, True, False)])
async def test_only_a_sent_write_without_an_answer_has_an_unknown_outcome(
    *, sent: bool, write: bool, unknown: bool
) -> None:
    def answer(path: str, body: Any) -> Answer:
        raise NoAnswerError("TimeoutError", sent=sent)

    for addresses in ("a", "ab"):
        desk = Desk(answer)
        for outcome in await desk.outcomes(*(call(address, write=write) for address in addresses)):
            assert type(outcome) is TransientError
            assert (outcome.unknown, outcome.foreign) == (unknown, False)


# --- the token first, then the lease ------------------------------------------------------------------------------


async def test_a_lease_that_ends_while_the_token_is_fetched_sends_nothing() -> None:
    desk = Desk(lambda *_: Answer(201, {}, b"{}"))
    desk.tokens.gate.clear()
    held = lease()
    sending = asyncio.create_task(desk.dispatcher.send(call(write=True, lease=held)))
    await desk.tokens.wanted.wait()
    held.renewed_at -= SEND_WITHIN_SECONDS + 1
    desk.tokens.gate.set()
    with pytest.raises(TransientError, match="lease") as late:
        await sending
    assert not late.value.unknown, "nothing left"
    assert desk.graph.sent == []


async def test_a_lease_that_is_lost_while_the_token_is_fetched_takes_its_call_out_of_the_batch() -> None:
    desk = Desk(lambda *_: Answer(201, {}, b"{}"))
    desk.tokens.gate.clear()
    held, lost = lease("a"), lease("b")
    sending = asyncio.create_task(desk.outcomes(call("a", write=True, lease=held), call("b", write=True, lease=lost)))
    await desk.tokens.wanted.wait()
    lost.lost = True
    desk.tokens.gate.set()
    well, late = await sending
    assert well == {}
    assert isinstance(late, TransientError)
    assert desk.graph.sent == [("POST", "/users/a/events")]
    assert desk.dispatcher._queues._suspects == set(), "a mailbox that was not asked is not slow"


async def test_a_lease_that_ends_before_the_second_try_sends_no_second_one() -> None:
    held = lease()

    def answer(path: str, body: Any) -> Answer:
        held.renewed_at -= SEND_WITHIN_SECONDS + 1
        return Answer(401, {}, b'{"error":{"code":"InvalidAuthenticationToken"}}')

    desk = Desk(answer)
    [outcome] = await desk.outcomes(call(write=True, lease=held))
    assert isinstance(outcome, TransientError)
    assert not outcome.unknown
    assert len(desk.graph.sent) == 1


async def test_an_app_that_is_throttled_while_the_token_is_fetched_sends_nothing() -> None:
    desk = Desk(lambda *_: Answer(200, {}, b"{}"))
    desk.tokens.gate.clear()
    sending = asyncio.create_task(desk.dispatcher.send(call()))
    await desk.tokens.wanted.wait()
    desk.dispatcher._throttle._not_before = time.monotonic() + 7
    desk.tokens.gate.set()
    with pytest.raises(TransientError) as throttled:
        await sending
    assert throttled.value.tenant_wide
    assert desk.graph.sent == []


async def test_the_second_try_takes_a_request_from_the_budgets() -> None:
    desk = Desk(lambda *_: Answer(401, {}, b'{"error":{"code":"InvalidAuthenticationToken"}}'))
    taken: list[str] = []

    class Counting:
        def take(self, key: str, now: float) -> float:
            taken.append(key)
            return 0.0

    throttle = desk.dispatcher._throttle
    throttle._app_budget = throttle._mailbox_budget = Counting()  # type: ignore[assignment]
    await desk.outcomes(call("a"))
    assert taken == ["", "a", "", "a"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b'{"error":{"code":"InvalidAuthenticationToken"}}'),
        ({"WWW-Authenticate": 'Bearer realm="", error="invalid_token"'}, b""),
    ],
)
async def test_a_token_that_graph_refuses_is_replaced_once(headers: dict[str, str], body: bytes) -> None:
    answers = iter([Answer(401, headers, body), Answer(200, {}, b"{}")])
    desk = Desk(lambda *_: next(answers))
    assert await desk.outcomes(call()) == [{}]
    assert desk.graph.tokens == ["Bearer token-0", "Bearer token-1"]


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, b'{"error":{"code":"InvalidAuthenticationToken"}}', "InvalidAuthenticationToken"),
        ({}, b'{"error":{"code":"NoPermissionsInAccessToken"}}', "NoPermissionsInAccessToken"),
        ({}, b'{"error":{"code":"Unauthorized"}}', "Unauthorized"),
        ({"WWW-Authenticate": 'Bearer realm="", error="invalid_token"'}, b"", "InvalidAuthenticationToken"),
    ],
)
@pytest.mark.parametrize("write", [True, False])
async def test_a_fresh_token_that_is_refused_too_decides_nothing_alone(
    headers: dict[str, str], body: bytes, code: str, *, write: bool
) -> None:
    """The site's other mailboxes may answer with the same token, so the error is that of a 403."""
    desk = Desk(lambda path, _: Answer(401, headers, body) if "/users/a/" in path else Answer(200, {}, b"{}"))
    [refused] = await desk.outcomes(call(write=write))
    assert isinstance(refused, ForbiddenError)
    assert (refused.code, refused.write, refused.token) == (code, write, True)
    assert desk.graph.tokens == ["Bearer token-0", "Bearer token-1"]
    assert await desk.outcomes(call("b")) == [{}]
    assert desk.tokens.refusals == ["token-0"], "the fresh token serves the others"


async def test_a_request_with_a_transient_code_is_not_sent_again_at_once_at_any_status() -> None:
    desk = Desk(lambda *_: Answer(401, {}, b'{"error":{"code":"UnknownError"}}'))
    [outcome] = await desk.outcomes(call(write=True))
    assert type(outcome) is TransientError
    assert outcome.unknown
    assert len(desk.graph.sent) == 1
    assert desk.tokens.refusals == ["token-0"], "the next request still has a new token"


def unauthorized(*refused: str, code: str = "InvalidAuthenticationToken") -> Callable[[str, Any], Answer]:
    """Answers 401 for these addresses, alone and within batches."""

    def one(path: str) -> tuple[int, Any]:
        return (401, {"error": {"code": code}}) if path.split("/")[2] in refused else (200, {"id": "1"})

    def answer(path: str, body: Any) -> Answer:
        if path != "/$batch":
            status, content = one(path)
            return Answer(status, {}, orjson.dumps(content))
        inner = [(request["id"], *one(request["url"])) for request in body["requests"]]
        return replies(*({"id": n, "status": status, "body": content} for n, status, content in inner))(path, body)

    return answer


async def test_a_token_refused_within_a_batch_is_replaced_once_and_then_judged() -> None:
    desk = Desk(unauthorized("b", "c"))
    a, b, c = await desk.outcomes(call("a"), call("b"), call("c", write=True))
    assert a == {"id": "1"}
    for refused, write in ((b, False), (c, True)):
        assert isinstance(refused, ForbiddenError)
        assert (refused.code, refused.write, refused.token) == ("InvalidAuthenticationToken", write, True)
    assert desk.graph.tokens == ["Bearer token-0", "Bearer token-1"]
    assert desk.graph.sent == [("POST", "/$batch"), ("POST", "/$batch")]
    assert desk.tokens.refusals == ["token-0"]
    assert not desk.dispatcher._queues._flying
    assert not desk.dispatcher._queues._waiting


async def test_a_call_of_a_batch_that_the_fresh_token_serves_is_answered() -> None:
    desk = Desk(lambda *_: Answer(500, {}, b""))
    desk.graph.answer = lambda path, body: unauthorized(*(["b"] if not desk.tokens.refusals else []))(path, body)
    assert await desk.outcomes(call("a"), call("b")) == [{"id": "1"}] * 2
    assert desk.graph.sent == [("POST", "/$batch"), ("GET", "/users/b/events/1")]


async def test_a_lease_that_ends_after_a_refused_token_sends_no_second_request() -> None:
    held = lease("b")

    def answer(path: str, body: Any) -> Answer:
        held.renewed_at -= SEND_WITHIN_SECONDS + 1
        return unauthorized("b")(path, body)

    desk = Desk(answer)
    a, b = await desk.outcomes(call("a"), call("b", write=True, lease=held))
    assert a == {"id": "1"}
    assert isinstance(b, TransientError)
    assert not b.unknown
    assert len(desk.graph.sent) == 1


async def test_a_batch_refused_as_a_whole_twice_has_each_of_its_calls_asked_alone() -> None:
    refusal = Answer(401, {}, b'{"error":{"code":"InvalidAuthenticationToken"}}')
    desk = Desk(lambda path, body: refusal if path == "/$batch" else unauthorized("b")(path, body))
    for outcome in await desk.outcomes(call("a"), call("b")):
        assert type(outcome) is TransientError
        assert (outcome.retry_after, outcome.unknown) == (0.0, False)
    assert desk.graph.tokens == ["Bearer token-0", "Bearer token-1"]
    a, b = await desk.outcomes(call("a"), call("b"))
    assert a == {"id": "1"}
    assert isinstance(b, ForbiddenError)


async def test_a_cancelled_call_is_not_sent_again() -> None:
    sending: list[asyncio.Task[Any]] = []

    def answer(path: str, body: Any) -> Answer:
        sending[0].cancel()
        return Answer(401, {}, b'{"error":{"code":"InvalidAuthenticationToken"}}')

    desk = Desk(answer)
    sending.append(asyncio.create_task(desk.dispatcher.send(call())))
    with pytest.raises(asyncio.CancelledError):
        await sending[0]
    desk.graph.answer = unauthorized()
    assert await desk.outcomes(call("b")) == [{"id": "1"}]
    assert len(desk.graph.sent) == 2
    assert not desk.dispatcher._queues._waiting


async def test_a_page_at_the_second_try_refuses_no_site() -> None:
    answers = iter([Answer(401, {}, b'{"error":{"code":"InvalidAuthenticationToken"}}'), page(401)])
    desk = Desk(lambda *_: next(answers))
    [outcome] = await desk.outcomes(call())
    assert not isinstance(outcome, DECIDED)
    assert outcome.foreign


async def test_a_failure_of_entra_does_not_count_against_a_mailbox() -> None:
    desk = Desk(lambda *_: Answer(200, {}, b"{}"))

    async def failing(site: Site) -> str:
        raise TransientError("Entra: HTTP 503", tenant_wide=True, foreign=True, retry_after=3)

    desk.tokens.get = failing  # type: ignore[method-assign]
    for outcome in await desk.outcomes(call("a", write=True), call("b")):
        assert isinstance(outcome, TransientError)
        assert (outcome.unknown, outcome.foreign, outcome.tenant_wide, outcome.retry_after) == (False, True, True, 3)
    assert desk.dispatcher._queues._suspects == set()
