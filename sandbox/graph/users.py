"""The actions of people in Outlook, and of administrators on mailboxes."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sandbox.graph import bodies, events, zones
from sandbox.graph.errors import GraphError
from sandbox.graph.series import make_series
from sandbox.graph.world import Event, Mailbox, World

Document = dict[str, Any]


def act(world: World, document: Document) -> Event:
    """Does `{"action", "mailbox", "tenant"?, "id" or "tag", …}` and returns the event that it created or changed.

    `id` may have either format. Raises LookupError if there is no such mailbox or event, and ValueError if there is no
    such action or Graph would refuse its values.
    """
    action = document.get("action")
    if action not in ACTIONS:
        raise ValueError(f"there is no action {action!r}; the actions are {', '.join(ACTIONS)}")
    mailbox = mailbox_of(world, document.get("mailbox") or "", document.get("tenant"))
    try:
        if action == "create":
            return _create(world, mailbox, document)
        event = event_of(mailbox, document.get("id"), document.get("tag"), deleted=action == "restore")
        if action == "copy":
            return _copy(world, event)
        _CHANGES[action](world, event, document)
    except GraphError as error:
        raise ValueError(str(error)) from error
    return event


def mailbox_of(world: World, address: str, tenant: str | None = None) -> Mailbox:
    """Returns the mailbox with that address. Raises LookupError if there is none, or one in more than one tenant."""
    wanted = address.strip().lower()
    found = [
        each.mailboxes[wanted]
        for each in world.tenants.values()
        if wanted in each.mailboxes and tenant in (None, each.id)
    ]
    if len(found) != 1:
        raise LookupError(
            f"{len(found)} mailboxes have the address {address!r}" + ("; name the tenant" if found else "")
        )
    return found[0]


def event_of(mailbox: Mailbox, event_id: str | None, tag: str | None, *, deleted: bool = False) -> Event:
    """Returns the event with that id or tag. An original is preferred to a copy. Raises LookupError."""
    if event_id is not None:
        event = mailbox.events.get(event_id) or mailbox.by_regular_id.get(event_id)
        if event is None:
            raise LookupError(f"{mailbox.address} has no event {event_id}")
        return event
    if tag is None:
        raise ValueError("the event's id or tag is missing")
    tagged = [
        each for each in mailbox.events.values() if each.tag == tag and each.deleted is deleted and each.master is None
    ]
    if not tagged:
        raise LookupError(f"{mailbox.address} has no event tagged {tag}")
    return min(tagged, key=lambda each: each.copied)


def snapshot(event: Event) -> Document:
    """Returns the event in the form that tests and the demo use. Start and end are in UTC."""
    return {
        "id": event.immutable_id,
        "regular_id": event.regular_id,
        "subject": event.subject,
        "location": event.locations[0].get("displayName") or "" if event.locations else "",
        "body": event.body,
        "body_text": bodies.to_text(event.body),
        "start": event.start.isoformat() + "Z",
        "end": event.end.isoformat() + "Z",
        "start_zone": event.start_zone,
        "end_zone": event.end_zone,
        "isAllDay": event.is_all_day,
        "showAs": event.show_as,
        "isReminderOn": event.is_reminder_on,
        "reminderMinutesBeforeStart": event.reminder_minutes,
        "sensitivity": event.sensitivity,
        "importance": event.importance,
        "categories": event.categories,
        "attendees": event.attendees,
        "tag": event.tag,
        "transactionId": event.transaction_id,
        "calendar": event.mailbox.calendars[event.calendar],
        "in_deleted_items": event.deleted,
        "copied": event.copied,
        "type": event.kind,
        "series": None if event.kind == "singleInstance" else (event.master or event).immutable_id,
        "changeKey": event.change_key,
        "createdDateTime": event.created,
        "lastModifiedDateTime": event.modified,
    }


def _create(world: World, mailbox: Mailbox, document: Document) -> Event:
    calendar = world.calendar(mailbox, document.get("calendar") or "Calendar")
    return events.create(world, mailbox, calendar, document.get("event") or {})[0]


def _edit(world: World, event: Event, document: Document) -> None:
    events.update(world, event, document.get("changes") or {})


def _move(world: World, event: Event, document: Document) -> None:
    event.calendar = world.calendar(event.mailbox, document.get("calendar") or "Other")
    event.writes += 1
    world.refile(event)


def _delete(world: World, event: Event, _document: Document) -> None:
    world.unindex(event)
    for each in (event, *event.occurrences):
        each.deleted = True
        each.writes += 1
        world.refile(each)


def _restore(world: World, event: Event, _document: Document) -> None:
    for each in (event, *event.occurrences):
        each.deleted = False
        each.writes += 1
        world.refile(each)
    world.index(event)


def _purge(world: World, event: Event, _document: Document) -> None:
    events.delete(world, event)


def _series(world: World, event: Event, document: Document) -> None:
    make_series(world, event, document.get("pattern") or "weekly", document.get("count") or 4)
    event.writes += 1
    world.touch(event)


def _custom_zone(world: World, event: Event, _document: Document) -> None:
    event.start_zone = event.end_zone = zones.CUSTOM
    event.writes += 1
    world.touch(event)


def _reimport(world: World, event: Event, _document: Document) -> None:
    world.rename(event)


def _copy(world: World, event: Event) -> Event:
    mailbox, stamp = event.mailbox, world.stamp()
    copy = replace(
        event,
        immutable_id=world.immutable_id(mailbox),
        regular_id=world.regular_id(mailbox),
        change_key=world.change_key(mailbox),
        uid=f"040000008200E00074C5B7101A82E008{world.count():080X}",
        created=stamp,
        modified=stamp,
        transaction_id=None,
        properties=dict(event.properties) if world.switches.copy_carries_tag else {},
        categories=list(event.categories),
        attendees=deepcopy(event.attendees),
        locations=deepcopy(event.locations),
        kind="singleInstance",
        recurrence=None,
        master=None,
        occurrences=[],
        deleted=False,
        copied=True,
        writes=0,
        rendered=None,
    )
    world.put(copy)
    return copy


def _make_all_day(world: World, event: Event, _document: Document) -> None:
    day = timedelta(days=1)
    start = event.start.replace(hour=0, minute=0, second=0, microsecond=0)
    end = event.end.replace(hour=0, minute=0, second=0, microsecond=0)
    event.start, event.end = start, max(end if end == event.end else end + day, start + day)
    event.end_zone = event.start_zone
    event.is_all_day = True
    event.writes += 1
    world.touch(event)


_CHANGES: dict[str, Callable[[World, Event, Document], None]] = {
    "edit": _edit,
    "move": _move,
    "delete": _delete,
    "restore": _restore,
    "purge": _purge,
    "all_day": _make_all_day,
    "series": _series,
    "custom_zone": _custom_zone,
    "reimport": _reimport,
}
ACTIONS = ("create", "copy", *_CHANGES)
