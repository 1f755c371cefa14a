"""The one decision of this service: what to do so that an assignment has the event it should have."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final

from consumer.domain.event import RENDERING, Event, RemoteEvent
from consumer.domain.link import Link, Memory, Tombstone
from consumer.domain.timezones import mark
from consumer.domain.window import Window

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one assignment."""

    wanted: Event | None
    """``None``: the assignment should have no event."""
    rank: int
    """Of the state that says so."""
    memory: Memory | None
    seen: tuple[RemoteEvent, ...] | None = None
    """Every event that carries the assignment's tag; ``None`` when nobody looked."""
    forced: bool = False
    """Whether the state wins over a memory of a newer one: Core's database was restored."""
    out_of_view: bool = False
    """A sweep's view shows no event of the assignment, though one is linked. ``seen`` is then what was found by the
    link's id and by the tag: events dragged to another month or calendar, or already in Deleted Items."""
    disowned: bool = False
    """The linked event exists but no longer carries our tag: it is a person's, and is never touched."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Write nothing to Outlook."""

    stale: bool = False
    """A newer state was written before."""
    unsettled: bool = False
    """The event differs, but reads as Graph showed it after our last repair. Another repair would change nothing."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the event."""

    word: ClassVar[str] = "create"
    event: Event


@dataclass(frozen=True, slots=True)
class Update:
    """Make this event show ``event``."""

    word: ClassVar[str] = "update"
    event_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class Adopt:
    """Link an event that already shows what it must."""

    found: RemoteEvent
    event: Event
    is_shown: bool = True
    """``False``: the sweep's view did not show the event. If a new view does not show it either, it is not in the
    calendar: it is deleted and created again."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the assignment's events by their ids. Those that are gone already count as deleted."""

    word: ClassVar[str] = "delete"
    event_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remake:
    """Delete the events as :class:`Delete` does, then create one in another run: it needs a new transactionId.

    For an event that is gone, in another calendar, or a series.
    """

    word: ClassVar[str] = "remake"
    event_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do for one assignment."""

    step: Leave | Create | Update | Adopt | Delete | Remake
    surplus: tuple[str, ...] = ()
    """Further events with the same tag. They are deleted before the step is taken, so that one event is left."""

    @property
    def word(self) -> str:
        """What a dry run prints: what the plan changes in Outlook. Empty if it changes nothing."""
        match self.step:
            case Adopt(is_shown=False):
                return Remake.word
            case Leave() | Adopt():
                return "delete the copy" if self.surplus else ""
            case step:
                return step.word


def plan(situation: Situation, window: Window) -> Plan:
    r"""Decide.

    ::

        memory is of a newer state, and ours no insister  leave (stale)
        past: link over, Core names no later end          leave, as history

        wanted | memory    | seen        | step
        -------+-----------+-------------+------------------------------------------
        no     | link      | nobody      | delete the linked one
        no     | any       | some        | delete them all, and the linked one
        no     | otherwise |             | leave
        yes    | any       | one reads so| adopt it
        yes    | any       | some differ | update it
        yes    | link      | in old zone | update it
        yes    | link      | it differs, as after our last repair: leave (unsettled)
        yes    | any       | series only | delete them, come back to create
        yes    | link      | nobody      | same fingerprint: leave; else update
        yes    | otherwise | none        | in the window: create; else leave

        With "some": the linked one is kept if it is there, else the oldest; the rest is surplus.

        A sweep's view does not show the linked event (out of view; outside the window: leave):

        found by its id or tag         | step
        -------------------------------+--------------------------------------------------------
        the linked one                 | update it, or adopt it if it reads so. If a view still
                                       | does not show it, it is in another calendar or in
                                       | Deleted Items: delete it by its id, come back to create
        gone, and another with the tag | update or adopt the oldest of them, likewise
        gone, or only series           | delete it by its id, come back to create
        one without our tag            | leave that one alone, come back to create
    """
    memory, wanted = situation.memory, situation.wanted
    if not situation.forced and _is_stale(memory, situation.rank, wanted):
        return Plan(Leave(stale=True))
    link = memory if isinstance(memory, Link) else None
    if link is not None and is_past(link, wanted, window.start):
        return Plan(Leave())
    seen = situation.seen or ()
    linked = (link.event_id,) if link and not situation.disowned else ()
    if wanted is None:
        ids = dict.fromkeys([*linked, *(event.event_id for event in seen)])
        return Plan(Delete(tuple(ids)) if ids else Leave())
    if link is not None and situation.out_of_view:
        return _out_of_view(situation, wanted, link) if window.holds(wanted.start, wanted.end) else Plan(Leave())
    if seen:
        return _among(seen, wanted, None if situation.disowned else link)
    if link is not None and situation.seen is None:
        return Plan(_from_memory(link, wanted, situation.rank))
    if not window.holds(wanted.start, wanted.end):
        return Plan(Leave())
    return Plan(Create(wanted) if link is None else Remake(linked))


def is_past(link: Link, wanted: Event | None, now: datetime) -> bool:
    """Whether the event is history: over in the link, and Core does not say that it ends later."""
    return link.end < now and (wanted is None or wanted.end < now)


def _is_stale(memory: Memory | None, rank: int, wanted: Event | None) -> bool:
    """A newer state has been here; a tombstone stops states of its own rank too."""
    if memory is None:
        return False
    return memory.rank > rank or (isinstance(memory, Tombstone) and wanted is not None and memory.rank == rank)


def _from_memory(link: Link, wanted: Event, rank: int) -> Leave | Update:
    if link.fingerprint == wanted.fingerprint():
        return Leave()
    if link.rendering > RENDERING and link.rank >= rank:
        return Leave()
    return Update(link.event_id, wanted)


def _among(seen: tuple[RemoteEvent, ...], wanted: Event, link: Link | None) -> Plan:
    linked = link.event_id if link else None
    ids = dict.fromkeys([*((linked,) if linked else ()), *(event.event_id for event in seen)])
    usable = sorted((event for event in seen if event.single), key=_age)
    if not usable:
        return Plan(Remake(tuple(ids)))
    kept = next((event for event in usable if event.event_id == linked), usable[0])
    # A linked event that is not among those seen is in no calendar that people look at: it is deleted too.
    surplus = tuple(event_id for event_id in ids if event_id != kept.event_id)
    if kept.reads_as(wanted) and not (link and _is_rezoned(link, wanted)):
        return Plan(Adopt(kept, wanted), surplus)
    # Without an etag it is not certain that this is Graph's way to show it, and not a person's edit.
    if link and link.etag and link.settled == kept.digest() and link.fingerprint == wanted.fingerprint():
        return Plan(Leave(unsettled=True), surplus)
    return Plan(Update(kept.event_id, wanted), surplus)


def _out_of_view(situation: Situation, wanted: Event, link: Link) -> Plan:
    found = situation.seen or ()
    linked = () if situation.disowned else (link.event_id,)
    ids = tuple(dict.fromkeys([*linked, *(event.event_id for event in found)]))
    usable = sorted((event for event in found if event.single), key=_age)
    if not usable:
        return Plan(Remake(ids))
    kept = next((event for event in usable if event.event_id == link.event_id), usable[0])
    surplus = tuple(event_id for event_id in ids if event_id != kept.event_id)
    step = Adopt(kept, wanted, is_shown=False) if kept.reads_as(wanted) else Update(kept.event_id, wanted)
    return Plan(step, surplus)


def _age(event: RemoteEvent) -> tuple[bool, datetime, str]:
    """Sorts the oldest to the front, as a person may have added to it; one of unknown age is the youngest."""
    return event.created is None, event.created or _EPOCH, event.event_id


def _is_rezoned(link: Link, wanted: Event) -> bool:
    """Whether it was written in another zone: the instants are the same, but not what a person is shown of them."""
    return link.zone_mark != mark(wanted.zone) and link.fingerprint != wanted.fingerprint()
