"""What the calendars show, in words."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sandbox.demo.company import MAILBOXES

Event = Mapping[str, Any]
"""As the sandbox's Graph dumps it."""
Calendars = Mapping[str, Sequence[Event]]
"""The events of each mailbox, by its address."""

_MAILBOXES: Final = {mailbox.address: mailbox for mailbox in MAILBOXES}


def news(before: Calendars, after: Calendars) -> list[str]:
    """What is new in the calendars, a line an event, times in the mailbox's own zone."""
    lines: list[str] = []
    for address, mailbox in _MAILBOXES.items():
        old, new = _by_id(before.get(address, ())), _by_id(after.get(address, ()))
        for event in (old[each] for each in old.keys() - new.keys()):
            lines.append(f"{mailbox.label} - {_when(event, mailbox.zone)} {title(event)}")
        for event_id in new:
            told = _told(old.get(event_id), new[event_id], mailbox.zone)
            lines += [f"{mailbox.label} {told}"] if told else []
    return lines


def title(event: Event) -> str:
    """The subject without what all of them begin with."""
    return str(event["subject"]).removeprefix("Core Job — ")


def local(instant: str, zone: ZoneInfo) -> datetime:
    """An instant of the dump in a time zone."""
    moment = datetime.fromisoformat(instant)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(zone)


def live(events: Sequence[Event]) -> Iterator[Event]:
    """The events that their owner sees in the calendar."""
    return (event for event in events if not event["in_deleted_items"])


def _by_id(events: Sequence[Event]) -> dict[str, Event]:
    return {event["id"]: event for event in live(events)}


def _told(old: Event | None, new: Event, zone: ZoneInfo) -> str:
    if old is None:
        return f"+ {_when(new, zone)} {title(new)}"
    if old["changeKey"] == new["changeKey"]:
        return ""
    if (old["start"], old["end"]) != (new["start"], new["end"]):
        return f"> {_when(new, zone)} {title(new)}"
    lines = set(old["body_text"].splitlines())
    said = [line for line in new["body_text"].splitlines() if line and line not in lines]
    return f"~ {title(new)}" + (f": “{said[0]}”" if said else "")


def _when(event: Event, zone: ZoneInfo) -> str:
    return f"{local(event['start'], zone):%a %d %b %H:%M}–{local(event['end'], zone):%H:%M}"
