"""The central decision of this service: what to do so that an assignment has the event that Core wants."""

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
    """All that is known about one assignment."""

    wanted: Event | None
    """``None``: the assignment must have no event."""
    rank: int
    """The rank of the state that ``wanted`` comes from."""
    memory: Memory | None
    """What Redis has about the assignment."""
    seen: tuple[RemoteEvent, ...] | None = None
    """Every event that carries the assignment's tag; ``None`` if the calendar was not read."""
    forced: bool = False
    """Whether the state wins even if Redis has a newer rank: Core's database may have been restored (ADR 7)."""
    out_of_view: bool = False
    """A sweep's view shows no event of the assignment, though one is linked. ``seen`` is then what was found by the
    link's id and by the tag: events dragged to another month or calendar, or already in Deleted Items."""
    disowned: bool = False
    """The linked event exists but no longer carries our tag: it belongs to a person, and is never touched."""


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
    r"""Decide what to do for one assignment. Pure: the same situation always gives the same plan.

    The first row that applies decides. "Not read" means that nobody read the calendar, "none" that it was read and has
    no event with the tag::

        the stored rank is newer and the change is not forced  leave (stale)
        the linked event is past and Core wants no later end   leave, as history

        wanted | memory    | seen                    | step
        -------+-----------+-------------------------+-------------------------------------
        no     | link      | not read, or none       | delete the linked event
        no     | any       | one or more             | delete them and the linked event
        no     | otherwise | not read, or none       | leave
        yes    | any       | only series             | remake
        yes    | link      | it was written in       |
               |           | another time zone       | update it
        yes    | any       | it shows what is wanted | adopt it
        yes    | link      | it differs just as it   |
               |           | did after our repair    | leave (unsettled)
        yes    | any       | it differs              | update it
        yes    | link      | not read                | same fingerprint, or a newer rendering
               |           |                         | of the same state: leave; else update
        yes    | link      | none                    | in the window: remake; else leave
        yes    | otherwise | not read, or none       | in the window: create; else leave

        Of several events, "it" is the linked one, or the oldest if the linked one is not among them. The others are
        surplus.

        If a sweep's view does not show the linked event (out of view), and the window holds the wanted one:

        found by the link's id or the tag | step
        ----------------------------------+------------------------------------------------------
        the linked event                  | adopt it if it shows what is wanted, else update it.
                                          | If a new view still does not show it, it is in another
                                          | calendar or in Deleted Items: remake
        only others with the tag          | the same with the oldest of them
        none, or only series              | remake
        the linked event without our tag  | do not touch it; remake, or use another with the tag

    *Remake* deletes the events by their ids. The next run then creates one.
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
    """Whether the event is history: past by its link, and Core does not want a later end."""
    return link.end < now and (wanted is None or wanted.end < now)


def _is_stale(memory: Memory | None, rank: int, wanted: Event | None) -> bool:
    """Whether a newer state was written before. A tombstone outranks states of its own rank, too."""
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
    # A linked event that is not among those seen is in another calendar or in Deleted Items: it is deleted, too.
    surplus = tuple(event_id for event_id in ids if event_id != kept.event_id)
    if kept.reads_as(wanted) and not (link and _is_rezoned(link, wanted)):
        return Plan(Adopt(kept, wanted), surplus)
    # A link without an etag proves nothing: a person may have made the difference, so it is repaired.
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
    """Sorts the oldest first, because a person may have added to it, and events of unknown age last."""
    return event.created is None, event.created or _EPOCH, event.event_id


def _is_rezoned(link: Link, wanted: Event) -> bool:
    """Whether the event was written in another time zone: the same instants, but other local times."""
    return link.zone_mark != mark(wanted.zone) and link.fingerprint != wanted.fingerprint()
