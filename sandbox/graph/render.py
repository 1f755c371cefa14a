"""Renders events as Graph's JSON (docs/facts/graph.md 1.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson

from sandbox.graph import bodies, zones
from sandbox.graph.odata import bad_query, expanded
from sandbox.graph.payload import Body
from sandbox.graph.prefer import Preferences
from sandbox.graph.world import Event

_NO_LOCATION = {
    "displayName": "",
    "locationType": "default",
    "uniqueIdType": "unknown",
    "address": {},
    "coordinates": {},
}
_UNSELECTABLE_IN_VIEW = {"createdDateTime", "lastModifiedDateTime"}
Field = Callable[[Event, "Shape"], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """How events are rendered: with which fields and extended properties, in which zone and id format.

    For speed, there are three kinds of fields: constants, plain attributes of the event, and computed fields.
    """

    preferences: Preferences
    constants: dict[str, Any]
    attributes: tuple[str, ...]
    values: Callable[[Event], tuple[Any, ...]]
    computed: tuple[tuple[str, Field], ...]
    properties: tuple[str, ...]

    def event(self, event: Event) -> dict[str, Any]:
        rendered = {"@odata.etag": f'W/"{event.change_key}"', **self.constants}
        rendered.update(zip(self.attributes, self.values(event), strict=True))
        for name, field in self.computed:
            rendered[name] = field(event, self)
        if self.properties:
            held = [
                {"id": name, "value": event.properties[name]} for name in self.properties if name in event.properties
            ]
            if held:
                rendered["singleValueExtendedProperties"] = held
        return rendered

    def json(self, event: Event) -> bytes:
        """Returns the event's JSON. The event caches it until it changes or another shape is requested."""
        kept = event.rendered
        if kept is not None and kept[0] is self:
            return kept[1]
        rendered = orjson.dumps(self.event(event))
        event.rendered = (self, rendered)
        return rendered

    def entity(self, event: Event, body: Body | None = None) -> bytes:
        """Returns the event as a whole answer. If `body` is given, it replaces the stored body."""
        rendered = {"@odata.context": f"{event.mailbox.context}/events/$entity", **self.event(event)}
        if body is not None and "body" in rendered:
            rendered["body"] = {"contentType": body.kind, "content": body.content}
        return orjson.dumps(rendered)


@lru_cache(maxsize=1024)
def shape(select: str | None, expand: str | None, preferences: Preferences, *, view: bool = False) -> Shape:
    """Returns the shape that $select, $expand and Prefer request. Raises GraphError (400) for an unknown property.

    calendarView (`view`) does not select createdDateTime and lastModifiedDateTime.
    """
    wanted = set(FIELDS)
    if select is not None and select.strip() != "*":
        wanted = {name.strip() for name in select.split(",")} - {""} | {"id"}
        for name in sorted(wanted - FIELDS):
            raise bad_query(f"Could not find a property named '{name}' on type 'microsoft.graph.event'.")
        if view:
            wanted -= _UNSELECTABLE_IN_VIEW
    attributes = [name for name in _ATTRIBUTES if name in wanted]
    return Shape(
        preferences,
        {name: value for name, value in _CONSTANTS.items() if name in wanted},
        tuple(attributes),
        _values([_ATTRIBUTES[name] for name in attributes]),
        tuple((name, field) for name, field in _COMPUTED.items() if name in wanted),
        () if expand is None else expanded(expand),
    )


def _values(attributes: list[str]) -> Callable[[Event], tuple[Any, ...]]:
    """Returns a function that reads these attributes of an event, in order."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    return lambda event: tuple(getattr(event, name) for name in attributes)


def _id(event: Event, shaped: Shape) -> str:
    return event.immutable_id if shaped.preferences.immutable else event.regular_id


def _series_id(event: Event, shaped: Shape) -> str | None:
    return None if event.master is None else _id(event.master, shaped)


def _start(event: Event, shaped: Shape) -> dict[str, str]:
    local = event.start if event.is_all_day else zones.to_local(event.start, shaped.preferences.zone)
    return {"dateTime": zones.seven_digits(local), "timeZone": shaped.preferences.zone_name}


def _end(event: Event, shaped: Shape) -> dict[str, str]:
    local = event.end if event.is_all_day else zones.to_local(event.end, shaped.preferences.zone)
    return {"dateTime": zones.seven_digits(local), "timeZone": shaped.preferences.zone_name}


def _body(event: Event, shaped: Shape) -> dict[str, str]:
    if shaped.preferences.text:
        return {"contentType": "text", "content": bodies.to_text(event.body)}
    return {"contentType": "html", "content": event.body}


def _place(given: dict[str, Any]) -> dict[str, Any]:
    name = given.get("displayName") or ""
    own = {"displayName": name, "locationType": "default", "uniqueId": name, "uniqueIdType": "private"}
    if len(given) == 1:
        return own
    return own | {key: value for key, value in given.items() if value is not None and not key.startswith("@")}


def _location(event: Event, _shaped: Shape) -> dict[str, Any]:
    return _place(event.locations[0]) if event.locations else _NO_LOCATION


def _locations(event: Event, _shaped: Shape) -> list[dict[str, Any]]:
    return [_place(each) for each in event.locations]


def _link(event: Event, shaped: Shape) -> str:
    item = _id(event, shaped).replace("=", "%3D")
    return f"https://outlook.office365.com/owa/?itemid={item}&exvsurl=1&path=/calendar/item"


def _organizer(event: Event, _shaped: Shape) -> dict[str, Any]:
    address = event.mailbox.address
    return {"emailAddress": {"name": address.partition("@")[0], "address": address}}


_CONSTANTS: dict[str, Any] = {
    "hasAttachments": False,
    "isCancelled": False,
    "isDraft": False,
    "isOrganizer": True,
    "onlineMeetingUrl": None,
    "onlineMeetingProvider": "unknown",
    "onlineMeeting": None,
    "responseStatus": {"response": "organizer", "time": "0001-01-01T00:00:00Z"},
}
_ATTRIBUTES = {
    "createdDateTime": "created",
    "lastModifiedDateTime": "modified",
    "changeKey": "change_key",
    "categories": "categories",
    "transactionId": "transaction_id",
    "originalStartTimeZone": "start_zone",
    "originalEndTimeZone": "end_zone",
    "iCalUId": "uid",
    "reminderMinutesBeforeStart": "reminder_minutes",
    "isReminderOn": "is_reminder_on",
    "subject": "subject",
    "bodyPreview": "preview",
    "importance": "importance",
    "sensitivity": "sensitivity",
    "isAllDay": "is_all_day",
    "responseRequested": "response_requested",
    "showAs": "show_as",
    "type": "kind",
    "isOnlineMeeting": "is_online_meeting",
    "allowNewTimeProposals": "allow_new_time_proposals",
    "hideAttendees": "hide_attendees",
    "recurrence": "recurrence",
    "attendees": "attendees",
}
_COMPUTED: dict[str, Field] = {
    "id": _id,
    "seriesMasterId": _series_id,
    "webLink": _link,
    "body": _body,
    "start": _start,
    "end": _end,
    "location": _location,
    "locations": _locations,
    "organizer": _organizer,
}
FIELDS = _CONSTANTS.keys() | _ATTRIBUTES.keys() | _COMPUTED.keys()
