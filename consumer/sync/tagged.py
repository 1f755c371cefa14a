"""Links for events whose link the store has lost: the tag on the event is the proof that it is ours."""

from collections.abc import Mapping, Sequence

from consumer.domain.event import EventSummary
from consumer.domain.link import Link, Memory


def links_of(listed: Mapping[str, Sequence[EventSummary]], known: Mapping[str, Memory]) -> dict[str, Link]:
    """A link for the first listed event of each job of which nothing is known.

    Its rank is 0 and its fingerprint equals no event's, so the next change or sweep compares the event with Core.

    Args:
        listed: a mailbox's tagged events by job, the one to keep first.
        known: what the store knows of the mailbox's jobs.
    """
    links = {}
    for job_id, events in listed.items():
        start, end = events[0].start, events[0].end
        if job_id not in known and start is not None and end is not None:
            # The etag is left out: it says that nothing changed since we wrote the event, and we do not know that.
            links[job_id] = Link(events[0].event_id, "", bytes(16), 0, start, end, rendering=0)
    return links
