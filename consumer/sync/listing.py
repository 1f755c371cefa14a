"""Lists a mailbox's tagged events where the store's links may be missing: after the store has lost data."""

import asyncio
import math
from datetime import timedelta
from typing import Final

from consumer.domain.errors import RequestRefusedError, TransientError
from consumer.domain.event import EventSummary
from consumer.domain.window import Window
from consumer.sync.grant import Grant
from consumer.sync.run_context import RunContext
from consumer.sync.tagged import links_of

LISTINGS_AT_ONCE: Final = 256
"""How many mailboxes' events are listed at once: each list may have many pages, one of which is in memory at a time."""
FORGOTTEN_AFTER: Final = timedelta(days=30)
"""A link is forgotten when its event has been over for so long: the event stays, as history."""
_VIEW: Final = timedelta(hours=1)


class Listing:
    """Lists tagged events, of at most ``LISTINGS_AT_ONCE`` mailboxes at a time."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(LISTINGS_AT_ONCE)

    async def read(self, grant: Grant, run: RunContext, window: Window) -> dict[str, list[EventSummary]]:
        """All events of the mailbox that carry a tag of its site, by job, the oldest first.

        The run's outcome links those without a link. An event beyond the window has nothing to be compared with, so it
        is marked for the sweep, which asks Core for its job.
        """
        site_id, not_before = grant.lease.mailbox.site, window.start - FORGOTTEN_AFTER
        listed: dict[str, list[EventSummary]] = {}
        async with self._room:
            try:
                events = sorted(await run.calendar.tagged(site_id, not_before), key=_age)
            except RequestRefusedError as error:
                # Unless every read of the mailbox is refused, this proves nothing about the mailbox or any record.
                await run.calendar.view(window.start, window.start + _VIEW)
                raise TransientError(f"the mailbox's events cannot be listed: {error}") from None
            named = [(event.tag.removeprefix(f"{site_id}/"), event) for event in events]
            unlinked = [(job_id, event.event_id) for job_id, event in named if job_id not in grant.links]
            elsewhere = await run.linked_elsewhere(unlinked) if unlinked else set()
        for job_id, event in named:
            # Two addresses may lead to one mailbox: an event linked under the other address stays with it.
            if event.event_id not in elsewhere:
                listed.setdefault(job_id, []).append(event)
        run.outcome.answered = True
        run.outcome.listed_in = grant.incarnation
        run.outcome.found = links_of(listed, grant.links)
        run.outcome.beyond = {job_id for job_id, link in run.outcome.found.items() if link.start >= window.end}
        return listed


def _age(event: EventSummary) -> tuple[float, str]:
    """Sorts the oldest first; one without a date counts as the youngest."""
    return math.inf if event.created is None else event.created.timestamp(), event.event_id
