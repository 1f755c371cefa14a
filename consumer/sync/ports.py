"""What the use cases need from the world outside. Each port has a real adapter and an in-memory one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

from consumer.domain.event import Event, EventSummary, RemoteEvent
from consumer.domain.link import Link, Memory, Pending
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site

LEASE_SECONDS = 12.0
"""How long a mailbox stays leased without a renewal."""
RENEW_SECONDS = 3.0
"""A lease that was not renewed for so long is renewed."""
SEND_WITHIN_SECONDS = 4.0
"""A request is sent only if the lease was renewed within this time: at least 8 s of it are left then.

Longer than ``RENEW_SECONDS`` and a round trip, so that a healthy replica is never stopped by it. See ADR 11.
"""
BY_HAND = "parked by hand"
"""The code of mailboxes that an operator parked."""
Ask: TypeAlias = Literal["calendar", "setting", "write"]
"""What a probe asks of a mailbox: to list its calendar, to let us read its time-zone setting, to let us write.

A setting that Graph refuses for another reason than its permission counts as answered: the mailbox is served without.
"""
Asks: TypeAlias = frozenset[Ask]
SETTING: Final[Asks] = frozenset({"setting"})
WHOLE: Final[Asks] = frozenset({"calendar", "setting"})
"""A complete read. Each of the two needs a permission of its own."""
WRITE: Final[Asks] = frozenset({"write"})
REQUEST_SECONDS = 30.0
"""How long one request may take; the lease is renewed meanwhile."""


class Clock(Protocol):
    """Time, so that a whole world can run in simulated time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""


@dataclass(frozen=True, slots=True)
class RankRequest:
    """A state of a job as met on the topic, to be ranked among those known."""

    job_id: str
    rank: int | None
    """``None`` for a deletion: its rank follows from what was there before it."""
    partition: int
    offset: int
    site: str = ""
    """Of the sweep that found the row gone there: a job that another site holds has moved, and keeps its rank."""
    log: str = ""
    """The topic's id, empty if the broker has none: offsets of a topic that was created again begin again, so they say
    nothing about states that came before."""


@dataclass(frozen=True, slots=True)
class Routed:
    """Where a sighted state stands."""

    rank: int
    newest: int
    """The highest rank known of the job; a lower ``rank`` is stale."""
    holders: tuple[Mailbox, ...]
    """The mailboxes that hold an event of the job, or may."""
    coming: int = 0
    """For a deletion: how many events of the job are not over yet."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a run is about to do for one job."""

    job_id: str
    rank: int
    transaction_id: str | None
    """For the event that the run may create; ``None`` if it will not create one."""
    swept: bool = False
    """A sweep has it from Core; else it was met on the topic."""
    forced: bool = False
    """Core was asked for it once more: it wins over what is known to be newer, if that is not of late."""


@dataclass(slots=True)
class Lease:
    """The right to work on a mailbox, over all replicas and all sites that share its app."""

    app: str
    mailbox: Mailbox
    token: str
    renewed_at: float
    """When the last renewal that succeeded was asked for, on the monotonic clock."""
    lost: bool = False
    """Another run has the mailbox, or the store has forgotten the lease: nothing more may be sent."""

    def may_send(self, now: float) -> bool:
        """Whether a request may leave at ``now``, on the monotonic clock."""
        return not self.lost and now - self.renewed_at <= SEND_WITHIN_SECONDS


@dataclass(frozen=True, slots=True)
class AssignmentState:
    """What the store knows of one job in the mailbox."""

    newest: bool
    """Whether the intent's state is (still) the newest known, or insists with right."""
    memory: Memory | None
    """As it was before this run; for a create, the pending link that now stands is ``transaction_id``."""
    transaction_id: str | None = None
    """To create with: the run's own, or that of an earlier create whose outcome is not known."""
    outranked: bool = False
    """For a sweep's state: newer ones are known, but for longer than ``PATIENCE_SECONDS``: Core may be right."""

    @property
    def fresh(self) -> bool:
        """Whether the pending link is this run's own: no earlier create can have its outcome."""
        return self.transaction_id is not None and not isinstance(self.memory, Link | Pending)


@dataclass(frozen=True, slots=True)
class Grant:
    """The lease, and all that the run needs to know."""

    lease: Lease
    zone: str | None
    """The mailbox's time-zone setting as last read; ``None`` if it was never read."""
    assignments: Mapping[str, AssignmentState]
    links: Mapping[str, Memory] = field(default_factory=dict)
    """Every link of the mailbox, pending ones too, by job; if everything was asked for."""
    zone_is_fresh: bool = False
    """The setting was read within the last hour."""
    is_known: bool = True
    """All tagged events of the mailbox were listed since the store last lost data, or may have."""
    incarnation: str = ""
    """Names the time since the store last lost data, or may have: see :meth:`Store.begin`."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Another run holds the mailbox."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class Parked:
    """The mailbox is not to be tried."""

    code: str


@dataclass(frozen=True, slots=True)
class DataLost:
    """The store has lost data, or may have, since the incarnation that was named: no lease was taken."""

    incarnation: str
    """The present one."""


@dataclass(frozen=True, slots=True)
class Parking:
    """Why a mailbox is not to be tried."""

    code: str
    """Graph's, or ``BY_HAND``."""
    hourly: bool
    """It is tried again every hour all the same."""
    since: float = field(default=0.0, compare=False)
    """Unix time on the store's clock."""
    note: str = ""
    """What the operator who parked it said."""


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """A site as operators see it."""

    site: Site
    paused_since: float | None
    """Unix time."""
    events: int
    """Jobs with an event in the window, as the last complete sweep found them."""
    parked: int
    """Mailboxes."""
    dirty: int
    """Assignments that wait for a sweep."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """An assignment that was handed over to the sweep."""

    address: str
    """Empty: every mailbox of the job."""
    job_id: str
    stamp: int = field(default=0, compare=False)
    """When it was handed over last: one that was again since it was read was not seen to."""


@dataclass(slots=True)
class RunOutcome:
    """What a run leaves behind in the store."""

    links: dict[str, Link] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    """Jobs whose event is gone for good, with the rank that says so: they leave a tombstone."""
    forgotten: set[str] = field(default_factory=set)
    """Jobs whose memory was wrong: no event, and no tombstone."""
    dirty: set[str] = field(default_factory=set)
    """Jobs that the sweep must look at."""
    doubtful: dict[str, float] = field(default_factory=dict)
    """Jobs whose create has not landed, and how many seconds after its intent it still may.

    So long, the pending link stays, with its transactionId, and the sweep must look again; then it is forgotten.
    """
    zone: str | None = None
    """The mailbox's time-zone setting, if it was read."""
    answered: bool = False
    """The mailbox has answered a request: it is no longer parked, unless by hand."""
    found: dict[str, Link] = field(default_factory=dict)
    """Events that were listed and have no link yet: linked unless something is known of their job by now."""
    beyond: set[str] = field(default_factory=set)
    """Those of ``found`` that no sweep compares, since they are outside the window: it asks Core for their jobs."""
    listed_in: str = ""
    """The incarnation of the store in which all tagged events of the mailbox were listed; else empty."""


class Store(Protocol):
    """Our memory over all replicas. Raises ``StoreUnavailableError``, and nothing else."""

    async def route(self, sightings: Sequence[RankRequest]) -> list[Routed]:
        """Raise each job's newest known rank, and tell who holds it, in one round trip."""

    async def begin(
        self,
        mailbox: Mailbox,
        app: str,
        token: str,
        intents: Sequence[Intent],
        *,
        everything: bool = False,
        incarnation: str = "",
    ) -> Grant | Busy | Parked | DataLost:
        """Take the lease, read what the run needs, and write a pending link for each event it may create.

        The mailbox is *known* if a run has listed all its tagged events in the store's present incarnation. A new one
        begins whenever data may have been lost: the store is created, emptied, restarted, or fails over.

        If ``incarnation`` is named and is not the present one, nothing is done.

        A lease that expired without having been given back: its run's jobs are marked dirty, since a request of it
        may still land, and their links are unsure, since one may have landed.
        """

    async def renew(self, lease: Lease) -> bool:
        """Another ``LEASE_SECONDS``; ``False`` if the lease is lost."""

    async def finish(self, lease: Lease, outcome: RunOutcome) -> bool:
        """Write the outcome and give the lease back; ``False``, and nothing written, if it was lost."""

    async def release(self, lease: Lease) -> None:
        """Give the lease back and write nothing."""

    async def mark_dirty(self, assignments: Sequence[tuple[Mailbox, str]]) -> None:
        """Hand (mailbox, job) over to the sweep. An empty address means every mailbox of the job."""

    async def park(self, mailbox: Mailbox, code: str, *, hourly: bool, note: str = "") -> None:
        """Remember that the mailbox is not to be tried, or only hourly."""

    async def list_parked(self) -> list[tuple[Mailbox, Parking]]:
        """Every parked mailbox."""

    async def enable(self, mailbox: Mailbox) -> None:
        """Park the mailbox no longer."""

    async def pause(self, site_id: str) -> None:
        """Remember that the site is not to be served, until it is resumed."""

    async def resume(self, site_id: str) -> None:
        """Pause the site no longer."""

    async def paused(self) -> dict[str, float]:
        """Every paused site, and since when (Unix time)."""

    async def born(self) -> str:
        """When this store was first used, as a mark: another one than before says that it was emptied."""

    async def time(self) -> float:
        """Unix time on the store's own clock, by which links are dated."""

    async def linked(self, site_id: str, after: str) -> list[str]:
        """The next addresses of a site with links, in byte order, behind ``after``; empty at the end."""

    async def holders(self, job_id: str) -> list[Mailbox]:
        """The mailboxes that hold an event of the job, or may."""

    async def remembered(self, job_id: str) -> dict[Mailbox, Link | Pending]:
        """The link, or pending link, of each mailbox that holds an event of the job, or may."""

    async def linked_elsewhere(self, mailbox: Mailbox, events: Sequence[tuple[str, str]]) -> set[str]:
        """Of these (job, event id), the ids linked in other mailboxes: two addresses may lead to one mailbox."""

    async def forget_zone(self, mailbox: Mailbox) -> None:
        """The mailbox's time-zone setting is to be read again."""

    async def dirty(self, site_id: str) -> list[Mark]:
        """What was handed over to the sweep of a site, ordered by address and job."""

    async def clean(self, site_id: str, marks: Sequence[Mark]) -> None:
        """The sweep has seen to these marks; one that was set again meanwhile stays."""

    async def count_deletions(self, site_id: str, jobs: Sequence[str], seconds: float) -> tuple[int, int]:
        """Add to the jobs that deleted rows would take from the site within ``seconds``.

        Returns how many they are by now, and how many jobs of the site had an event in the window at its last complete
        sweep.
        """

    async def coming(self, site_id: str) -> int:
        """How many jobs of a site have a linked event that is not over; reads every link, so not for every day."""

    async def remember_events(self, site_id: str, count: int) -> None:
        """How many jobs with an event in the site's window a complete sweep found."""

    async def events(self, site_id: str) -> int:
        """How many jobs with an event in the site's window the last complete sweep found."""

    async def unread(self, site_id: str) -> dict[str, int]:
        """The addresses of a site that could not be read, and in how many sweeps in a row."""

    async def remember_unread(self, site_id: str, counts: Mapping[str, int]) -> None:
        """Replace what :meth:`unread` returns."""

    async def claim_sweep(self, site_id: str, seconds: float) -> bool:
        """Whether the site is due: nobody has claimed its sweep within the last ``seconds``."""

    async def release_sweep(self, site_id: str) -> None:
        """The site is due at once."""


class Calendar(Protocol):
    """One mailbox's calendar under a lease.

    Every method may raise ``TransientError``, ``MailboxRefusedError``, ``ForbiddenError``, ``SiteRefusedError`` and
    ``RequestRefusedError``.
    """

    async def create(self, event: Event, tag: str, transaction_id: str) -> RemoteEvent:
        """Create it, tagged. Raises ``DuplicateTransactionError``."""

    async def update(self, event_id: str, event: Event) -> RemoteEvent:
        """Make it show ``event``. Raises ``GoneError``."""

    async def claim(self, event_id: str, event: Event, tag: str) -> RemoteEvent:
        """Make what a create of ours has made show ``event`` and carry its tag. Raises ``GoneError``."""

    async def delete(self, event_id: str) -> None:
        """Delete it. Raises ``GoneError``."""

    async def get(self, event_id: str) -> RemoteEvent:
        """Read it. Raises ``GoneError``."""

    async def find(self, tag: str) -> tuple[RemoteEvent, ...]:
        """Every event of the mailbox with this tag, wherever its time is."""

    async def view(self, start: datetime, end: datetime) -> tuple[EventSummary, ...]:
        """Every event that carries a tag of ours, of any site, and overlaps the time; all pages, each event once."""

    async def tagged(self, site_id: str, not_before: datetime) -> tuple[EventSummary, ...]:
        """Every event of the mailbox with a tag of this site; all pages, each event once.

        Left out is what ended before ``not_before``; an event whose end cannot be read is listed.
        """

    async def time_zone(self) -> str:
        """The mailbox's time-zone setting as it is; may be empty, custom, Windows or IANA."""


class Calendars(Protocol):
    """All mailboxes of all sites."""

    def open(self, site: Site, lease: Lease) -> Calendar:
        """The calendar of the leased mailbox."""

    async def probe(self, site: Site, address: str | None, asks: Asks, *, fresh: bool) -> None:
        """Ask a mailbox, if one is named, for each of ``asks``; ``fresh``: with a token that Entra issues now.

        Changes nothing. Returns if the token is there and each was answered; raises what a :class:`Calendar` may raise.
        """

    async def roles(self, site: Site) -> frozenset[str]:
        """The app roles that the site's present token shows; empty if it shows none or cannot be read.

        Raises ``SiteRefusedError`` or ``TransientError``.
        """


class Meter(Protocol):
    """What is counted on the way."""

    def event(self, result: str) -> None:
        """One record is done."""

    def unsettled(self, site_id: str, count: int) -> None:
        """Events that Graph keeps showing otherwise than we write them, left as they are."""

    def accepted(self, committed_at: float) -> None:
        """Graph has accepted a change that was committed at this Unix time."""

    def site_up(self, site_id: str, *, up: bool) -> None:
        """Whether a site can be served."""
