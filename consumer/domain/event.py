"""The calendar event of an assignment: as it should be, and as Graph shows it."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Final, NamedTuple

from consumer.domain.text import html_lines
from consumer.domain.timezones import UTC_ZONE, write_span

TAG_ID: Final = "String {7d0c3f5e-52a4-4c1b-9d55-0b1f5c2e9a60} Name CoreJob"
"""The single-value extended property that marks an event as ours. Its value is :func:`tag`."""

RENDERING: Final = 1
"""Grows with every change of what :mod:`consumer.domain.render` makes of the same job."""

REMINDER_MINUTES: Final = 15


def tag(site_id: str, job_id: str) -> str:
    """The proof that an event is ours, and whose: ``{site}/{job}``."""
    return f"{site_id}/{job_id}"


@dataclass(frozen=True, slots=True)
class Event:
    """What Core wants an event to hold. The other owned fields are constants, such as a reminder 15 minutes before."""

    subject: str
    location: str
    body: str
    """HTML, every value escaped."""
    start: datetime
    """Aware, UTC."""
    end: datetime
    zone: str
    """The Windows zone name the times are written in, or ``UTC``."""
    local_start: str
    """``start`` in ``zone``, without offset, as Graph takes it."""
    local_end: str

    def fingerprint(self) -> bytes:
        """Sixteen bytes that are equal only for equal events."""
        joined = "\x00".join(
            (self.subject, self.location, self.body, self.zone, self.start.isoformat(), self.end.isoformat())
        )
        return hashlib.sha256(joined.encode(errors="surrogatepass")).digest()[:16]

    def in_utc(self) -> "Event":
        """The same event with its times written in UTC."""
        local_start, local_end, zone = write_span(self.start, self.end, UTC_ZONE)
        return replace(self, zone=zone, local_start=local_start, local_end=local_end)


class EventSummary(NamedTuple):
    """One tagged event as a view of the calendar lists it: enough to decide whether it must be read whole."""

    event_id: str
    """Of a series, that of its master."""
    etag: str
    tag: str
    single: bool
    """Not a series, an occurrence or an exception."""
    end: datetime | None
    start: datetime | None = None
    created: datetime | None = None
    """Aware, UTC; ``None`` where the list does not show it: a calendarView cannot select it."""


OWNED: Final = (
    "subject",
    "location",
    "body",
    "start",
    "end",
    "all_day",
    "show_as",
    "reminder",
    "reminder_minutes",
    "sensitivity",
    "importance",
    "series",
)
"""The names of the fields that this service owns, in the order of ``RemoteEvent.owned``."""


@dataclass(frozen=True)
class RemoteEvent:
    """One event as Graph showed it: only the owned fields, and what shows whose it is."""

    event_id: str
    etag: str
    tag: str | None
    subject: str
    location: str
    body: str
    start: datetime | None
    """Aware, UTC; ``None`` for a time that could not be read, which equals nothing we want."""
    end: datetime | None
    is_all_day: bool
    show_as: str
    is_reminder_on: bool
    reminder_minutes: int
    sensitivity: str
    importance: str
    single: bool
    """Not a series, an occurrence or an exception."""
    created: datetime | None = None
    """Aware, UTC; of two events with one tag, the older may hold what a person has added."""

    @cached_property
    def owned(self) -> tuple[object, ...]:
        """The owned fields, normalised: equal exactly when a person would see no difference."""
        return (
            self.subject,
            self.location,
            html_lines(self.body),
            self.start,
            self.end,
            self.is_all_day,
            self.show_as.casefold(),
            self.is_reminder_on,
            self.reminder_minutes,
            self.sensitivity.casefold(),
            self.importance.casefold(),
            self.single,
        )

    def reads_as(self, event: Event) -> bool:
        """Whether this event already shows what ``event`` wants."""
        return self.owned == _owned_by(event)

    def differing(self, event: Event) -> tuple[str, ...]:
        """The names of the owned fields that show something else than ``event`` wants."""
        pairs = zip(OWNED, self.owned, _owned_by(event), strict=True)
        return tuple(name for name, shown, wanted in pairs if shown != wanted)

    def digest(self) -> bytes:
        """Sixteen bytes of the owned fields *as Graph gives them back*; see ``Link.settled``."""
        return hashlib.sha256(repr(self.owned).encode(errors="surrogatepass")).digest()[:16]


def _owned_by(event: Event) -> tuple[object, ...]:
    """The owned fields of a remote event that shows what ``event`` wants."""
    return (
        event.subject,
        event.location,
        html_lines(event.body),
        event.start,
        event.end,
        False,
        "busy",
        True,
        REMINDER_MINUTES,
        "normal",
        "normal",
        True,
    )
