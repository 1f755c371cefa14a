"""Events to Graph's JSON and back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from consumer.domain.event import REMINDER_MINUTES, TAG_ID, Event, Glimpse, SeenEvent

_SELECT: Final = (
    "id,subject,body,location,start,end,isAllDay,showAs,isReminderOn,reminderMinutesBeforeStart,sensitivity,"
    "importance,type,createdDateTime"
)
_VIEW_PAGE: Final = 250
EXPAND: Final = f"singleValueExtendedProperties($filter=id eq '{TAG_ID}')"
READ: Final = f"$select={quote(_SELECT, safe=',')}&$expand={quote(EXPAND)}"
"""The query of every read: what we own, and the tag, which Graph only shows when asked for by its id."""
_GLIMPSE: Final = f"$top={_VIEW_PAGE}&$select=id,type,seriesMasterId,end&$expand={quote(EXPAND)}"
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
    """The query for all events with a tag of this site, whatever their date (singlevaluelegacyextendedproperty-get)."""
    condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{TAG_ID}' and startswith(ep/value,'{site_id}/'))"
    return f"$filter={quote(condition)}&{_LISTED}"


def to_json(event: Event) -> dict[str, Any]:
    """The owned fields, all of them, always: what is left out keeps whatever it was."""
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


def tagged(event: Event, tag: str, transaction_id: str) -> dict[str, Any]:
    """The body of a create."""
    return to_json(event) | {
        "transactionId": transaction_id,
        "singleValueExtendedProperties": [{"id": TAG_ID, "value": tag}],
    }


def view_query(start: datetime, end: datetime) -> str:
    """The query of a view; its times carry their offset (list-calendarview)."""
    first, last = (moment.astimezone(UTC).replace(tzinfo=None).isoformat() for moment in (start, end))
    return f"startDateTime={first}Z&endDateTime={last}Z&{_GLIMPSE}"


def glimpse(body: Mapping[str, Any]) -> Glimpse | None:
    """An event of a view, if it carries a tag of ours. Raises ``KeyError`` or ``TypeError`` if it is no event."""
    tag = _tag(body.get("singleValueExtendedProperties"))
    if tag is None:
        return None
    single = body.get("type", "singleInstance") == "singleInstance"
    event_id = str(body["id"] if single else body.get("seriesMasterId") or body["id"])
    return Glimpse(
        event_id,
        str(body.get("@odata.etag") or ""),
        tag,
        single,
        _instant(body.get("end")),
        _instant(body.get("start")),
        _created(body),
    )


def from_json(body: Mapping[str, Any]) -> SeenEvent:
    """What Graph shows of an event.

    Raises:
        KeyError, TypeError: it is no event.
    """
    return SeenEvent(
        event_id=str(body["id"]),
        etag=str(body.get("@odata.etag") or ""),
        tag=_tag(body.get("singleValueExtendedProperties")),
        subject=str(body.get("subject") or ""),
        location=str((body.get("location") or {}).get("displayName") or ""),
        body=str((body.get("body") or {}).get("content") or ""),
        start=_instant(body.get("start")),
        end=_instant(body.get("end")),
        is_all_day=bool(body.get("isAllDay")),
        show_as=str(body.get("showAs") or ""),
        is_reminder_on=bool(body.get("isReminderOn")),
        reminder_minutes=int(body.get("reminderMinutesBeforeStart") or 0),
        sensitivity=str(body.get("sensitivity") or ""),
        importance=str(body.get("importance") or ""),
        single=body.get("type", "singleInstance") == "singleInstance",
        created=_created(body),
    )


def _tag(properties: Any) -> str | None:
    for entry in properties or ():
        name = entry.get("id", "")
        # Exchange gives the id back with the GUID in whatever case it likes; the name keeps its own.
        if name == TAG_ID or str(name).casefold() == _FOLDED_TAG_ID:
            return str(entry.get("value", ""))
    return None


def _instant(value: Any) -> datetime | None:
    """``{"dateTime": "2026-10-06T01:00:00.0000000", "timeZone": "UTC"}``: seven digits, no offset, UTC unless asked."""
    if not isinstance(value, dict) or value.get("timeZone") != "UTC":
        return None
    try:
        return datetime.fromisoformat(f"{str(value.get('dateTime'))[:26]}Z")
    except ValueError:
        return None


def _created(body: Mapping[str, Any]) -> datetime | None:
    """``"2026-10-06T01:00:00.1234567Z"``: seven digits and a Z, always UTC."""
    try:
        return datetime.fromisoformat(f"{str(body.get('createdDateTime'))[:19]}Z")
    except ValueError:
        return None
