"""What a sweep finds in one mailbox: Core's schedule held against what the calendar shows and what we remember."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from consumer.domain.event import RENDERING, EventSummary
from consumer.domain.job import Job
from consumer.domain.link import Link, Memory
from consumer.domain.timezones import Zone
from consumer.domain.window import Window

PATIENCE_SECONDS: Final = 900.0
"""For how long what we know to be newer stands against what Core says; then Core, asked once more, wins."""
ENTERED: Final = timedelta(minutes=30)
"""A job that starts so close to the window's end has just come into it."""


@dataclass(frozen=True, slots=True)
class MailboxSnapshot:
    """A mailbox as it was at one moment."""

    zone: Zone
    links: Mapping[str, Memory]
    """By job."""
    summaries: Sequence[EventSummary]


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a mailbox could not be inspected."""

    cause: Literal["parked", "not_served", "failed", "refused", "unexpected"]
    """Why:

    - ``parked``: it is not tried, and the sweep is complete without it;
    - ``not_served``: its site is suspended, paused or unknown;
    - ``failed``: a transient trouble; after three sweeps in a row the mailbox is unavailable;
    - ``refused``: Graph calls the read itself malformed;
    - ``unexpected``: an error of ours.
    """
    reason: str
    """Without personal data."""
    retry_after: float | None = None
    """Seconds that Graph asks us to wait before the next try."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One assignment that is not as it should be, or may not be."""

    job_id: str
    job: Job | None
    """As Core's schedule has it; ``None`` if the schedule lacks it, and Core must be asked."""
    cause: str
    """missed, entered, edited, deleted, copied or orphaned."""
    basis: Memory | None
    event_ids: tuple[str, ...] | None
    """Every event with the assignment's tag; ``None`` if only its link speaks for it."""


def compare(
    site_id: str,
    jobs: Mapping[str, Job],
    unusable: Collection[str],
    inspection: MailboxSnapshot,
    window: Window,
    *,
    read_began: float,
) -> list[Difference]:
    """What differs.

    Args:
        site_id: whose tags are ours here; those of other sites are not touched.
        jobs: what Core wants in this mailbox in the window.
        unusable: jobs that Core listed with an unusable row: nothing is said of them.
        inspection: what was seen and remembered.
        window: now and three weeks.
        read_began: when reading Core began, on the store's clock; what was written after that is left alone.
    """
    seen: dict[str, list[EventSummary]] = {}
    for summary in inspection.summaries:
        owner, _, job_id = summary.tag.partition("/")
        if owner == site_id and job_id:
            seen.setdefault(job_id, []).append(summary)
    differences = []
    links, zone_mark = inspection.links, inspection.zone.mark
    for job_id, job in jobs.items():
        found = seen.get(job_id, ())
        if _as_written(links.get(job_id), found, job, zone_mark):
            continue  # as nearly every job is, so that is asked first
        difference = _wanted(job, inspection, found, window, read_began)
        if difference is not None:
            differences.append(difference)
    for job_id in dict.fromkeys(job_id for known in (links, seen) for job_id in known if job_id not in jobs):
        if job_id not in unusable:
            difference = _unlisted(job_id, inspection, seen.get(job_id, ()), window, read_began)
            if difference is not None:
                differences.append(difference)
    return differences


def _wanted(
    job: Job, inspection: MailboxSnapshot, seen: Sequence[EventSummary], window: Window, read_began: float
) -> Difference | None:
    if job.scheduled is None or not window.holds(*job.scheduled):
        return None
    memory = inspection.links.get(job.job_id)
    if memory is not None and memory.rank > job.rank and memory.written_at > read_began - PATIENCE_SECONDS:
        return None  # Core's answer is older than what we have come to know of late
    if not seen:
        cause = "deleted" if isinstance(memory, Link) else _why_missing(job, window)
    else:
        cause = "copied" if len(seen) > 1 else "edited"
    return Difference(job.job_id, job, cause, memory, tuple(summary.event_id for summary in seen))


def _as_written(link: Memory | None, seen: Sequence[EventSummary], job: Job, zone_mark: int) -> bool:
    """Whether neither Core nor the calendar has changed since we wrote the event."""
    if not isinstance(link, Link) or len(seen) != 1:
        return False
    summary = seen[0]
    return (
        summary.etag == link.etag
        and summary.event_id == link.event_id
        and summary.single
        and link.rank == job.rank
        and link.rendering >= RENDERING
        and link.zone_mark == zone_mark
    )


def _why_missing(job: Job, window: Window) -> str:
    """A job that has just come into the window was never missed."""
    assert job.starts_at is not None  # noqa: S101 (it is in the window)
    return "entered" if job.starts_at >= window.end - ENTERED else "missed"


def _unlisted(
    job_id: str, inspection: MailboxSnapshot, seen: Sequence[EventSummary], window: Window, read_began: float
) -> Difference | None:
    memory = inspection.links.get(job_id)
    if memory is not None and memory.written_at >= read_began:
        return None
    live = [summary for summary in seen if summary.end is None or summary.end >= window.start]
    if isinstance(memory, Link) and not window.holds(memory.start, memory.end):
        as_written = all((summary.event_id, summary.etag) == (memory.event_id, memory.etag) for summary in live)
        if memory.end < window.start or as_written:
            return None  # history; or beyond the window, and not come into sight otherwise than we wrote it
    if memory is None and not live:
        return None
    ids = tuple(summary.event_id for summary in live)
    return Difference(job_id, None, "orphaned", memory, ids or None)
