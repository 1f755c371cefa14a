"""Reads the JSON of an event as a client sends it, and refuses what Graph refuses (docs/facts/graph.md 1.1, 1.10)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.graph.errors import GraphError, invalid_request, unreadable
from sandbox.graph.properties import property_id

# dateTime has no offset: texts with an offset are outside the contract (docs/facts/graph.md 1.1)
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,7})?)?")
_LOCATION = {
    "displayName": str,
    "locationEmailAddress": str,
    "locationUri": str,
    "locationType": str,
    "uniqueId": str,
    "uniqueIdType": str,
    "address": dict,
    "coordinates": dict,
}


@dataclass(frozen=True, slots=True)
class LocalTime:
    """A start or an end: a local time, and the name of the zone as sent (None if it was left out)."""

    local: datetime
    zone: str | None


@dataclass(frozen=True, slots=True)
class Body:
    """An item body as sent. `kind` is text or html."""

    kind: str
    content: str


Rule = Callable[[str, Any], Any]


def read_event(payload: Any) -> dict[str, Any]:
    """Returns the checked writable properties of the payload. Raises GraphError (400)."""
    if type(payload) is not dict:
        raise _undeserializable()
    changes = {}
    for name, value in payload.items():
        rule = RULES.get(name)
        if rule is not None:
            changes[name] = rule(name, value)
        elif name not in READ_ONLY and not name.startswith("@"):
            raise _unknown(name, "event")
    return changes


def _undeserializable() -> GraphError:
    return GraphError(400, "UnableToDeserializePostBody", "were unable to deserialize ")


def _unknown(name: str, kind: str) -> GraphError:
    return unreadable(
        f"The property '{name}' does not exist on type 'microsoft.graph.{kind}'. Make sure to only use property "
        "names that are defined by the type or mark the type as open type."
    )


def _string(_name: str, value: Any) -> str:
    if type(value) is not str:
        raise _undeserializable()
    return value


def _nullable_string(_name: str, value: Any) -> str | None:
    if value is not None and type(value) is not str:
        raise _undeserializable()
    return value


def _text(_name: str, value: Any) -> str:
    return _nullable_string(_name, value) or ""


def _flag(_name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise _undeserializable()
    return value


def _minutes(_name: str, value: Any) -> int:
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise _undeserializable()
    return value


def _one_of(*names: str) -> Rule:
    known = frozenset(names)

    def rule(_name: str, value: Any) -> str:
        if type(value) is not str:
            raise _undeserializable()
        if value not in known:
            raise unreadable(f"Requested value '{value}' was not found.")
        return value

    return rule


def _members(kind: str, value: Any, types: Mapping[str, type]) -> dict[str, Any]:
    if type(value) is not dict:
        raise _undeserializable()
    for name, member in value.items():
        if name.startswith("@odata."):
            continue
        if name not in types:
            raise _unknown(name, kind)
        if member is not None and type(member) is not types[name]:
            raise _undeserializable()
    return value


def _body(_name: str, value: Any) -> Body:
    members = _members("itemBody", value, {"contentType": str, "content": str})
    kind = (members.get("contentType") or "text").lower()
    if kind not in ("text", "html"):
        raise unreadable(f"Requested value '{members['contentType']}' was not found.")
    return Body(kind, members.get("content") or "")


def _time(name: str, value: Any) -> LocalTime:
    members = _members("dateTimeTimeZone", value, {"dateTime": str, "timeZone": str})
    text = members.get("dateTime")
    if text is None or not _LOCAL_TIME.fullmatch(text):
        raise invalid_request(f"The value '{text}' of the property '{name}' is not a local date and time.")
    try:
        return LocalTime(datetime.fromisoformat(text), members.get("timeZone"))
    except ValueError as error:
        raise _undeserializable() from error


def _location(_name: str, value: Any) -> dict[str, Any] | None:
    return None if value is None else _members("location", value, _LOCATION)


def _list_of(rule: Rule) -> Rule:
    def each(name: str, value: Any) -> list[Any]:
        if type(value) is not list:
            raise _undeserializable()
        return [rule(name, item) for item in value]

    return each


def _attendee(_name: str, value: Any) -> dict[str, Any]:
    types = {"emailAddress": dict, "type": str, "status": dict, "proposedNewTime": dict}
    members = _members("attendee", value, types)
    _members("emailAddress", members.get("emailAddress"), {"name": str, "address": str})
    return members


def _property(_name: str, value: Any) -> tuple[str, str]:
    members = _members("singleValueLegacyExtendedProperty", value, {"id": str, "value": str})
    if members.get("id") is None or members.get("value") is None:
        raise _undeserializable()
    return property_id(members["id"]), members["value"]


def _recurrence(_name: str, value: Any) -> None:
    if value is not None:
        raise GraphError(501, "NotImplemented", "The sandbox creates series only by user actions.")


RULES: dict[str, Rule] = {
    "subject": _text,
    "body": _body,
    "start": _time,
    "end": _time,
    "location": _location,
    "locations": _list_of(_location),
    "isAllDay": _flag,
    "showAs": _one_of("unknown", "free", "tentative", "busy", "oof", "workingElsewhere"),
    "isReminderOn": _flag,
    "reminderMinutesBeforeStart": _minutes,
    "sensitivity": _one_of("normal", "personal", "private", "confidential"),
    "importance": _one_of("low", "normal", "high"),
    "categories": _list_of(_string),
    "attendees": _list_of(_attendee),
    "singleValueExtendedProperties": _list_of(_property),
    "transactionId": _nullable_string,
    "responseRequested": _flag,
    "allowNewTimeProposals": _flag,
    "hideAttendees": _flag,
    "isOnlineMeeting": _flag,
    "recurrence": _recurrence,
}
READ_ONLY = frozenset(
    (
        "id",
        "changeKey",
        "createdDateTime",
        "lastModifiedDateTime",
        "bodyPreview",
        "hasAttachments",
        "iCalUId",
        "isCancelled",
        "isDraft",
        "isOrganizer",
        "onlineMeeting",
        "onlineMeetingProvider",
        "onlineMeetingUrl",
        "organizer",
        "originalEndTimeZone",
        "originalStart",
        "originalStartTimeZone",
        "responseStatus",
        "seriesMasterId",
        "type",
        "webLink",
        "attachments",
        "calendar",
        "extensions",
        "instances",
        "multiValueExtendedProperties",
    )
)
