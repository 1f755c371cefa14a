"""Writing events: create, update, delete, and the rules of each (docs/facts/graph.md 1.1 to 1.3, part 2)."""

import asyncio
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from sandbox.graph import bodies, zones
from sandbox.graph.errors import (
    GraphError,
    duplicate_transaction,
    invalid_request,
    irresolvable_conflict,
    item_not_found,
    unknown_zone,
    validation_failure,
)
from sandbox.graph.payload import LocalTime, read_event
from sandbox.graph.series import repeat
from sandbox.graph.world import Event, Mailbox, Transaction, World, immutable_start, regular_start

_FIELDS = {
    "subject": "subject",
    "showAs": "show_as",
    "sensitivity": "sensitivity",
    "importance": "importance",
    "isReminderOn": "is_reminder_on",
    "reminderMinutesBeforeStart": "reminder_minutes",
    "categories": "categories",
    "responseRequested": "response_requested",
    "allowNewTimeProposals": "allow_new_time_proposals",
    "hideAttendees": "hide_attendees",
    "isOnlineMeeting": "is_online_meeting",
}
_LONGEST = timedelta(days=1825)
_DAY = timedelta(days=1)


def find(world: World, mailbox: Mailbox, event_id: str, *, immutable: bool) -> Event:
    """Returns the event with that id, in the requested format. Raises GraphError: 400 malformed, 404 not found.

    An id of another mailbox, or in the other format, is malformed, not unknown (docs/facts/graph.md, part 5).
    """
    switches = world.switches
    if len(event_id) == 72 and event_id.startswith(immutable_start(mailbox)):
        names_immutable, event = True, mailbox.events.get(event_id)
    elif len(event_id) == 152 and event_id.startswith(regular_start(mailbox)):
        names_immutable, event = False, mailbox.by_regular_id.get(event_id)
    else:
        raise _malformed()
    if switches.strict_id_format and names_immutable is not immutable:
        raise _malformed()
    if event is None or (event.deleted and not (names_immutable and switches.deleted_items_by_id)):
        raise item_not_found()
    return event


def create(world: World, mailbox: Mailbox, calendar: str, payload: Any) -> tuple[Event, dict[str, Any]]:
    """Creates the event, or finds the one that the same request created before (transactionId).

    Returns the event and the changes that were read from the payload. Raises GraphError (400, or 409 by switch).
    """
    changes = read_event(payload)
    transaction = changes.get("transactionId")
    fingerprint = b""
    if transaction:
        fingerprint = _fingerprint(payload, world.switches.transaction_same)
        known = _repeated(world, mailbox, calendar, transaction, fingerprint)
        if known is not None:
            return known, changes
    if "start" not in changes:  # Graph starts it now (Softeria/ms-365-mcp-server#241)
        now = datetime.fromisoformat(world.stamp()[:19]).replace(second=0)
        changes["start"] = LocalTime(now, "UTC")
    start: LocalTime = changes["start"]
    changes.setdefault("end", LocalTime(start.local + timedelta(minutes=30), start.zone))
    stamp = world.stamp()
    event = Event(
        mailbox=mailbox,
        calendar=calendar,
        immutable_id=world.immutable_id(mailbox),
        regular_id=world.regular_id(mailbox),
        change_key=world.change_key(mailbox),
        created=stamp,
        modified=stamp,
        start=start.local,
        end=start.local,
        start_zone="UTC",
        end_zone="UTC",
        uid=f"040000008200E00074C5B7101A82E008{world.count():080X}",
        transaction_id=transaction,
        reminder_minutes=world.switches.default_reminder_minutes,
        body=bodies.stored("text", "", world.switches.body_style) if "body" not in changes else "",
    )
    _apply(world, event, changes)
    event.properties.update(changes.get("singleValueExtendedProperties", ()))
    world.put(event)
    if transaction:
        mailbox.transactions[transaction] = Transaction(event, fingerprint, calendar, world.now())
    return event, changes


def update(world: World, event: Event, payload: Any) -> dict[str, Any]:
    """Changes all given properties, or none. Returns the changes read from the payload. Raises GraphError (400)."""
    changes = read_event(payload)
    if "transactionId" in changes:
        raise invalid_request(
            "Your request can't be completed. ClientId/TransactionId is immutable and cannot be updated."
        )
    start = changes.get("start")
    if event.kind == "seriesMaster" and start is not None and start.zone != event.start_zone:
        raise validation_failure()
    _apply(world, event, changes)
    properties = changes.get("singleValueExtendedProperties")
    if properties:
        world.unindex(event)
        event.properties.update(properties)
        world.index(event)
    if event.kind == "seriesMaster":
        if "recurrence" in changes:  # null ends the series
            _single(world, event)
        else:
            repeat(world, event)
    elif event.kind == "occurrence":
        event.kind = "exception"
    event.writes += 1
    world.touch(event)
    return changes


def delete(world: World, event: Event) -> None:
    """Deletes an event for good: after an app has deleted it, its id is not found (204, then 404)."""
    event.writes += 1
    world.remove(event)


def check_match(event: Event, if_match: str | None) -> None:
    """Raises GraphError (412) if If-Match names another state of the event."""
    if if_match is not None and if_match.strip() not in ("*", f'W/"{event.change_key}"'):
        raise irresolvable_conflict(412)


def bump_later(world: World, event: Event) -> None:
    """Changes the event after a write, as Exchange does by itself, as often as the switch says (facts/graph.md 1.9)."""
    loop = asyncio.get_running_loop()
    delay = world.switches.background_bump_delay_ms / 1000
    for number in range(world.switches.background_bumps):
        loop.call_later(delay * (number + 1), world.touch, event)


def _malformed() -> GraphError:
    return GraphError(400, "ErrorInvalidIdMalformed", "Id is malformed.")


def _repeated(world: World, mailbox: Mailbox, calendar: str, transaction: str, fingerprint: bytes) -> Event | None:
    """Returns the event that an identical request created, or None to create one (docs/facts/graph.md, part 2)."""
    switches = world.switches
    known = mailbox.transactions.get(transaction)
    if known is None or world.now() - known.made >= switches.transaction_memory_seconds:
        return None
    event = known.event
    if event.deleted and switches.transaction_after_delete == "new":
        return None
    same = fingerprint == known.fingerprint and calendar == known.calendar
    if event.deleted:
        same = same and switches.transaction_after_delete == "same"
    elif event.writes:
        same = same and switches.transaction_after_edit == "same"
    if same:
        return event
    named = event.immutable_id if switches.transaction_annotation else None
    raise duplicate_transaction(switches.transaction_status, named)


def _fingerprint(payload: Any, same: str) -> bytes:
    """Returns a fingerprint of what a repeated request must repeat, by Switches.transaction_same."""
    if same == "nothing":
        return b""
    repeated = {name: payload.get(name) for name in ("subject", "start", "end")} if same == "times" else payload
    return blake2b(orjson.dumps(repeated, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def _apply(world: World, event: Event, changes: dict[str, Any]) -> None:
    _apply_times(world, event, changes)
    for name, attribute in _FIELDS.items():
        if name in changes:
            setattr(event, attribute, changes[name])
    if "body" in changes:
        body = changes["body"]
        event.body = bodies.stored(body.kind, body.content, world.switches.body_style)
        event.preview = bodies.preview(event.body)
    if "location" in changes:  # replaces the whole collection (docs/facts/graph.md 1.2)
        given = changes["location"]
        event.locations = [given] if given and any(given.values()) else []
    elif "locations" in changes:
        event.locations = [each for each in changes["locations"] if each]
    if "attendees" in changes:
        event.attendees = changes["attendees"]
        world.stats.invitations += bool(event.attendees)


def _apply_times(world: World, event: Event, changes: dict[str, Any]) -> None:
    if not changes.keys() & {"start", "end", "isAllDay"}:
        return
    iana, refused = world.switches.iana_in_bodies, world.switches.zones_refused_in_bodies
    all_day = changes.get("isAllDay", event.is_all_day)
    ends = []
    for name, stored, stored_zone in (
        ("start", event.start, event.start_zone),
        ("end", event.end, event.end_zone),
    ):
        given: LocalTime | None = changes.get(name)
        zone_name = stored_zone if given is None else given.zone
        if zone_name is None:  # a time without a zone is refused
            raise unknown_zone("")
        if given is not None and refused and zone_name in refused.split(","):
            raise unknown_zone(zone_name)
        where = zones.zone(zone_name, iana) if given is not None else zones.kept(zone_name)
        kept = stored if event.is_all_day else zones.to_local(stored, where)
        local = kept if given is None else given.local
        if all_day and (local.hour, local.minute, local.second, local.microsecond) != (0, 0, 0, 0):
            raise invalid_request(
                f"The Event.{name.title()} property for an all-day event needs to be set to midnight."
            )
        ends.append((local if all_day else zones.to_utc(local, where), zone_name))
    (start, start_zone), (end, end_zone) = ends
    if end < start or (all_day and (start_zone != end_zone or end - start < _DAY)):
        raise validation_failure()
    if end - start > _LONGEST:
        raise GraphError(400, "ErrorCalendarDurationIsTooLong", "The duration of the event is too long.")
    event.start, event.end, event.start_zone, event.end_zone = start, end, start_zone, end_zone
    event.is_all_day = all_day


def _single(world: World, event: Event) -> None:
    for each in list(event.occurrences):
        world.remove(each)
    event.kind, event.recurrence = "singleInstance", None
