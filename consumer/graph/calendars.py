"""The calendars port on Microsoft Graph."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from consumer.domain.errors import (
    DuplicateTransactionError,
    GoneError,
    MailboxRefusedError,
    RequestRefusedError,
    TransientError,
)
from consumer.domain.event import Event, EventSummary, RemoteEvent
from consumer.domain.site import Site
from consumer.foreign import ForeignAnswers
from consumer.graph.call import Call, any_object
from consumer.graph.dialect import (
    READ,
    created,
    event_path,
    find_query,
    from_json,
    summary,
    tagged,
    tagged_query,
    to_json,
    user,
    view_query,
)
from consumer.graph.dispatcher import Dispatcher, RequestMeter
from consumer.graph.links import path_below
from consumer.graph.tokens import Tokens, roles_of
from consumer.http import Http
from consumer.sync.lease import REQUEST_SECONDS, Lease
from consumer.sync.ports import Asks

NO_EVENT: Final = "AA-no-event"
"""An id that no event has: Exchange's ids are much longer."""

T = TypeVar("T")


class _Page(NamedTuple, Generic[T]):
    """One page of a list."""

    entries: list[T]
    next_link: str | None


class GraphCalendars:
    """All mailboxes of all sites, one dispatcher for each app's credentials."""

    def __init__(
        self,
        graph_url: str,
        entra_url: str,
        ca_file: Path | None,
        meter: RequestMeter,
        foreign: ForeignAnswers | None = None,
        *,
        read_only: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``read_only``: ``ReadOnlyError`` is raised for every request that is not a GET."""
        self._monotonic = monotonic
        self._graph_url = graph_url
        # No bound here: each app bounds itself (AT_ONCE), and the lanes bound how many runs there are. A bound shared
        # by all apps let five slow tenants hold every connection. And a request that waited for a connection would
        # leave long after its lease was checked.
        self._http = Http(ca_file=ca_file, timeout=REQUEST_SECONDS, connections=None)
        self._tokens = Tokens(entra_url, graph_url, ca_file, foreign, monotonic=monotonic)
        self._foreign = foreign
        self._meter = meter
        self._read_only = read_only
        self._dispatchers: dict[tuple[str, str], Dispatcher] = {}

    def open(self, site: Site, lease: Lease) -> "GraphCalendar":
        """See the port."""
        return GraphCalendar(self, site, lease.mailbox.address, lease)

    async def probe(self, site: Site, address: str | None, asks: Asks, *, fresh: bool) -> None:
        """See the port."""
        if fresh:
            self._tokens.start_over(site)
        await self._tokens.get(site)
        if address is None:
            return
        mailbox, now = GraphCalendar(self, site, address, None), datetime.now(UTC)
        if "calendar" in asks:
            await mailbox.view(now, now + timedelta(hours=1))
        if "setting" in asks:
            with suppress(MailboxRefusedError, RequestRefusedError):
                await mailbox.time_zone()
        if "write" in asks:
            await mailbox.try_to_write()

    async def roles(self, site: Site) -> frozenset[str]:
        """See the port."""
        return roles_of(await self._tokens.get(site))

    async def send(self, site: Site, call: Call) -> Any:
        """Through the app's dispatcher."""
        credentials = site.app, site.client_secret
        dispatcher = self._dispatchers.get(credentials)
        if dispatcher is None:
            dispatcher = Dispatcher(
                site,
                self._graph_url,
                self._http,
                self._tokens,
                self._meter,
                self._foreign,
                read_only=self._read_only,
                monotonic=self._monotonic,
            )
            self._dispatchers[credentials] = dispatcher
        return await dispatcher.send(call)

    def next_page(self, link: str) -> str:
        """The path of a ``nextLink`` below the Graph URL.

        Raises:
            TransientError: it is malformed or leads elsewhere; a token must never follow it there.
        """
        try:
            return path_below(self._graph_url, link)
        except ValueError:
            # Without the reason, which may quote the link.
            raise TransientError("a nextLink is malformed or leads away from Graph") from None

    async def close(self) -> None:
        """Give the connections back."""
        await self._tokens.close()
        await self._http.close()


class GraphCalendar:
    """One mailbox's calendar, see the port."""

    def __init__(self, calendars: GraphCalendars, site: Site, address: str, lease: Lease | None) -> None:
        self._calendars = calendars
        self._site = site
        self._address = address
        self._lease = lease

    async def create(self, event: Event, tag: str, transaction_id: str) -> RemoteEvent:
        """See the port."""
        path, body = f"{user(self._address)}/events", created(event, tag, transaction_id)
        return await self._send("create", "POST", path, partial(from_json, wanted=event), body)

    async def update(self, event_id: str, event: Event) -> RemoteEvent:
        """See the port."""
        path, body = event_path(self._address, event_id), to_json(event)
        return await self._send("update", "PATCH", path, partial(from_json, wanted=event), body)

    async def claim(self, event_id: str, event: Event, tag: str) -> RemoteEvent:
        """See the port."""
        path, body = event_path(self._address, event_id), tagged(event, tag)
        return await self._send("update", "PATCH", path, partial(from_json, wanted=event), body)

    async def delete(self, event_id: str) -> None:
        """See the port."""
        await self._send("delete", "DELETE", event_path(self._address, event_id), any_object)

    async def get(self, event_id: str) -> RemoteEvent:
        """See the port."""
        return await self._send("get", "GET", f"{event_path(self._address, event_id)}?{READ}", from_json)

    async def find(self, tag: str) -> tuple[RemoteEvent, ...]:
        """See the port. The value is compared without case by Graph, so exactly here."""
        found: dict[str, RemoteEvent] = {}
        async for page in self._pages("find", f"{user(self._address)}/events?{find_query(tag)}", from_json):
            found |= {seen.event_id: seen for seen in page if seen.tag == tag}
        return tuple(found.values())

    async def view(self, start: datetime, end: datetime) -> tuple[EventSummary, ...]:
        """See the port. Pages may repeat events at their edges (microsoft-graph-docs#16500)."""
        path = f"{user(self._address)}/calendarView?{view_query(start, end)}"
        found: dict[str, EventSummary] = {}
        async for page in self._pages("view", path, summary):
            found |= {event.event_id: event for event in page if event is not None}
        return tuple(found.values())

    async def tagged(self, site_id: str, not_before: datetime) -> tuple[EventSummary, ...]:
        """See the port. Graph compares the value without case, so the prefix is checked here again.

        A mailbox may hold years of events that are over: of each page, only what is returned is kept.
        """
        path = f"{user(self._address)}/events?{tagged_query(site_id)}"
        tags = f"{site_id}/"
        found: dict[str, EventSummary] = {}
        async for page in self._pages("tagged", path, partial(summary, not_before=not_before)):
            found |= {event.event_id: event for event in page if event is not None and event.tag.startswith(tags)}
        return tuple(found.values())

    async def _pages(self, operation: str, path: str, read: Callable[[Any], T]) -> AsyncIterator[list[T]]:
        """The pages of a list, one after another. If a page fails, the whole read fails: no list is partial."""
        following: str | None = path
        followed: set[str] = set()
        while following is not None:
            if following in followed:
                raise TransientError("Graph's pages lead round in a ring")
            followed.add(following)
            page: _Page[T] = await self._read(operation, following, partial(_page, read))
            following = None if page.next_link is None else self._calendars.next_page(page.next_link)
            yield page.entries

    async def time_zone(self) -> str:
        """See the port. An empty setting is an empty text; one that cannot be read raises."""
        return str(await self._read("timezone", f"{user(self._address)}/mailboxSettings/timeZone", _setting))

    async def try_to_write(self) -> None:
        """Whether we may write: delete an event that cannot exist.

        Graph checks permissions before it looks at the id: with the right to write, the answer is "not found" or
        "malformed id".
        """
        try:
            await self._send("probe", "DELETE", event_path(self._address, NO_EVENT), any_object)
        except GoneError:
            return

    async def _read(self, operation: str, path: str, read: Callable[[Any], Any]) -> Any:
        """A read of the mailbox itself. Its path has no event id, so "gone" means that the mailbox does not exist."""
        try:
            return await self._send(operation, "GET", path, read)
        except GoneError as error:
            raise MailboxRefusedError(str(error), hourly=True) from None

    async def _send(
        self,
        operation: str,
        method: str,
        path: str,
        read: Callable[[Any], T],
        body: dict[str, Any] | None = None,
    ) -> T:
        call = Call(operation, method, path, self._address, body, self._lease, read)
        try:
            answer: T = await self._calendars.send(self._site, call)
        except GoneError as error:
            if operation == "create":
                raise MailboxRefusedError(str(error), hourly=True) from None
            raise
        except DuplicateTransactionError:
            if operation == "create":
                raise
            raise RequestRefusedError(400, "ErrorDuplicateTransactionId") from None
        return answer


def _page(read: Callable[[Any], T], body: Any) -> _Page[T]:
    """Raises one of ``UNREADABLE`` if this is not a page of a list."""
    entries, link = body["value"], body.get("@odata.nextLink")
    if not isinstance(entries, list) or not (link is None or isinstance(link, str)):
        raise TypeError("not a page of a list")
    return _Page([read(entry) for entry in entries], link)


def _setting(body: Any) -> str:
    """The text of a setting; one that was never set may be null. Raises as :func:`_page` does."""
    value = body["value"]
    if value is not None and not isinstance(value, str):
        raise TypeError("not a text")
    return value or ""
