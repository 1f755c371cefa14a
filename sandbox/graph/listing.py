"""Lists of events: /events and calendarView, with their pages (docs/facts/graph.md 1.6)."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import orjson

from sandbox.graph import odata
from sandbox.graph.errors import GraphError, invalid_request
from sandbox.graph.odata import Query
from sandbox.graph.prefer import Preferences
from sandbox.graph.render import shape
from sandbox.graph.world import Event, Mailbox, World

_RANGE = timedelta(days=1825)
_TOO_LONG = (
    "Your request can't be completed. The range between the start and end dates is greater than the allowed "
    "range. Maximum number of years: 5"
)


def view(world: World, mailbox: Mailbox, calendar: str, asked: Query, preferences: Preferences, url: str) -> bytes:
    """Returns a page of a calendarView: what overlaps the window, with occurrences instead of their masters.

    An all-day event counts as UTC midnights. `url` is the address of the request without its query.
    Raises GraphError: 400, or 500 for a $filter on extended properties.
    """
    start, end = _window(asked)
    if asked.filter is not None:
        if odata.filters_properties(asked.filter):
            raise GraphError(
                500,
                "ErrorInternalServerError",
                "An internal server error occurred. The operation failed.",
            )
        raise GraphError(400, "ErrorInvalidUrlQueryFilter", f"The filter '{asked.filter}' is not supported.")
    seen = [
        event
        for event in mailbox.events.values()
        if event.calendar == calendar
        and event.start < end
        and (event.end > start or event.start == event.end == start)
        and event.kind != "seriesMaster"
        and not event.deleted
    ]
    return _page(world, mailbox, odata.ordered(seen, asked.order), asked, preferences, url, kind="calendarView")


def listing(
    world: World, mailbox: Mailbox, calendar: str | None, asked: Query, preferences: Preferences, url: str
) -> bytes:
    """Returns a page of /events: single instances and series masters of a calendar, or of all calendars (None)."""
    test = None if asked.filter is None else odata.condition(asked.filter)
    seen = [
        event
        for event in mailbox.events.values()
        if event.live and (calendar is None or event.calendar == calendar) and (test is None or test(event))
    ]
    return _page(world, mailbox, odata.ordered(seen, asked.order), asked, preferences, url, kind="events")


def _page(
    world: World,
    mailbox: Mailbox,
    events: list[Event],
    asked: Query,
    preferences: Preferences,
    url: str,
    *,
    kind: str,
) -> bytes:
    switches = world.switches
    shaped = shape(asked.select, asked.expand, preferences, view=kind == "calendarView")
    size = min(switches.page_size if asked.top is None else asked.top, max(1, switches.page_cap))
    until = asked.skip + size
    first = asked.skip - 1 if asked.skip and switches.page_overlap else asked.skip
    rows = b",".join([shaped.json(event) for event in events[first:until]])
    context = orjson.dumps(f"{mailbox.context}/{kind}")
    link = b""
    back = asked.skip and switches.next_link_ring
    if until < len(events) or back:
        pairs = [*(pair for pair in asked.pairs if pair[0] != "$skip"), ("$skip", "0" if back else str(until))]
        link = b',"@odata.nextLink":' + orjson.dumps(f"{url}?{urlencode(pairs)}")
    return b'{"@odata.context":' + context + b',"value":[' + rows + b"]" + link + b"}"


def _window(asked: Query) -> tuple[datetime, datetime]:
    start, end = asked.window
    if start is None or end is None:
        raise GraphError(
            400,
            "ErrorInvalidParameter",
            "This request requires a time window specified by the query string parameters StartDateTime and "
            "EndDateTime.",
        )
    first, last = _instant("startDateTime", start), _instant("endDateTime", end)
    if last < first:
        raise GraphError(400, "ErrorInvalidParameter", "The end of the time window is before its start.")
    if last - first > _RANGE:
        raise invalid_request(_TOO_LONG)
    return first, last


def _instant(name: str, text: str) -> datetime:
    """Reads a time by the offset in the value, or as UTC without one. Prefer has no effect."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise GraphError(
            400, "ErrorInvalidParameter", f"The value '{text}' of parameter '{name}' is invalid."
        ) from error
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
