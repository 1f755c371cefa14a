"""The requests of a probe of a mailbox; only a complete answer is a success."""

from typing import Any

import orjson
import pytest

from consumer.domain.errors import ForbiddenError, MailboxRefusedError, RequestRefusedError, TransientError
from consumer.domain.site import Site
from consumer.graph.calendars import NO_EVENT, GraphCalendars
from consumer.graph.dialect import event_path
from consumer.graph.tokens import roles_of
from consumer.http import Answer
from consumer.sync.ports import WHOLE, WRITE, Asks

SITE = Site("acme", "Acme", "Europe/London", "tenant", "client", "secret")
GRAPH = "https://graph.example/v1.0"
SETTING = "GET /users/a@example.com/mailboxSettings/timeZone"
VIEW = "GET /users/a@example.com/calendarView"
DELETE = f"DELETE {event_path('a@example.com', NO_EVENT)}"
WELL = {
    VIEW: (200, {"value": []}),
    SETTING: (200, {"value": "UTC"}),
    DELETE: (400, {"error": {"code": "ErrorInvalidIdMalformed"}}),
}


class Meter:
    def request(self, operation: str, status: str) -> None: ...

    def exchange(self, operation: str, seconds: float) -> None: ...

    def throttled(self) -> None: ...


class Tokens:
    def __init__(self) -> None:
        self.fresh = 0

    async def get(self, site: Site) -> str:
        return "a.token"

    def start_over(self, site: Site) -> None:
        self.fresh += 1

    def refused(self, site: Site, token: str) -> None: ...

    async def close(self) -> None: ...


class Graph:
    """Answers each request by its method and path."""

    def __init__(self, **changed: tuple[int, Any]) -> None:
        self.answers = WELL | changed
        self.sent: list[str] = []

    async def request(self, method: str, url: str, *, headers: Any = None, body: bytes | None = None) -> Answer:
        asked = f"{method} {url.removeprefix(GRAPH).partition('?')[0]}"
        self.sent.append(asked)
        status, answer = self.answers[asked]
        return Answer(status, {"Content-Type": "application/json"}, orjson.dumps(answer))

    async def close(self) -> None: ...


async def probe(graph: Graph, asks: Asks, tokens: Tokens | None = None, *, fresh: bool = False) -> None:
    calendars = GraphCalendars(GRAPH, "https://login.microsoftonline.com", None, Meter())
    await calendars.close()
    calendars._http, calendars._tokens = graph, tokens or Tokens()  # type: ignore[assignment]
    await calendars.probe(SITE, "a@example.com", asks, fresh=fresh)


async def test_a_probe_reads_the_calendar_and_the_setting_and_tries_to_write_only_when_asked() -> None:
    graph = Graph()
    await probe(graph, WHOLE)
    assert graph.sent == [VIEW, SETTING]
    graph.sent.clear()
    await probe(graph, WHOLE | WRITE)
    assert graph.sent == [VIEW, SETTING, DELETE]


OF_THE_MAILBOX = [
    (404, "ResourceNotFound", MailboxRefusedError),
    (404, "ErrorItemNotFound", MailboxRefusedError),
    (404, "MailboxNotEnabledForRESTAPI", MailboxRefusedError),
    (400, "BadRequest", RequestRefusedError),
]
OF_ALL = [
    (403, "ErrorAccessDenied", ForbiddenError),
    (401, "InvalidAuthenticationToken", ForbiddenError),
    (404, "UnknownError", TransientError),
    (503, "MailboxInfoStale", TransientError),
]


@pytest.mark.parametrize(
    ("asked", "status", "code", "error"),
    [(VIEW, *refusal) for refusal in OF_THE_MAILBOX + OF_ALL] + [(SETTING, *refusal) for refusal in OF_ALL],
)
async def test_a_refused_read_fails_the_probe(asked: str, status: int, code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await probe(Graph(**{asked: (status, {"error": {"code": code}})}), WHOLE)


@pytest.mark.parametrize(("status", "code"), [(status, code) for status, code, _ in OF_THE_MAILBOX])
async def test_a_setting_refused_beside_a_calendar_that_answers_does_not_fail_the_probe(status: int, code: str) -> None:
    """The site's time zone is used for such a mailbox, so it shows that the site is served."""
    graph = Graph(**{SETTING: (status, {"error": {"code": code}})})
    await probe(graph, WHOLE)
    assert graph.sent == [VIEW, SETTING]


@pytest.mark.parametrize("code", ["ErrorItemNotFound", "ErrorInvalidIdMalformed"])
async def test_an_event_that_cannot_be_found_shows_that_we_may_write(code: str) -> None:
    await probe(Graph(**{DELETE: (404, {"error": {"code": code}})}), WRITE)


async def test_a_refused_write_fails_the_probe_and_is_named() -> None:
    with pytest.raises(ForbiddenError) as refused:
        await probe(Graph(**{DELETE: (403, {"error": {"code": "ErrorAccessDenied"}})}), WRITE)
    assert refused.value.write is True


async def test_a_404_with_another_code_does_not_show_that_we_may_write() -> None:
    with pytest.raises(TransientError):
        await probe(Graph(**{DELETE: (404, {"error": {"code": "UnknownError"}})}), WRITE)


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_fresh_token_is_fetched_only_when_asked_for(fresh: bool) -> None:
    tokens = Tokens()
    await probe(Graph(), WHOLE, tokens, fresh=fresh)
    assert tokens.fresh == fresh


@pytest.mark.parametrize(
    ("token", "roles"),
    [
        (
            "e30.eyJyb2xlcyI6WyJDYWxlbmRhcnMuUmVhZCIsIk1haWxib3hTZXR0aW5ncy5SZWFkIl19.x",
            {"Calendars.Read", "MailboxSettings.Read"},
        ),
        ("e30.e30.x", set()),
        ("e30.W10.x", set()),
        ("e30.eyJyb2xlcyI6IkNhbGVuZGFycy5SZWFkIn0.x", set()),
        ("opaque", set()),
        ("a.\u00e4.c", set()),
        ("", set()),
    ],
)
def test_roles_are_read_from_a_token_if_it_shows_them(token: str, roles: set[str]) -> None:
    assert roles_of(token) == roles
