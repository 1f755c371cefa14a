"""What the calendars show, in words."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sandbox.demo.company import MAILBOXES

Event = Mapping[str, Any]
"""An event in the dump of the sandbox's Graph."""
Calendars = Mapping[str, Sequence[Event]]
"""The events of each mailbox, by its address."""

_MAILBOXES: Final = {mailbox.address: mailbox for mailbox in MAILBOXES}


def news(before: Calendars, after: Calendars) -> list[str]:
    """Returns what has changed in the calendars, one line for each event, with times in the mailbox's own zone."""
    lines: list[str] = []
    for address, mailbox in _MAILBOXES.items():
        old, new = _by_id(before.get(address, ())), _by_id(after.get(address, ()))
        gone = [f"{title(event)} is gone" for event_id, event in old.items() if event_id not in new]
        changed = [_changed(old.get(event_id), event, mailbox.zone) for event_id, event in new.items()]
        lines += [f"{mailbox.label}: {line}" for line in (*gone, *changed) if line]
    return lines


def title(event: Event) -> str:
    """Returns the subject without the common prefix."""
    return str(event["subject"]).removeprefix("Core Job — ")


def local(instant: str, zone: ZoneInfo) -> datetime:
    """Returns an instant of the dump in a time zone."""
    moment = datetime.fromisoformat(instant)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(zone)


def live(events: Sequence[Event]) -> Iterator[Event]:
    """Yields the events that the owner sees in the calendar."""
    return (event for event in events if not event["in_deleted_items"])


def _by_id(events: Sequence[Event]) -> dict[str, Event]:
    return {event["id"]: event for event in live(events)}


def _changed(old: Event | None, new: Event, zone: ZoneInfo) -> str:
    if old is None:
        return f"{title(new)}, {_when(new, zone)}"
    if old["changeKey"] == new["changeKey"]:
        return ""
    if (old["start"], old["end"]) != (new["start"], new["end"]):
        return f"{title(new)} is now {_when(new, zone)}"
    lines = set(old["body_text"].splitlines())
    added = next((line for line in new["body_text"].splitlines() if line and line not in lines), None)
    return f"{title(new)} has changed" if added is None else f"{title(new)} has a new line “{added}”"


def _when(event: Event, zone: ZoneInfo) -> str:
    return f"{local(event['start'], zone):%a %H:%M}–{local(event['end'], zone):%H:%M}"
