"""Computes from Core's schedule alone what the calendars must show, and compares it with what they show.

The oracle follows the product's description, not the service's code. If the two disagree, one of them is wrong. The
description leaves some points open, and the oracle accepts every solution: where a text that is too long is cut (a few
characters before the limit, or by the length of its HTML), blank lines in a body, and events of the past.
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
    """The lines of the body that are not blank, before the body is cut to its limit."""
    start: datetime
    end: datetime
    required: bool
    """False beyond the window: the event may be missing, but if it exists it must be correct."""


@dataclass(frozen=True, slots=True)
class Calendars:
    """What the calendars must show at one moment."""

    now: datetime
    sites: frozenset[str]
    """The sites that are checked. Events with the tag of another site are ignored."""
    mailboxes: Mapping[str, Mapping[str, Event]]
    """The expected events, by normalised address and tag."""
    free: frozenset[str]
    """Tags of jobs that are not checked: past jobs, and jobs whose record is invalid."""
    coming: frozenset[str]
    """Tags of jobs in Core that have a time and are not past."""


def expect(
    schedule: Schedule,
    now: datetime,
    window: timedelta = WINDOW,
    *,
    entered_within: timedelta = timedelta(0),
    aliases: Mapping[str, str] | None = None,
) -> Calendars:
    """Returns what the calendars must show at `now`.

    A job that entered the window less than `entered_within` ago may still have no event, because a sweep creates it
    and sweeps run every few minutes. `aliases` maps further addresses of mailboxes to the mailbox's own address. A job
    with both addresses has one event there.
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
    """Returns what is wrong in the calendars, one line for each fault in a mailbox. Empty if nothing is wrong.

    `actual` is the dump of the sandbox's Graph: events by mailbox. Only events count that carry a tag and are not in
    Deleted Items. Mailboxes in `exempt` (for example parked ones) are not checked.
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
        # Deleted and unscheduled jobs have no time in Core, so the event's own end decides whether it is past.
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
    """Returns the address of the worker's mailbox, or None if the worker has no mailbox."""
    address = normal_address(worker.calendar_email or "")
    if " " in address or not address.isprintable():
        return None  # such an address cannot belong to a mailbox
    return (aliases or {}).get(address, address) or None


def _is_past(job: Job, now: datetime) -> bool:
    """Returns whether the job has ended. A job without length that starts now has not ended."""
    if job.starts_at is None or job.ends_at is None:
        return False
    return job.ends_at < now if job.starts_at == job.ends_at else job.ends_at <= now


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _shown(lines: Sequence[str]) -> str:
    text = " | ".join(lines)
    return repr(text if len(text) <= 300 else f"{text[:200]} […] {text[-90:]}")
