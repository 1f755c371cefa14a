"""Links for events whose link the store has lost: the tag on the event is the proof that it is ours."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from consumer.domain.event import Glimpse
from consumer.domain.link import Link, Memory


def links_of(
    listed: Mapping[str, Sequence[Glimpse]], known: Mapping[str, Memory], not_before: datetime
) -> dict[str, Link]:
    """A link for the first listed event of each job of which nothing is known.

    Its rank is 0 and its fingerprint equals no event's, so the next change or sweep compares the event with Core.

    Args:
        listed: a mailbox's tagged events by job, the one to keep first.
        known: what the store knows of the mailbox's jobs.
        not_before: events that ended before this are history and get no link.
    """
    links = {}
    for job_id, events in listed.items():
        if job_id in known or not events:
            continue
        event = events[0]
        start, end = event.start, event.end
        if start is None or end is None or end < not_before:
            continue
        # The etag is left out: it says that nothing changed since we wrote the event, and we do not know that.
        links[job_id] = Link(event.event_id, "", bytes(16), 0, start, end, rendering=0)
    return links
