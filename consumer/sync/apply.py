"""Carries out the plan for one assignment, and notes in the run's outcome what the store must remember."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, NoReturn

import structlog

from consumer.domain.errors import GoneError, RunAgainError, TransientError, ZoneRefusedError
from consumer.domain.event import RENDERING, Event, RemoteEvent
from consumer.domain.link import Link, Pending
from consumer.domain.plan import Adopt, Create, Delete, Leave, Plan, Remake, Situation, Update
from consumer.sync.look import get, is_shown
from consumer.sync.ports import Calendar
from consumer.sync.receipts import ChangeResult
from consumer.sync.run_context import Assignment, RunContext

log = structlog.get_logger(__name__)

LANDING_SECONDS: Final = 300.0
"""How long after its intent a create may land: a request takes 30 seconds at most, but may have waited its turn."""


async def apply(assignment: Assignment, situation: Situation, planned: Plan) -> ChangeResult:
    """Do what the plan says; returns what became of the change.

    Raises:
        DuplicateTransactionError: the create's transactionId was used before.
        GoneError: the event to update is gone.
        RunAgainError: a step needs an intent, which only the beginning of a run writes.
    """
    job_id, calendar = assignment.job_id, assignment.run.calendar
    result: ChangeResult = "applied"
    for event_id in planned.surplus:
        # Delete surplus events first. The step may link another event; if a deletion failed after that, nothing would
        # lead to this one.
        await _delete(calendar, event_id)
    match planned.step:
        case Leave():
            result = _leave(assignment, planned.step, situation.seen)
        case Adopt(found, event):
            _remember(assignment, found, event)
            await _check_view(assignment, found.event_id, situation)
            result = "applied" if isinstance(assignment.memory, Pending) else "unchanged"
        case Create(event):
            await _create(assignment, event)
        case Update(event_id, event):
            await _update(assignment, event_id, event)
            await _check_view(assignment, event_id, situation)
            if situation.seen:
                await _note_how_it_reads(assignment, event_id, event)
        case Delete(event_ids):
            await _delete_all(assignment, await _without_others(assignment, event_ids), situation)
            assignment.run.outcome.tombstones[job_id] = situation.rank
        case Remake(event_ids):
            await _remake(assignment, event_ids)
    return "applied" if planned.surplus else result


def _leave(assignment: Assignment, step: Leave, seen: Sequence[RemoteEvent] | None) -> ChangeResult:
    run, memory = assignment.run, assignment.memory
    run.result.unsettled += step.unsettled
    if step.unsettled and isinstance(memory, Link) and seen:
        # With this etag, it need not be looked at again until its etag changes.
        etag = next((event.etag for event in seen if event.event_id == memory.event_id), "")
        run.outcome.links[assignment.job_id] = replace(memory, etag=etag)
    if step.stale:
        return "stale"
    if isinstance(memory, Pending):
        # The create in doubt may still land. If the job comes back before that, its event must be created with the same
        # transactionId, or there would be two.
        run.outcome.doubtful[assignment.job_id] = LANDING_SECONDS
    return "unchanged"


async def _create(assignment: Assignment, event: Event) -> None:
    run, job_id, transaction_id = assignment.run, assignment.job_id, assignment.known.transaction_id
    if transaction_id is None:
        # The window came to hold the job after the intents were written.
        raise RunAgainError("no intent was written for this create")
    run.creates[job_id] = transaction_id
    written = await _write(run, event, lambda event: run.calendar.create(event, assignment.tag, transaction_id))
    if assignment.known.fresh and job_id not in run.repeated:
        await _written(assignment, written, event)
    else:
        # Perhaps an earlier create with this transactionId has made it: as it was wanted then, edited since, or
        # without its tag (msgraph-sdk-ruby#38), so that no sweep would see it.
        await _update(assignment, written.event_id, event, claimed_by=assignment.tag)


async def _update(assignment: Assignment, event_id: str, event: Event, claimed_by: str | None = None) -> None:
    run = assignment.run

    def send(event: Event) -> Awaitable[RemoteEvent]:
        if claimed_by is not None:
            return run.calendar.claim(event_id, event, claimed_by)
        return run.calendar.update(event_id, event)

    try:
        written = await _write(run, event, send)
    except TransientError as error:
        if error.unknown and not run.window.holds(event.start, event.end):
            # If it lands after a later one, the sweep's view does not show it.
            run.outcome.dirty.add(assignment.job_id)
        raise
    await _written(assignment, written, event)


async def _write(run: RunContext, event: Event, send: Callable[[Event], Awaitable[RemoteEvent]]) -> RemoteEvent:
    """Send the event; in UTC if Graph does not know the mailbox's zone, whose setting may have changed."""
    try:
        return await send(event)
    except ZoneRefusedError:
        if not run.zone_refused:
            run.zone_refused = True
            log.warning("time zone unknown to Graph", site=run.mailbox.site, zone=event.zone)
            run.outcome.zone = await run.calendar.time_zone()
        return await send(event.in_utc())


async def _written(assignment: Assignment, written: RemoteEvent, event: Event) -> None:
    """Remember the event; write it once more in UTC if Graph read its local times as other instants."""
    _remember(assignment, written, event)
    if (written.start, written.end) == (event.start, event.end):
        return
    links = assignment.run.outcome.links
    links[assignment.job_id] = links[assignment.job_id].unsure()
    try:
        again = await assignment.run.calendar.update(written.event_id, event.in_utc())
    except GoneError:
        raise RunAgainError("the event is gone") from None
    _remember(assignment, again, event)


def _remember(assignment: Assignment, seen: RemoteEvent, event: Event) -> None:
    assignment.run.outcome.links[assignment.job_id] = Link(
        seen.event_id,
        seen.etag,
        event.fingerprint(),
        assignment.change.state.rank,
        event.start,
        event.end,
        RENDERING,
        zone_mark=assignment.run.zone.mark,
    )


async def _note_how_it_reads(assignment: Assignment, event_id: str, event: Event) -> None:
    """After a repair: if Graph shows the event differently from how it was written, remember that it does.

    A person may have edited it since. So the difference counts as Graph's own only if nothing was written to the event
    since the repair, or if it read the same after the last repair. Otherwise the link gets no etag, so ``plan`` repairs
    it again.
    """
    seen = await get(assignment.run.calendar, event_id)
    if seen is None:
        return
    links, memory = assignment.run.outcome.links, assignment.memory
    link = links[assignment.job_id]
    before = memory.settled if isinstance(memory, Link) else b""
    is_graphs = seen.etag == link.etag or seen.digest() == before or seen.reads_as(event)
    links[assignment.job_id] = replace(link, etag=seen.etag if is_graphs else "", settled=seen.digest())


async def _check_view(assignment: Assignment, event_id: str, situation: Situation) -> None:
    """Remake an event that no view shows although its time is right: it is not in the calendar.

    Reading and updating an event by its id also works in other calendars, and perhaps in Deleted Items.
    """
    if not situation.out_of_view or situation.wanted is None:
        return
    wanted = situation.wanted
    if not await is_shown(assignment.run.calendar, event_id, wanted.start, wanted.end):
        await _remake(assignment, (event_id,))


async def _remake(assignment: Assignment, event_ids: Sequence[str]) -> NoReturn:
    """Delete the events. The next run writes an intent and creates one."""
    outcome = assignment.run.outcome
    for event_id in event_ids:
        await _delete(assignment.run.calendar, event_id)
    outcome.links.pop(assignment.job_id, None)
    outcome.forgotten.add(assignment.job_id)
    raise RunAgainError("the event must be created again")


async def _without_others(assignment: Assignment, event_ids: Sequence[str]) -> Sequence[str]:
    """The events that no other address links. Two addresses of one mailbox list the same events."""
    if not isinstance(assignment.memory, Link) or assignment.memory.is_confirmed:
        return event_ids
    named = [(assignment.job_id, event_id) for event_id in event_ids]
    elsewhere = await assignment.run.linked_elsewhere(named)
    return [event_id for event_id in event_ids if event_id not in elsewhere]


async def _delete_all(assignment: Assignment, event_ids: Sequence[str], situation: Situation) -> None:
    calendar = assignment.run.calendar
    existed = [await _delete(calendar, event_id) for event_id in event_ids]
    if situation.seen is None and not all(existed):
        # After a loss of data the link may be an old one.
        for found in await calendar.find(assignment.tag):
            await _delete(calendar, found.event_id)


async def _delete(calendar: Calendar, event_id: str) -> bool:
    """Delete the event; returns whether it existed."""
    try:
        await calendar.delete(event_id)
    except GoneError:
        return False
    return True
