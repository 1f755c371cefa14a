"""Events to Graph's JSON and back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from consumer.domain.event import REMINDER_MINUTES, TAG_ID, Event, EventSummary, RemoteEvent
from consumer.domain.timezones import named

UNREADABLE: Final = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What reading a document raises if it is not an answer of Graph."""
_SELECT: Final = (
    "id,subject,body,location,start,end,isAllDay,showAs,isReminderOn,reminderMinutesBeforeStart,sensitivity,"
    "importance,type,createdDateTime"
)
_VIEW_PAGE: Final = 250
_SHORTEST_TIME: Final = len("2026-10-06T01:00:00")
EXPAND: Final = f"singleValueExtendedProperties($filter=id eq '{TAG_ID}')"
READ: Final = f"$select={quote(_SELECT, safe=',')}&$expand={quote(EXPAND)}"
"""The query of every read: what we own, and the tag, which Graph only shows when asked for by its id."""
_SUMMARY: Final = f"$top={_VIEW_PAGE}&$select=id,type,seriesMasterId,end&$expand={quote(EXPAND)}"
_LISTED: Final = f"$top={_VIEW_PAGE}&$select=id,type,seriesMasterId,start,end,createdDateTime&$expand={quote(EXPAND)}"
_FOLDED_TAG_ID: Final = TAG_ID.casefold()


def user(address: str) -> str:
    """The path of a mailbox."""
    return f"/users/{quote(address, safe='@')}"


def event_path(address: str, event_id: str) -> str:
    """The path of an event. Ids are case-sensitive and hold ``=``, ``+`` and ``/``."""
    return f"{user(address)}/events/{quote(event_id, safe='')}"


def find_query(tag: str) -> str:
    """The query for the events with this tag; in OData a quote is doubled."""
    value = tag.replace("'", "''")
    condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{TAG_ID}' and ep/value eq '{value}')"
    return f"$filter={quote(condition)}&{READ}"


def tagged_query(site_id: str) -> str:
    """The query for all events with a tag of this site, of any date (singlevaluelegacyextendedproperty-get)."""
    condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{TAG_ID}' and startswith(ep/value,'{site_id}/'))"
    return f"$filter={quote(condition)}&{_LISTED}"


def to_json(event: Event) -> dict[str, Any]:
    """The owned fields, all of them, always: what is left out keeps its value."""
    return {
        "subject": event.subject,
        "body": {"contentType": "html", "content": event.body},
        "start": {"dateTime": event.local_start, "timeZone": event.zone},
        "end": {"dateTime": event.local_end, "timeZone": event.zone},
        "location": {"displayName": event.location},
        "isAllDay": False,
        "showAs": "busy",
        "isReminderOn": True,
        "reminderMinutesBeforeStart": REMINDER_MINUTES,
        "sensitivity": "normal",
        "importance": "normal",
    }


def tagged(event: Event, tag: str) -> dict[str, Any]:
    """The owned fields with our tag."""
    return to_json(event) | {"singleValueExtendedProperties": [{"id": TAG_ID, "value": tag}]}


def created(event: Event, tag: str, transaction_id: str) -> dict[str, Any]:
    """The body of a create."""
    return tagged(event, tag) | {"transactionId": transaction_id}


def view_query(start: datetime, end: datetime) -> str:
    """The query of a view; its times carry their offset (list-calendarview)."""
    first, last = (moment.astimezone(UTC).replace(tzinfo=None).isoformat() for moment in (start, end))
    return f"startDateTime={first}Z&endDateTime={last}Z&{_SUMMARY}"


def summary(body: Mapping[str, Any], *, not_before: datetime | None = None) -> EventSummary | None:
    """An event of a list, if it carries a tag of this service, and did not end before ``not_before``.

    One whose end cannot be read counts as not ended.

    Raises one of ``UNREADABLE`` if it is not an event.
    """
    event_id = _id(body)
    tag = _tag(body.get("singleValueExtendedProperties"))
    if tag is None:
        return None
    single = body.get("type", "singleInstance") == "singleInstance"
    if not single:
        event_id = _text(body.get("seriesMasterId")) or event_id
    end = _instant(body.get("end"))
    if not_before is not None and end is not None and end < not_before:
        return None
    return EventSummary(
        event_id,
        _text(body.get("@odata.etag")),
        tag,
        single,
        end,
        _instant(body.get("start")),
        _created(body),
    )


def from_json(body: Mapping[str, Any], wanted: Event | None = None) -> RemoteEvent:
    """What Graph shows of an event.

    Args:
        body: Graph's JSON.
        wanted: what was just written. A local time that its zone has twice (the repeated hour) is read as the wanted
            instant if it can be that: it was written in UTC, and only this answer cannot tell the two apart.

    Raises one of ``UNREADABLE`` if it is not an event.
    """
    return RemoteEvent(
        event_id=_id(body),
        etag=_text(body.get("@odata.etag")),
        tag=_tag(body.get("singleValueExtendedProperties")),
        subject=_text(body.get("subject")),
        location=_text((body.get("location") or {}).get("displayName")),
        body=_text((body.get("body") or {}).get("content")),
        start=_instant(body.get("start"), wanted.start if wanted else None),
        end=_instant(body.get("end"), wanted.end if wanted else None),
        is_all_day=bool(body.get("isAllDay")),
        show_as=_text(body.get("showAs")),
        is_reminder_on=bool(body.get("isReminderOn")),
        reminder_minutes=_minutes(body.get("reminderMinutesBeforeStart")),
        sensitivity=_text(body.get("sensitivity")),
        importance=_text(body.get("importance")),
        single=body.get("type", "singleInstance") == "singleInstance",
        created=_created(body),
    )


def _text(value: Any) -> str:
    """A text; null is an empty one. Raises ``TypeError``."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _minutes(value: Any) -> int:
    """Whole minutes; null is none. Raises ``TypeError``, or what ``int`` raises for a number that is not finite."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return int(value)


def _tag(properties: Any) -> str | None:
    for entry in properties or ():
        name = _text(entry.get("id"))
        # Exchange gives the id back with the GUID in any case; the name keeps its own.
        if name == TAG_ID or name.casefold() == _FOLDED_TAG_ID:
            return _text(entry.get("value"))
    return None


def _id(body: Mapping[str, Any]) -> str:
    event_id = body["id"]
    if not isinstance(event_id, str) or not event_id:
        raise ValueError("an event without id")
    return event_id


def _instant(value: Any, wanted: datetime | None = None) -> datetime | None:
    """``{"dateTime": "2026-10-06T01:00:00.0000000", "timeZone": "UTC"}``: seven digits, no offset.

    The zone is UTC by the documentation. Answers to a write have come in the zone that was sent
    (microsoftgraph/microsoft-graph-docs-contrib#8645), so any zone that is named is read. ``None`` if the zone is
    unknown or this is not a time.
    """
    if not isinstance(value, dict):
        return None
    text, name = value.get("dateTime"), value.get("timeZone")
    zone = UTC if name == "UTC" else named(name) if isinstance(name, str) and name else None
    if zone is None or not isinstance(text, str) or len(text) < _SHORTEST_TIME:
        return None
    try:
        local = datetime.fromisoformat(text)
        if local.tzinfo is not None:
            return local.astimezone(UTC)
        if zone is UTC:
            return local.replace(tzinfo=UTC)
        either = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    except (ValueError, OverflowError):
        return None
    return wanted if wanted in either else either[0]


def _created(body: Mapping[str, Any]) -> datetime | None:
    """``"2026-10-06T01:00:00.1234567Z"``: seven digits and a Z, always UTC."""
    text = body.get("createdDateTime")
    try:
        return datetime.fromisoformat(f"{text[:19]}Z") if isinstance(text, str) else None
    except ValueError:
        return None
