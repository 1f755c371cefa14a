"""What a sweep finds in one mailbox: how its calendar and our links differ from Core's schedule."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias, get_args

from consumer.domain.event import RENDERING, EventSummary
from consumer.domain.job import Job
from consumer.domain.link import Link, Memory
from consumer.domain.timezones import Zone
from consumer.domain.window import Window

NEWER_RANK_SECONDS: Final = 900.0
"""How long a newer rank in Redis wins over Core's answer. After that, Core is asked once more and wins."""
ENTERED: Final = timedelta(minutes=30)
"""A job that starts this close to the window's end has just entered the window."""

Cause: TypeAlias = Literal["missed", "entered", "edited", "deleted", "copied", "orphaned"]
"""Why a sweep repairs an assignment:

- ``missed``: it has no event, though Core wants one;
- ``entered``: the same, because the job has just entered the window;
- ``edited``: its event differs from Core's state;
- ``deleted``: it has a link, but its event is gone;
- ``copied``: it has more than one event;
- ``orphaned``: it has an event, though Core wants none.
"""
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)
CountedCause: TypeAlias = Cause | Literal["unsettled"]
"""What the metric counts: ``unsettled`` events differ too, but just as Graph rewrote them, so they are not repaired."""
COUNTED_CAUSES: Final[tuple[CountedCause, ...]] = (*CAUSES, "unsettled")
UnreadCause: TypeAlias = Literal["parked", "not_served", "failed", "refused", "unexpected"]
"""Why a mailbox was not read:

- ``parked``: the mailbox is not tried, and the sweep is complete without it;
- ``not_served``: its site is suspended, paused or not in the sites file;
- ``failed``: a transient error; after three sweeps in a row the mailbox is unavailable;
- ``refused``: Graph calls the read itself malformed;
- ``unexpected``: an error in our own code.
"""


@dataclass(frozen=True, slots=True)
class MailboxSnapshot:
    """A mailbox as it was at one moment."""

    zone: Zone
    links: Mapping[str, Memory]
    """By job."""
    summaries: Sequence[EventSummary]


@dataclass(frozen=True, slots=True)
class Unread:
    """A mailbox that could not be read, and why."""

    cause: UnreadCause
    reason: str
    """Without personal data."""
    retry_after: float | None = None
    """Seconds that Graph asks us to wait before the next try."""

    @property
    def is_worth_retry(self) -> bool:
        """Whether a second read within the same sweep may succeed."""
        return self.cause in ("failed", "refused", "unexpected")


@dataclass(frozen=True, slots=True)
class Difference:
    """One assignment that differs, or may differ, from Core's schedule."""

    job_id: str
    job: Job | None
    """As Core's schedule has it; ``None`` if the schedule lacks it: Core must then be asked for it by id."""
    cause: Cause
    basis: Memory | None
    """What Redis had about the assignment when the mailbox was read."""
    event_ids: tuple[str, ...] | None
    """Every event with the assignment's tag; ``None`` if the view shows none and only a link names one."""


def compare(
    site_id: str,
    jobs: Mapping[str, Job],
    unusable: Collection[str],
    snapshot: MailboxSnapshot,
    window: Window,
    *,
    read_began: float,
) -> list[Difference]:
    """Return every assignment of the mailbox that differs from Core's schedule.

    Args:
        site_id: the site; events with another site's tag are ignored.
        jobs: what Core wants in this mailbox in the window.
        unusable: jobs that Core listed with an unusable row; they are left out, so their events stay.
        snapshot: the mailbox's events and links.
        window: the time to compare.
        read_began: Unix time on Redis's clock when reading Core began. What was written after that is left alone.
    """
    seen: dict[str, list[EventSummary]] = {}
    for summary in snapshot.summaries:
        owner, _, job_id = summary.tag.partition("/")
        if owner == site_id and job_id:
            seen.setdefault(job_id, []).append(summary)
    differences = []
    links, zone_mark = snapshot.links, snapshot.zone.mark
    for job_id, job in jobs.items():
        found = seen.get(job_id, ())
        if _as_written(links.get(job_id), found, job, zone_mark):
            continue  # true of nearly every job, so this cheap check comes first
        difference = _wanted(job, snapshot, found, window, read_began)
        if difference is not None:
            differences.append(difference)
    for job_id in dict.fromkeys(job_id for known in (links, seen) for job_id in known if job_id not in jobs):
        if job_id not in unusable:
            difference = _unlisted(job_id, snapshot, seen.get(job_id, ()), window, read_began)
            if difference is not None:
                differences.append(difference)
    return differences


def _wanted(
    job: Job, snapshot: MailboxSnapshot, seen: Sequence[EventSummary], window: Window, read_began: float
) -> Difference | None:
    if job.scheduled is None or not window.holds(*job.scheduled):
        return None
    memory = snapshot.links.get(job.job_id)
    if memory is not None and memory.rank > job.rank and memory.written_at > read_began - NEWER_RANK_SECONDS:
        return None  # Redis has a newer state than Core's answer
    return Difference(
        job.job_id, job, _cause(job, memory, seen, window), memory, tuple(summary.event_id for summary in seen)
    )


def _cause(job: Job, memory: Memory | None, seen: Sequence[EventSummary], window: Window) -> Cause:
    if seen:
        return "copied" if len(seen) > 1 else "edited"
    if isinstance(memory, Link):
        return "deleted"
    return "entered" if job.starts_at is not None and job.starts_at >= window.end - ENTERED else "missed"


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


def _unlisted(
    job_id: str, snapshot: MailboxSnapshot, seen: Sequence[EventSummary], window: Window, read_began: float
) -> Difference | None:
    memory = snapshot.links.get(job_id)
    if memory is not None and memory.written_at >= read_began:
        return None
    live = [summary for summary in seen if summary.end is None or summary.end >= window.start]
    if isinstance(memory, Link) and not window.holds(memory.start, memory.end):
        as_written = all((summary.event_id, summary.etag) == (memory.event_id, memory.etag) for summary in live)
        if memory.end < window.start or as_written:
            return None  # history; or beyond the window, and the calendar shows it as we wrote it, if at all
    if memory is None and not live:
        return None
    ids = tuple(summary.event_id for summary in live)
    return Difference(job_id, None, "orphaned", memory, ids or None)
