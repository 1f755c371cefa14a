"""What the calendars must hold, computed from Core's schedule alone, and how what they hold differs.

Written from the product's description and not from the service's code: where the two disagree, one is wrong.
The description leaves a little open, and the oracle allows for it: where a text that is too long is cut (a few
characters before the limit, or by the length of its HTML), blank lines in a body, and what becomes of history.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sandbox.core.rows import Job, Worker
from sandbox.core.schedule import Schedule, normal_address
from sandbox.oracle_text import body_agrees, cut, line_agrees, one_line, text_lines

WINDOW: Final = timedelta(days=21)

_LINE_LIMIT = 255
_OWNED: Final = {
    "isAllDay": False,
    "showAs": "busy",
    "isReminderOn": True,
    "reminderMinutesBeforeStart": 15,
    "sensitivity": "normal",
    "importance": "normal",
}


@dataclass(frozen=True, slots=True)
class Event:
    """The event of one assignment."""

    tag: str
    subject: str
    location: str
    lines: tuple[str, ...]
    """The body's lines of text that are not blank, before the limit on its length."""
    start: datetime
    end: datetime
    required: bool
    """False beyond the window: there may be no event yet, but one that is there must be right."""


@dataclass(frozen=True, slots=True)
class Calendars:
    """What the calendars must hold at one time."""

    now: datetime
    sites: frozenset[str]
    """The sites that are judged; an event with another site's tag is none of the service's business."""
    mailboxes: Mapping[str, Mapping[str, Event]]
    """By normalised address and tag."""
    free: frozenset[str]
    """Tags of jobs of which anything may be there: past ones, and those whose record is invalid."""
    coming: frozenset[str]
    """Tags of jobs that Core has with a time that is not past."""


def expect(
    schedule: Schedule,
    now: datetime,
    window: timedelta = WINDOW,
    *,
    entered_within: timedelta = timedelta(0),
    aliases: Mapping[str, str] | None = None,
) -> Calendars:
    """What the calendars must hold at `now`.

    A job that entered the window less than `entered_within` ago may still be without its event: the sweep that
    creates it comes every few minutes. `aliases` are further addresses of mailboxes, each with the mailbox's own;
    a job of both has one event there.
    """
    mailboxes: dict[str, dict[str, Event]] = {
        address: {} for worker in schedule.workers.values() if (address := _address(worker, aliases))
    }
    free, coming = set(), set()
    for job in schedule.jobs.values():
        tag = f"{job.site_id}/{job.job_id}"
        if job.starts_at is None or job.ends_at is None:
            continue
        if job.ends_at < job.starts_at or _is_past(job, now):
            free.add(tag)
            continue
        coming.add(tag)
        if job.status == "cancelled":
            continue
        required = job.overlaps(now, now + window - entered_within)
        event = _event(job, tag, job.starts_at, job.ends_at, required=required)
        for worker in job.workers:
            if address := _address(worker, aliases):
                mailboxes.setdefault(address, {})[tag] = event
    return Calendars(now, frozenset(schedule.sites), mailboxes, frozenset(free), frozenset(coming))


def compare(
    expected: Calendars,
    actual: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    exempt: Collection[str] = (),
) -> list[str]:
    """What is wrong in the calendars, a line for each fault in a mailbox; empty if nothing is.

    `actual` is the sandbox Graph's dump: events by mailbox. Only those count that carry a tag and are not in
    the deleted items. Mailboxes in `exempt` (parked ones, say) are not judged.
    """
    skipped = {normal_address(address) for address in exempt}
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for address, events in actual.items():
        by_tag = found.setdefault(normal_address(address), {})
        for event in events:
            tag = event.get("tag")
            if isinstance(tag, str) and not event.get("in_deleted_items"):
                by_tag.setdefault(tag, []).append(event)
    differences = []
    for address in sorted(expected.mailboxes.keys() | found.keys()):
        if address in skipped:
            continue
        wanted, present = expected.mailboxes.get(address, {}), found.get(address, {})
        for tag in sorted(wanted.keys() | present.keys()):
            faults = _judge(expected, tag, wanted.get(tag), present.get(tag, []))
            differences += [f"{address}: {tag}: {fault}" for fault in faults]
    return differences


def _judge(expected: Calendars, tag: str, wanted: Event | None, present: Sequence[Mapping[str, Any]]) -> list[str]:
    if tag in expected.free or tag.partition("/")[0] not in expected.sites:
        return []
    if wanted is None:
        # Deleted and unscheduled jobs have no time in Core: then the event's own tells whether it is history.
        return [
            f"surplus: {event.get('subject')!r} at {event.get('start')} ({event.get('id')})"
            for event in present
            if tag in expected.coming or _instant(event["end"]) > expected.now
        ]
    if not present:
        return [f"missing: {wanted.subject!r} at {wanted.start.isoformat()}"] if wanted.required else []
    faults = [f"{field} differs: {detail}" for event in present for field, detail in _differing(wanted, event)]
    if len(present) > 1:
        ids = ", ".join(str(event.get("id")) for event in present)
        faults.insert(0, f"duplicate: {len(present)} events: {ids}")
    return faults


def _differing(wanted: Event, event: Mapping[str, Any]) -> list[tuple[str, str]]:
    differing = [
        (field, f"{event.get(field)!r}, wanted {value!r}")
        for field, value in _OWNED.items()
        if event.get(field) != value
    ]
    for field, line in (("subject", wanted.subject), ("location", wanted.location)):
        if not line_agrees(line, str(event.get(field) or ""), _LINE_LIMIT):
            differing.append((field, f"{event.get(field)!r}, wanted {line!r}"))
    for field, instant in (("start", wanted.start), ("end", wanted.end)):
        if _instant(event[field]) != instant:
            differing.append((field, f"{event[field]}, wanted {instant.isoformat()}"))
    lines = text_lines(event["body"])
    if not body_agrees(wanted.lines, lines):
        differing.append(("body", f"{_shown(lines)}, wanted {_shown(wanted.lines)}"))
    if event.get("series"):
        differing.append(("series", "it is a series, wanted a single event"))
    return differing


def _event(job: Job, tag: str, start: datetime, end: datetime, *, required: bool) -> Event:
    client, place = one_line(job.client_name), one_line(job.site_name)
    subject = "Core Job" + (f" — {client}" if client else "") + (f" ({place})" if place else "")
    address = ", ".join(filter(None, map(one_line, (job.address or "").splitlines())))
    fields = {
        "Job": one_line(job.subject),
        "Customer reference": one_line(job.customer_reference),
        "Contact": one_line(job.contact_name),
        "Mobile": one_line(job.contact_mobile),
        "Phone": one_line(job.contact_phone),
        "Email": one_line(job.contact_email),
        "Address": address,
    }
    lines = [f"{label}: {value}" for label, value in fields.items() if value]
    notes = [line for line in map(one_line, (job.notes or "").splitlines()) if line]
    if notes:
        lines += [f"Notes: {notes[0]}", *notes[1:]]
    return Event(tag, cut(subject, _LINE_LIMIT), cut(address, _LINE_LIMIT), tuple(lines), start, end, required)


def _address(worker: Worker, aliases: Mapping[str, str] | None) -> str | None:
    """Of the worker's mailbox, if there is one."""
    address = normal_address(worker.calendar_email or "")
    if " " in address or not address.isprintable():
        return None  # no mailbox can have it
    return (aliases or {}).get(address, address) or None


def _is_past(job: Job, now: datetime) -> bool:
    """Ended before now; a job without length that starts now has not."""
    if job.starts_at is None or job.ends_at is None:
        return False
    return job.ends_at < now if job.starts_at == job.ends_at else job.ends_at <= now


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _shown(lines: Sequence[str]) -> str:
    text = " | ".join(lines)
    return repr(text if len(text) <= 300 else f"{text[:200]} […] {text[-90:]}")
