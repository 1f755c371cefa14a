"""One assignment within a run: look if in doubt, plan, apply. Its failure is its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NoReturn, TypeGuard

import structlog

from consumer.domain.compare import Unread
from consumer.domain.errors import (
    DuplicateTransactionError,
    ForbiddenError,
    GoneError,
    MailboxRefusedError,
    RequestRefusedError,
    SiteRefusedError,
    TransientError,
    ZoneRefusedError,
)
from consumer.domain.event import RENDERING, Event, EventSummary, RemoteEvent, tag
from consumer.domain.job import Deletion, State, may_conceal
from consumer.domain.link import Link, Memory, Pending, Tombstone
from consumer.domain.mailbox import Mailbox
from consumer.domain.plan import Adopt, Create, Delete, Leave, Plan, Remake, Situation, Update, plan
from consumer.domain.render import render
from consumer.domain.timezones import Zone
from consumer.domain.window import Window
from consumer.sync.change import Change
from consumer.sync.grant import AssignmentState
from consumer.sync.ports import Calendar
from consumer.sync.run_outcome import RunOutcome

log = structlog.get_logger(__name__)

_VIEW_MARGIN: Final = timedelta(hours=1)
LANDING_SECONDS: Final = 300.0
"""How long after its intent a create may land: a request takes 30 seconds at most, but may have waited its turn."""
FAILURES = (TransientError, MailboxRefusedError, SiteRefusedError, ForbiddenError, RequestRefusedError)
"""All that a calendar may answer instead of doing what it was asked."""
Failure = TransientError | MailboxRefusedError | SiteRefusedError | ForbiddenError | RequestRefusedError


@dataclass(slots=True)
class RunResult:
    """How a run ended. Jobs that are in neither ``results`` nor ``refused`` are to be tried again."""

    results: dict[str, str] = field(default_factory=dict)
    """What became of each job that is done."""
    refused: dict[str, RequestRefusedError] = field(default_factory=dict)
    """Jobs whose event Graph calls malformed: they would fail the same way for ever."""
    trouble: TransientError | None = None
    """Why the rest must wait; of several troubles, the one that asks for the longest wait."""
    busy: float | None = None
    """Seconds until the lease of another run may be free."""
    parked: str | None = None
    """The mailbox was parked before; the code says why."""
    mailbox: MailboxRefusedError | None = None
    """The mailbox cannot be served."""
    site: SiteRefusedError | None = None
    """The whole site cannot be served."""
    forbidden: ForbiddenError | None = None
    """A 403, which decides nothing alone."""
    unsettled: int = 0
    """Events that Graph keeps showing otherwise than we write them."""
    is_stored: bool = False
    """Whether the store knows everything that the run has done."""
    in_doubt: dict[str, str] = field(default_factory=dict)
    """The transactionIds of creates that were sent, and of which the store may know nothing: see ``Change``."""

    def unread(self, *, parked: bool) -> Unread:
        """What it means for an inspection that ended so. ``parked``: if the mailbox was refused, it is parked now."""
        refusal = self.mailbox or self.forbidden
        if self.parked is not None or (refusal is not None and parked):
            return Unread("parked", self.parked or str(refusal))
        if self.refused:
            return Unread("refused", str(next(iter(self.refused.values()))))
        reason = str(self.trouble or refusal or self.site or "the mailbox is busy")
        return Unread("failed", reason, self.trouble.retry_after if self.trouble else None)

    def record(self, job_id: str, error: Failure) -> None:
        """Sort a failure by what to do next."""
        _bare(error)
        match error:
            case TransientError():
                if self.trouble is None or (error.retry_after or 0.0) > (self.trouble.retry_after or 0.0):
                    self.trouble = error
            case MailboxRefusedError():
                self.mailbox = error
            case SiteRefusedError():
                self.site = error
            case ForbiddenError():
                self.forbidden = error
            case RequestRefusedError():
                self.refused[job_id] = error


@dataclass(slots=True)
class RunContext:
    """What the assignments of one run share."""

    calendar: Calendar
    mailbox: Mailbox
    window: Window
    zone: Zone
    linked_elsewhere: Callable[[Sequence[tuple[str, str]]], Awaitable[set[str]]]
    """Of these (job, event id), the ids that are linked in other mailboxes. Raises ``StoreUnavailableError``."""
    zone_refused: bool = False
    """Graph did not know the mailbox's zone: told once, and read again."""
    listed: Mapping[str, Sequence[EventSummary]] | None = None
    """All tagged events of the mailbox by job, if they were listed."""
    creates: dict[str, str] = field(default_factory=dict)
    """The transactionIds of the creates that were sent, by job."""
    unread_zone: str = ""
    """Why the mailbox's time-zone setting could not be read and another zone is used; else empty."""
    repeated: set[str] = field(default_factory=set)
    """Jobs whose create has a transactionId that was sent before."""
    outcome: RunOutcome = field(default_factory=RunOutcome)
    result: RunResult = field(default_factory=RunResult)

    async def reconcile(self, change: Change, assignment: AssignmentState) -> None:
        """Bring one assignment to its state, and note how that ended in ``outcome`` and ``result``."""
        job_id = change.job_id
        try:
            self.result.results[job_id] = await self._result(change, assignment)
        except FAILURES as error:
            self.fail(change, assignment, error)
        except Exception as error:
            # The others of the run must be remembered all the same, and the lease given back.
            log.critical("an assignment failed in a way that is ours", job=job_id, exc_info=True)
            self.fail(change, assignment, TransientError(f"{type(error).__name__} of ours", unknown=True))
        else:
            self.outcome.answered |= self.result.results[job_id] == "applied"
            self.outcome.found.pop(job_id, None)
            if assignment.fresh and job_id not in self.outcome.links:
                self.outcome.forgotten.add(job_id)

    def fail(self, change: Change, assignment: AssignmentState, error: Failure) -> None:
        """Note a failure.

        A create of this run's own that certainly did not happen leaves no pending link. After another request whose
        outcome is not known, the link is unsure: the job may come back to the state that the link was written for.
        """
        job_id = change.job_id
        self.result.record(job_id, error)
        known = not (isinstance(error, TransientError) and error.unknown)
        link = self.outcome.links.get(job_id, assignment.memory)
        if known and assignment.fresh and job_id not in self.outcome.links:
            self.outcome.forgotten.add(job_id)
        elif not known and isinstance(link, Link):
            # A state that Core insists on has a lower rank than the link, and must not be stale when it is tried again.
            self.outcome.links[job_id] = replace(link.unsure(), rank=min(link.rank, change.state.rank))

    async def plan(self, change: Change, assignment: AssignmentState) -> Plan | None:
        """Decide what :meth:`reconcile` would do, and do nothing; ``None`` on a failure, which ``result`` then has."""
        if may_conceal(change.state, self.mailbox):
            return Plan(Leave())
        try:
            return plan(await self._situation(change, assignment), self.window)
        except FAILURES as error:
            self.fail(change, assignment, error)
        except Exception as error:
            log.critical("unexpected error in a plan", job=change.job_id, exc_info=True)
            self.fail(change, assignment, TransientError(f"an unexpected error: {type(error).__name__}"))
        return None

    async def _situation(self, change: Change, assignment: AssignmentState) -> Situation:
        situation = Situation(
            self._wanted(change.state), change.state.rank, assignment.memory, forced=assignment.outranked
        )
        return await self._looked(situation, change, assignment, tag(self.mailbox.site, change.job_id))

    async def _result(self, change: Change, assignment: AssignmentState) -> str:
        if may_conceal(change.state, self.mailbox):
            return "unchanged"
        job_tag = tag(self.mailbox.site, change.job_id)
        if change.transaction_id is not None:
            self.repeated.add(change.job_id)
        situation = await self._situation(change, assignment)
        try:
            return await self._apply(change.job_id, job_tag, assignment, situation, plan(situation, self.window))
        except DuplicateTransactionError as duplicate:
            seen = await self._made_by_transaction(change.job_id, job_tag, duplicate.event_id)
        except GoneError:
            seen = await self._instead_of_gone(change.job_id, job_tag, situation)
        situation = replace(situation, seen=seen)
        try:
            return await self._apply(change.job_id, job_tag, assignment, situation, plan(situation, self.window))
        except GoneError:
            raise TransientError("the event is gone", retry_after=0.0) from None

    async def _instead_of_gone(self, job_id: str, job_tag: str, situation: Situation) -> tuple[RemoteEvent, ...]:
        """What there is with the tag, if the link's event is gone: after a loss of data a link may be an old one.

        Raises:
            TransientError: nothing; a create needs its intent written first, so come back for it.
        """
        seen = await self.calendar.find(job_tag) if situation.seen is None else ()
        if not seen:
            self.outcome.forgotten.add(job_id)
            raise TransientError("the event is gone", retry_after=0.0)
        return seen

    async def _looked(
        self, situation: Situation, change: Change, assignment: AssignmentState, job_tag: str
    ) -> Situation:
        """With the assignment's events, where there is reason to look: a create in doubt, or what a sweep saw."""
        memory, sweep_view = assignment.memory, change.sweep_view
        if self.listed is not None and not isinstance(memory, Link):
            listed = [event.event_id for event in self.listed.get(change.job_id, ())]
            return replace(situation, seen=await self._read(job_tag, listed))
        if is_in_doubt(change, assignment):
            return replace(situation, seen=await self.calendar.find(job_tag))
        if isinstance(memory, Pending):
            return situation
        if sweep_view is not None and sweep_view.event_ids is None and _is_trusted(memory, situation.wanted):
            # The assignment was marked, because a request for it may have landed late: the link may be wrong.
            return replace(situation, seen=await self._read(job_tag, (memory.event_id,)))
        if sweep_view is None or sweep_view.event_ids is None or _has_changed(sweep_view.basis, memory):
            return situation
        if isinstance(memory, Link) and memory.event_id not in sweep_view.event_ids:
            if not sweep_view.event_ids:
                return await self._looked_out_of_view(situation, memory, job_tag)
            return await self._looked_beside(situation, memory, job_tag, sweep_view.event_ids)
        return replace(situation, seen=await self._read(job_tag, sweep_view.event_ids))

    async def _read(self, job_tag: str, event_ids: Sequence[str]) -> tuple[RemoteEvent, ...]:
        """The events of these ids that are still there and carry the tag."""
        looked = await asyncio.gather(*(self._get(event_id) for event_id in event_ids))
        return tuple(seen for seen in looked if seen is not None and seen.tag == job_tag)

    async def _looked_beside(
        self, situation: Situation, link: Link, job_tag: str, event_ids: Sequence[str]
    ) -> Situation:
        """With the events that the sweep's view shows, and the linked one if it is at another time in the calendar.

        A person has dragged it there, or its job is beyond the window: a copy of it must not replace it.
        """
        seen = await self._read(job_tag, event_ids)
        linked = await self._get(link.event_id)
        if linked is None:
            return replace(situation, seen=seen)
        if linked.tag != job_tag:
            return replace(situation, seen=seen, disowned=True)
        if linked.start and linked.end and await self._is_shown(linked.event_id, linked.start, linked.end):
            seen = (linked, *seen)
        return replace(situation, seen=seen)

    async def _looked_out_of_view(self, situation: Situation, link: Link, job_tag: str) -> Situation:
        """With the linked event that no view shows, read by its id; or with what has its tag, if that one is no use.

        An answer by id alone does not prove that the event is in the calendar: it may be in Deleted Items.
        """
        linked = await self._get(link.event_id)
        disowned = linked is not None and linked.tag != job_tag
        found = () if linked is None or disowned else (linked,)
        if not found or not found[0].single:
            known = {event.event_id: event for event in (*await self.calendar.find(job_tag), *found)}
            found = tuple(known.values())
        return replace(situation, seen=found, out_of_view=True, disowned=disowned)

    async def _get(self, event_id: str) -> RemoteEvent | None:
        try:
            return await self.calendar.get(event_id)
        except GoneError:
            return None

    def _wanted(self, state: State) -> Event | None:
        when = times_in(state, self.mailbox)
        if when is None or isinstance(state, Deletion):
            return None
        return render(state, *when, self.zone)

    async def _apply(
        self, job_id: str, job_tag: str, assignment: AssignmentState, situation: Situation, planned: Plan
    ) -> str:
        result = "applied"
        for event_id in planned.surplus:
            # Before the step, which may link another event: a view may not show this one, so its link must stay until
            # it is deleted, whatever fails.
            await self._delete(event_id)
        match planned.step:
            case Leave():
                result = self._leave(job_id, assignment, planned.step, situation.seen)
            case Adopt(found, event):
                self._remember(job_id, found, event, situation.rank)
                await self._check_view(job_id, found.event_id, situation)
                result = "applied" if isinstance(assignment.memory, Pending) else "unchanged"
            case Create(event):
                await self._create(job_id, job_tag, assignment, event, situation.rank)
            case Update(event_id, event):
                await self._update(job_id, event_id, event, situation.rank)
                await self._check_view(job_id, event_id, situation)
                if situation.seen:
                    await self._note_how_it_reads(job_id, event_id, event, assignment.memory)
            case Delete(event_ids):
                ours = await self._without_others(job_id, assignment.memory, event_ids)
                await self._delete_all(job_tag, ours, situation)
                self.outcome.tombstones[job_id] = situation.rank
            case Remake(event_ids):
                await self._remake(job_id, event_ids)
        return "applied" if planned.surplus else result

    async def _without_others(self, job_id: str, memory: Memory | None, event_ids: Sequence[str]) -> Sequence[str]:
        """The events less those of another address: two may lead to one mailbox, whose tags were listed for both."""
        if not isinstance(memory, Link) or memory.is_confirmed:
            return event_ids
        elsewhere = await self.linked_elsewhere([(job_id, event_id) for event_id in event_ids])
        return [event_id for event_id in event_ids if event_id not in elsewhere]

    def _leave(self, job_id: str, assignment: AssignmentState, step: Leave, seen: Sequence[RemoteEvent] | None) -> str:
        self.result.unsettled += step.unsettled
        if step.unsettled and isinstance(assignment.memory, Link) and seen:
            # Looked at: until its etag moves again, it needs no other look.
            etag = next((event.etag for event in seen if event.event_id == assignment.memory.event_id), "")
            self.outcome.links[job_id] = replace(assignment.memory, etag=etag)
        if step.stale:
            return "stale"
        if isinstance(assignment.memory, Pending):
            # The create in doubt has not landed, or not yet. Should the job come back meanwhile, its event must be
            # made with the same transactionId, or the late one stands beside it.
            self.outcome.doubtful[job_id] = LANDING_SECONDS
        return "unchanged"

    async def _create(self, job_id: str, job_tag: str, assignment: AssignmentState, event: Event, rank: int) -> None:
        transaction_id = assignment.transaction_id
        if transaction_id is None:
            # The window came to hold the job after the intents were written.
            raise TransientError("no intent was written for this create", retry_after=0.0)
        self.creates[job_id] = transaction_id
        written = await self._write(event, lambda event: self.calendar.create(event, job_tag, transaction_id))
        if assignment.fresh and job_id not in self.repeated:
            await self._written(job_id, written, event, rank)
        else:
            # Perhaps an earlier create with this transactionId has made it: as it was wanted then, edited since, or
            # without its tag (msgraph-sdk-ruby#38), by which no sweep would see it.
            await self._update(job_id, written.event_id, event, rank, claimed_by=job_tag)

    async def _update(self, job_id: str, event_id: str, event: Event, rank: int, claimed_by: str | None = None) -> None:
        def send(event: Event) -> Awaitable[RemoteEvent]:
            if claimed_by is not None:
                return self.calendar.claim(event_id, event, claimed_by)
            return self.calendar.update(event_id, event)

        try:
            written = await self._write(event, send)
        except TransientError as error:
            if error.unknown and not self.window.holds(event.start, event.end):
                # Should it land after a later one, the sweep's view would not show it.
                self.outcome.dirty.add(job_id)
            raise
        await self._written(job_id, written, event, rank)

    async def _write(self, event: Event, send: Callable[[Event], Awaitable[RemoteEvent]]) -> RemoteEvent:
        """Send the event; in UTC if Graph does not know the mailbox's zone, whose setting may have changed."""
        try:
            return await send(event)
        except ZoneRefusedError:
            if not self.zone_refused:
                self.zone_refused = True
                log.warning("Graph does not know the mailbox's time zone", site=self.mailbox.site, zone=event.zone)
                self.outcome.zone = await self.calendar.time_zone()
            return await send(event.in_utc())

    async def _written(self, job_id: str, written: RemoteEvent, event: Event, rank: int) -> None:
        """Remember the event; write it once more in UTC if Graph read its local times as other instants."""
        self._remember(job_id, written, event, rank)
        if (written.start, written.end) == (event.start, event.end):
            return
        link = self.outcome.links[job_id]
        self.outcome.links[job_id] = link.unsure()
        try:
            again = await self.calendar.update(written.event_id, event.in_utc())
        except GoneError:
            raise TransientError("the event is gone", retry_after=0.0) from None
        self._remember(job_id, again, event, rank)

    async def _note_how_it_reads(self, job_id: str, event_id: str, event: Event, memory: Memory | None) -> None:
        """After a repair: if Graph shows the event otherwise than it was written, remember that it does.

        A person may have edited it since. So it counts as Graph's own way only if nothing was written to it since the
        repair, or if it reads as it did after the repair before. Until then the etag is left out, see ``plan``.
        """
        seen = await self._get(event_id)
        if seen is None:
            return
        link = self.outcome.links[job_id]
        before = memory.settled if isinstance(memory, Link) else b""
        is_graphs = seen.etag == link.etag or seen.digest() == before or seen.reads_as(event)
        self.outcome.links[job_id] = replace(link, etag=seen.etag if is_graphs else "", settled=seen.digest())

    async def _check_view(self, job_id: str, event_id: str, situation: Situation) -> None:
        """Make an event again that no view shows although its time is right: it is not in the calendar.

        Reading and updating an event by its id also works in other calendars, and perhaps in Deleted Items.
        """
        if not situation.out_of_view or situation.wanted is None:
            return
        if not await self._is_shown(event_id, situation.wanted.start, situation.wanted.end):
            await self._remake(job_id, (event_id,))

    async def _is_shown(self, event_id: str, start: datetime, end: datetime) -> bool:
        """Whether a view shows the event at these times."""
        events = await self.calendar.view(start - _VIEW_MARGIN, end + _VIEW_MARGIN)
        return any(event.event_id == event_id for event in events)

    async def _remake(self, job_id: str, event_ids: Sequence[str]) -> NoReturn:
        """Delete the events, and come back to create one: a create needs its intent written first."""
        for event_id in event_ids:
            await self._delete(event_id)
        self.outcome.links.pop(job_id, None)
        self.outcome.forgotten.add(job_id)
        raise TransientError("the event is to be created again", retry_after=0.0)

    def _remember(self, job_id: str, seen: RemoteEvent, event: Event, rank: int) -> None:
        self.outcome.links[job_id] = Link(
            seen.event_id,
            seen.etag,
            event.fingerprint(),
            rank,
            event.start,
            event.end,
            RENDERING,
            zone_mark=self.zone.mark,
        )

    async def _made_by_transaction(self, job_id: str, job_tag: str, event_id: str | None) -> tuple[RemoteEvent, ...]:
        """The event that a used transactionId has made: the one with the tag, or the one that Graph names.

        If there is none, the transactionId is spent, and the next run starts with a new one.
        """
        seen = await self.calendar.find(job_tag)
        if not seen and event_id is not None:
            try:
                named = await self.calendar.get(event_id)
            except GoneError:
                pass
            else:
                seen = (named,) if named.tag == job_tag else ()
        if not seen:
            self.outcome.forgotten.add(job_id)
            raise TransientError("the transactionId is spent", retry_after=0.0)
        return seen

    async def _delete_all(self, job_tag: str, event_ids: Sequence[str], situation: Situation) -> None:
        were_there = [await self._delete(event_id) for event_id in event_ids]
        if situation.seen is None and not all(were_there):
            # After a loss of data the link may be an old one.
            for found in await self.calendar.find(job_tag):
                await self._delete(found.event_id)

    async def _delete(self, event_id: str) -> bool:
        """Whether it was there."""
        try:
            await self.calendar.delete(event_id)
        except GoneError:
            return False
        return True


def is_in_doubt(change: Change, assignment: AssignmentState) -> bool:
    """Whether a create of the assignment was sent, or may have been, and its outcome is not known."""
    memory = assignment.memory
    if isinstance(memory, Pending):
        return memory.rank <= change.state.rank or assignment.outranked
    return change.transaction_id is not None and not isinstance(memory, Link)


def _is_trusted(memory: Memory | None, wanted: Event | None) -> TypeGuard[Link]:
    """Whether the link says that the event is as wanted, so that nothing would be written."""
    return isinstance(memory, Link) and wanted is not None and memory.fingerprint == wanted.fingerprint()


def _has_changed(basis: Memory | None, memory: Memory | None) -> bool:
    """Whether something was written since the sweep looked. That a link has become unsure says only that we tried."""
    if isinstance(basis, Link) and isinstance(memory, Link):
        return basis.unsure() != memory.unsure()
    return basis != (None if isinstance(memory, Tombstone) else memory)


def _bare(error: BaseException | None) -> None:
    """Let go of the frames that a failure came through.

    They lead to the run and so back to the failure: while Graph is away, each vain run would be a ring of garbage that
    lies until the collector comes.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def times_in(state: State, mailbox: Mailbox) -> tuple[datetime, datetime] | None:
    """When the job belongs in this mailbox; ``None`` if it does not."""
    if isinstance(state, Deletion) or state.site_id != mailbox.site or mailbox.address not in state.addresses:
        return None
    return state.scheduled
