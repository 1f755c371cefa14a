"""From a job to the event that shows it: its texts, and their limits. README says what a worker sees."""

from datetime import datetime
from html import escape
from typing import Final

from consumer.domain.event import Event
from consumer.domain.job import Job
from consumer.domain.text import ELLIPSIS, cut_utf16, lines_of, one_line
from consumer.domain.timezones import Zone, write_span

LINE_LIMIT: Final = 255
"""Of subject and location, in UTF-16 code units."""
BODY_LIMIT: Final = 32_000
"""Of the body, in characters of its HTML."""
_BREAK: Final = "<br>"


def render(job: Job, start: datetime, end: datetime, zone: Zone) -> Event:
    """The event of ``job`` from ``start`` to ``end``, written in ``zone``."""
    local_start, local_end, name = write_span(start, end, zone)
    return Event(
        subject=cut_utf16(_subject(job), LINE_LIMIT),
        location=cut_utf16(one_line(job.address, breaks=", "), LINE_LIMIT),
        body=_body(job),
        start=start,
        end=end,
        zone=name,
        local_start=local_start,
        local_end=local_end,
    )


def _subject(job: Job) -> str:
    subject = "Core Job"
    if client := one_line(job.client_name):
        subject += f" — {client}"
    if site := one_line(job.site_name):
        subject += f" ({site})"
    return subject


def _body(job: Job) -> str:
    fields = (
        ("Job", one_line(job.subject)),
        ("Customer reference", one_line(job.customer_reference)),
        ("Contact", one_line(job.contact_name)),
        ("Mobile", one_line(job.contact_mobile)),
        ("Phone", one_line(job.contact_phone)),
        ("Email", one_line(job.contact_email)),
        ("Address", one_line(job.address, breaks=", ")),
    )
    lines = [f"{label}: {value}" for label, value in fields if value]
    if notes := lines_of(job.notes):
        lines.append(f"Notes: {notes[0]}")
        lines.extend(notes[1:])
    html = _BREAK.join(escape(line) for line in lines)
    return html if len(html) <= BODY_LIMIT else _cut(lines)


def _cut(lines: list[str]) -> str:
    """As much of ``lines`` as fits the body, never half an entity or half a line break."""
    kept: list[str] = []
    room = BODY_LIMIT - len(ELLIPSIS)
    pieces = (
        piece
        for number, line in enumerate(lines)
        for piece in ([_BREAK] if number else []) + [escape(character) for character in line]
    )
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + ELLIPSIS
