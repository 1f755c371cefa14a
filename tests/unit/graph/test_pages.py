"""Lists of more than one page: all pages, or a failure. Events missing from half a list would count as deleted."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from consumer.domain.errors import TransientError
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.foreign import ForeignAnswers
from consumer.graph.calendars import GraphCalendar, GraphCalendars
from consumer.http import Answer, NoAnswerError
from consumer.sync.lease import Lease

GRAPH = "https://graph.example/v1.0"
SITE = Site("acme", "Acme", "Europe/London", "tenant", "client", "secret")
START = datetime(2026, 12, 1, 9, tzinfo=UTC)
LISTS: dict[str, Callable[[GraphCalendar], Any]] = {
    "view": lambda calendar: calendar.view(START, START + timedelta(days=1)),
    "find": lambda calendar: calendar.find("acme/J"),
    "tagged": lambda calendar: calendar.tagged("acme", START),
}


class Doubles:
    """The meter, the tokens and the connection to Graph, whose first page always succeeds."""

    def __init__(self, second: Answer | NoAnswerError) -> None:
        self.second = second
        self.paths: list[str] = []

    def request(self, *_: Any) -> Any: ...

    def exchange(self, *_: Any) -> None: ...

    def throttled(self) -> None: ...

    async def get(self, *_: Any) -> str:
        return "token"

    def refused(self, *_: Any) -> None: ...


class Http:
    def __init__(self, doubles: Doubles) -> None:
        self.doubles = doubles

    async def request(self, method: str, url: str, **_: Any) -> Answer:
        self.doubles.paths.append(url)
        if len(self.doubles.paths) == 1:
            link = f"{GRAPH}/users/anna/events?$skiptoken=2"
            return Answer(200, JSON, orjson.dumps({"value": [], "@odata.nextLink": link}))
        if isinstance(self.doubles.second, NoAnswerError):
            raise self.doubles.second
        return self.doubles.second


JSON = {"Content-Type": "application/json"}
FAILURES: dict[str, Answer | NoAnswerError] = {
    "throttled": Answer(429, {**JSON, "Retry-After": "3"}, orjson.dumps({"error": {"code": "TooManyRequests"}})),
    "unavailable": Answer(503, JSON, orjson.dumps({"error": {"code": "ServiceUnavailable"}})),
    "a page of an ingress": Answer(404, {"Content-Type": "text/plain"}, b"default backend - 404"),
    "no list": Answer(200, JSON, b"{}"),
    "empty": Answer(200, JSON, b""),
    "no answer": NoAnswerError("no connection", sent=True),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", LISTS)
async def test_a_page_that_fails_fails_the_whole_list(name: str, failure: str) -> None:
    doubles = Doubles(FAILURES[failure])
    counted = ForeignAnswers(lambda _part: None, time.monotonic)
    calendars = GraphCalendars(GRAPH, "https://login.example", None, doubles, counted)
    await calendars._http.close()
    calendars._http, calendars._tokens = Http(doubles), doubles  # type: ignore[assignment]
    calendar = calendars.open(SITE, Lease("app", Mailbox("acme", "anna"), "token", time.monotonic()))
    with pytest.raises(TransientError):
        await LISTS[name](calendar)
    assert len(doubles.paths) == 2
