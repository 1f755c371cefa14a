"""Links for events whose link Redis has lost. The tag on an event proves that it is ours."""

from collections.abc import Mapping, Sequence

from consumer.domain.event import EventSummary
from consumer.domain.link import Link, Memory


def links_of(listed: Mapping[str, Sequence[EventSummary]], known: Mapping[str, Memory]) -> dict[str, Link]:
    """Return a link for each job that has a listed event and about which Redis has nothing.

    The rank of these links is 0 and their fingerprints match no event, so the next change or sweep compares the events
    with Core.

    Args:
        listed: a mailbox's tagged events by job, each job's event to keep first.
        known: what Redis has about the mailbox's jobs.
    """
    links = {}
    for job_id, events in listed.items():
        start, end = events[0].start, events[0].end
        if job_id not in known and start is not None and end is not None:
            # Without an etag, which would mean that nobody has changed the event since we wrote it.
            links[job_id] = Link(events[0].event_id, "", bytes(16), 0, start, end, rendering=0)
    return links
