"""What a run looks at before it plans: a create in doubt, or an event that a sweep saw."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeGuard

from consumer.domain.errors import GoneError, RunAgainError
from consumer.domain.event import Event, RemoteEvent
from consumer.domain.link import Link, Memory, Pending, Tombstone
from consumer.domain.plan import Situation
from consumer.sync.bounded import each
from consumer.sync.change import Change
from consumer.sync.grant import AssignmentState, Precedence
from consumer.sync.ports import Calendar
from consumer.sync.run_context import Assignment

_VIEW_MARGIN: Final = timedelta(hours=1)
_READS_AT_ONCE: Final = 4
"""How many events of one assignment are read at once: as many requests as Graph serves for a mailbox."""


def is_in_doubt(change: Change, known: AssignmentState) -> bool:
    """Whether a create of the assignment was sent, or may have been, and its outcome is not known."""
    memory = known.memory
    if isinstance(memory, Pending):
        return memory.rank <= change.state.rank or known.precedence is Precedence.FORCED
    return change.transaction_id is not None and not isinstance(memory, Link)


async def look(assignment: Assignment, wanted: Event | None) -> Situation:
    """The situation to plan from, with the assignment's events where the link alone cannot be trusted."""
    run, change, memory = assignment.run, assignment.change, assignment.memory
    forced = assignment.known.precedence is Precedence.FORCED
    situation = Situation(wanted, change.state.rank, memory, forced=forced)
    if run.listed is not None and not isinstance(memory, Link):
        listed = [event.event_id for event in run.listed.get(change.job_id, ())]
        return replace(situation, seen=await _read(assignment, listed))
    if is_in_doubt(change, assignment.known):
        return replace(situation, seen=await run.calendar.find(assignment.tag))
    if isinstance(memory, Pending) or change.sweep_view is None:
        return situation
    event_ids = change.sweep_view.event_ids
    if event_ids is None:
        if not _is_trusted(memory, wanted):
            return situation
        # The assignment was marked dirty, because a request for it may have landed late: the link may be wrong.
        return replace(situation, seen=await _read(assignment, (memory.event_id,)))
    if _has_changed(change.sweep_view.basis, memory):
        return situation
    if isinstance(memory, Link) and memory.event_id not in event_ids:
        if not event_ids:
            return await _look_out_of_view(assignment, situation, memory)
        return await _look_beside(assignment, situation, memory, event_ids)
    return replace(situation, seen=await _read(assignment, event_ids))


async def look_after_duplicate(assignment: Assignment, event_id: str | None) -> tuple[RemoteEvent, ...]:
    """The event that a used transactionId has made: the one with the tag, or the one that Graph names.

    Raises:
        RunAgainError: there is none. The transactionId is forgotten, and the next run begins with a new one.
    """
    seen = await assignment.run.calendar.find(assignment.tag)
    if not seen and event_id is not None:
        named = await get(assignment.run.calendar, event_id)
        seen = (named,) if named is not None and named.tag == assignment.tag else ()
    if not seen:
        assignment.run.outcome.forgotten.add(assignment.job_id)
        raise RunAgainError("the transactionId is spent")
    return seen


async def look_after_gone(assignment: Assignment, situation: Situation) -> tuple[RemoteEvent, ...]:
    """The events with the tag, when the linked event is gone: after a loss of data the link may be an old one.

    Raises:
        RunAgainError: there are none. The link is forgotten, and the next run writes an intent and creates the event.
    """
    seen = await assignment.run.calendar.find(assignment.tag) if situation.seen is None else ()
    if not seen:
        assignment.run.outcome.forgotten.add(assignment.job_id)
        raise RunAgainError("the event is gone")
    return seen


async def get(calendar: Calendar, event_id: str) -> RemoteEvent | None:
    """The event; ``None`` if it is gone."""
    try:
        return await calendar.get(event_id)
    except GoneError:
        return None


async def is_shown(calendar: Calendar, event_id: str, start: datetime, end: datetime) -> bool:
    """Whether a view shows the event at these times."""
    events = await calendar.view(start - _VIEW_MARGIN, end + _VIEW_MARGIN)
    return any(event.event_id == event_id for event in events)


async def _read(assignment: Assignment, event_ids: Sequence[str]) -> tuple[RemoteEvent, ...]:
    """The events of these ids that still exist and carry the tag, in this order; ``_READS_AT_ONCE`` at a time."""
    found: dict[str, RemoteEvent | None] = {}

    async def read(event_id: str) -> None:
        found[event_id] = await get(assignment.run.calendar, event_id)

    if len(event_ids) == 1:
        await read(event_ids[0])
    elif event_ids:
        await each(event_ids, asyncio.Semaphore(_READS_AT_ONCE), read)
    events = (found[event_id] for event_id in event_ids)
    return tuple(event for event in events if event is not None and event.tag == assignment.tag)


async def _look_beside(assignment: Assignment, situation: Situation, link: Link, event_ids: Sequence[str]) -> Situation:
    """With the events that the sweep's view shows, and the linked one if it is at another time in the calendar.

    A person has dragged it there, or its job is beyond the window. A copy of it must not replace it.
    """
    calendar = assignment.run.calendar
    seen = await _read(assignment, event_ids)
    linked = await get(calendar, link.event_id)
    if linked is None:
        return replace(situation, seen=seen)
    if linked.tag != assignment.tag:
        return replace(situation, seen=seen, disowned=True)
    if linked.start and linked.end and await is_shown(calendar, linked.event_id, linked.start, linked.end):
        seen = (linked, *seen)
    return replace(situation, seen=seen)


async def _look_out_of_view(assignment: Assignment, situation: Situation, link: Link) -> Situation:
    """With the linked event that no view shows, read by its id; if that one cannot be used, with the tagged events.

    An answer by id alone does not prove that the event is in the calendar: it may be in Deleted Items.
    """
    calendar = assignment.run.calendar
    linked = await get(calendar, link.event_id)
    disowned = linked is not None and linked.tag != assignment.tag
    found = () if linked is None or disowned else (linked,)
    if not found or not found[0].single:
        known = {event.event_id: event for event in (*await calendar.find(assignment.tag), *found)}
        found = tuple(known.values())
    return replace(situation, seen=found, out_of_view=True, disowned=disowned)


def _is_trusted(memory: Memory | None, wanted: Event | None) -> TypeGuard[Link]:
    """Whether the link's fingerprint matches; planning without a read would then write nothing."""
    return isinstance(memory, Link) and wanted is not None and memory.fingerprint == wanted.fingerprint()


def _has_changed(basis: Memory | None, memory: Memory | None) -> bool:
    """Whether something was written since the sweep looked.

    A link that has lost its fingerprint shows only that a run failed, not that something was written.
    """
    if isinstance(basis, Link) and isinstance(memory, Link):
        return basis.unsure() != memory.unsure()
    return basis != (None if isinstance(memory, Tombstone) else memory)
