"""Graph's lists in pages: all pages, each event once, or a failed read."""

import contextlib
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import (
    ForbiddenError,
    GoneError,
    MailboxRefusedError,
    RequestRefusedError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.event import TAG_ID
from consumer.domain.site import Site
from consumer.graph.calendars import GraphCalendar, GraphCalendars
from consumer.graph.call import Call

GRAPH = "https://graph.example/v1.0"
SITE = Site("acme", "Acme", "Europe/London", "tenant", "client", "secret")
NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


def event(number: int) -> dict[str, Any]:
    return {
        "id": f"E{number}",
        "@odata.etag": f'W/"{number}"',
        "type": "singleInstance",
        "start": {"dateTime": "2026-12-02T09:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-12-02T10:00:00.0000000", "timeZone": "UTC"},
        "singleValueExtendedProperties": [{"id": TAG_ID, "value": f"acme/J{number}"}],
    }


def page(*numbers: int, following: str | None = None) -> dict[str, Any]:
    link = {} if following is None else {"@odata.nextLink": following}
    return {"value": [event(number) for number in numbers], **link}


class Pages(GraphCalendars):
    """Answers each request with the next page, or raises the next error."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._graph_url = GRAPH
        self.answers = list(answers)
        self.asked: list[str] = []

    async def send(self, site: Site, call: Call) -> Any:
        self.asked.append(call.path)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return call.read(answer)


def view(pages: Pages) -> Awaitable[Any]:
    return GraphCalendar(pages, SITE, "ann@acme.example", None).view(NOW, NOW + timedelta(days=21))


def tagged(pages: Pages) -> Awaitable[Any]:
    return GraphCalendar(pages, SITE, "ann@acme.example", None).tagged("acme", NOW)


Lists = pytest.mark.parametrize("listed", [view, tagged])


@Lists
async def test_all_pages_are_read_and_each_event_is_listed_once(listed: Callable[[Pages], Awaitable[Any]]) -> None:
    pages = Pages(page(1, 2, following=f"{GRAPH}/next?a=1"), page(2, 3, following=f"{GRAPH}/next?a=2"), page(4))
    assert [found.event_id for found in await listed(pages)] == ["E1", "E2", "E3", "E4"]
    assert pages.asked[1:] == ["/next?a=1", "/next?a=2"]


@Lists
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (TransientError("503"), TransientError),
        (GoneError("ErrorItemNotFound"), MailboxRefusedError),
        (ForbiddenError("ErrorAccessDenied"), ForbiddenError),
        (MailboxRefusedError("ErrorInvalidUser"), MailboxRefusedError),
        (RequestRefusedError(400, "ErrorInvalidRequest"), RequestRefusedError),
        (SiteRefusedError("AADSTS7000222", "renew it"), SiteRefusedError),
    ],
)
async def test_a_page_that_fails_fails_the_read(
    listed: Callable[[Pages], Awaitable[Any]], failure: Exception, raised: type[Exception]
) -> None:
    for answers in ([failure], [page(1, following=f"{GRAPH}/next?a=1"), failure]):
        pages = Pages(*answers)
        with pytest.raises(raised):
            await listed(pages)
        assert pages.answers == []


@Lists
@pytest.mark.parametrize("link", ["https://evil.example/v1.0/next", "http://graph.example/v1.0/next", f"{GRAPH}x/next"])
async def test_a_page_that_leads_elsewhere_fails_the_read(listed: Callable[[Pages], Awaitable[Any]], link: str) -> None:
    pages = Pages(page(1, following=link), page(2))
    with pytest.raises(TransientError, match="nextLink"):
        await listed(pages)
    assert len(pages.asked) == 1


@pytest.mark.parametrize(
    ("configured", "link"),
    [
        (GRAPH, "https://graph.example:443/v1.0/next?a=1"),
        (GRAPH, "https://graph.example:/v1.0/next?a=1"),
        (GRAPH, "https://GRAPH.Example/v1.0/next?a=1"),
        (GRAPH, "HTTPS://graph.example/v1.0/next?a=1"),
        (GRAPH, "https://graph.example/v1.0/next?a=1#part"),
        (f"{GRAPH}/", "https://graph.example/v1.0/next?a=1"),
        ("https://graph.example:443/v1.0", "https://graph.example/v1.0/next?a=1"),
        ("https://Graph.Example/v1.0", "https://graph.example/v1.0/next?a=1"),
        ("http://127.0.0.1:8080/v1.0", "http://127.0.0.1:8080/v1.0/next?a=1"),
        ("http://127.0.0.1/v1.0", "http://127.0.0.1:80/v1.0/next?a=1"),
        ("https://[::1]:8443/v1.0", "https://[::1]:8443/v1.0/next?a=1"),
    ],
)
async def test_a_page_of_the_same_origin_is_read_in_any_spelling(configured: str, link: str) -> None:
    pages = Pages(page(1, following=link), page(2))
    pages._graph_url = configured
    assert len(await view(pages)) == 2
    assert pages.asked[1:] == ["/next?a=1"]


@Lists
@pytest.mark.parametrize(
    "link",
    [
        "",
        " ",
        "?",
        "next?a=1",
        "/v1.0/next?a=1",
        "//graph.example/v1.0/next",
        "https:/v1.0/next",
        "https:///v1.0/next",
        "https://:443/v1.0/next",
        "https://graph.example:80/v1.0/next",
        "https://graph.example:0/v1.0/next",
        "https://graph.example:https/v1.0/next",
        "https://graph.example:99999/v1.0/next",
        "https://graph.example:-1/v1.0/next",
        "https://graph.example.:443/v1.0/next",
        "https://graph.example.evil.example/v1.0/next",
        "https://[graph.example/v1.0/next",
        "https://[::1/v1.0/next",
        "https://graph.example]/v1.0/next",
        "https://graph.example\uff0fevil/v1.0/next",
        "https://\uff47raph.example/v1.0/next",
        "https://user@graph.example/v1.0/next",
        "https://user:password@graph.example/v1.0/next",
        "https://@graph.example/v1.0/next",
        "https://graph.example@evil.example/v1.0/next",
        "https://graph.example\\@evil.example/v1.0/next",
        "http://graph.example:443/v1.0/next",
        "ftp://graph.example/v1.0/next",
        "https://graph.example/v1.0",
        "https://graph.example/V1.0/next",
        "https://graph.example/v1.0/next?a=\x00",
        "https://graph.example/v1.0/next?a=\n",
        "https://graph.example/v1.0/next?a=\ud83d",
        "https://graph.example/v1.0/next?a=" + 70_000 * "x",
    ],
    ids=lambda link: ascii(link)[:60],
)
async def test_a_link_that_is_not_graphs_fails_the_read(listed: Callable[[Pages], Awaitable[Any]], link: str) -> None:
    pages = Pages(page(1, following=link), page(2))
    with pytest.raises(TransientError, match="nextLink") as failed:
        await listed(pages)
    assert len(pages.asked) == 1
    assert "password" not in str(failed.value)


@given(
    st.text()
    | st.builds("https://{}/v1.0/next".format, st.text())
    | st.builds("https://graph.example{}".format, st.text())
)
def test_no_link_raises_anything_but_a_failed_read_or_leaves_graph(link: str) -> None:
    with contextlib.suppress(TransientError):
        assert Pages().next_page(link).startswith("/")


@Lists
async def test_pages_in_a_ring_fail_the_read(listed: Callable[[Pages], Awaitable[Any]]) -> None:
    ring = [page(number, following=f"{GRAPH}/next?a={number % 2}") for number in range(5)]
    with pytest.raises(TransientError, match="ring"):
        await listed(Pages(*ring))


def ending(number: int, end: Any) -> dict[str, Any]:
    return event(number) | {"end": end}


async def test_events_that_ended_before_are_dropped_and_those_without_a_readable_end_are_kept() -> None:
    ends = ["2026-12-01T08:59:59.9999999", "2026-12-01T09:00:00.0000000", "2019-01-01T00:00:00.0000000", "soon"]
    listed = [ending(number, {"dateTime": text, "timeZone": "UTC"}) for number, text in enumerate(ends)]
    listed += [ending(4, None), ending(5, {"dateTime": ends[0], "timeZone": "Middle-earth Standard Time"})]
    pages = Pages({"value": listed[:3], "@odata.nextLink": f"{GRAPH}/next"}, {"value": listed[3:]})
    assert [found.event_id for found in await tagged(pages)] == ["E1", "E3", "E4", "E5"]


class History(Pages):
    """Pages of events that ended years ago."""

    def __init__(self, pages: int) -> None:
        super().__init__()
        self.pages = pages

    async def send(self, site: Site, call: Call) -> Any:
        self.asked.append(call.path)
        old = {"dateTime": "2019-01-01T00:00:00.0000000", "timeZone": "UTC"}
        listed = [ending(len(self.asked) * 250 + number, old) for number in range(250)]
        link = {"@odata.nextLink": f"{GRAPH}/next?{len(self.asked)}"} if len(self.asked) < self.pages else {}
        return call.read({"value": listed, **link})


async def test_a_list_of_years_of_history_takes_no_more_memory_than_a_page() -> None:
    peaks = []
    for pages in (1, 20):
        tracemalloc.start()
        try:
            assert await tagged(History(pages)) == ()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
