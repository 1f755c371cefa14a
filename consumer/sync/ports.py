"""What the use cases need from Graph, the clock and the metrics; the store's ports are in the ``*_store`` modules.

Each port has a real adapter and an in-memory one.
"""

from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

from consumer.domain.event import Event, EventSummary, RemoteEvent
from consumer.domain.site import Site
from consumer.sync.lease import Lease

Ask: TypeAlias = Literal["calendar", "setting", "write"]
"""What a probe tries in a mailbox: list its calendar, read its time-zone setting, write.

If Graph refuses the setting for another reason than a missing permission, that counts as an answer: the mailbox is
served without it.
"""
Asks: TypeAlias = frozenset[Ask]
SETTING: Final[Asks] = frozenset({"setting"})
WHOLE: Final[Asks] = frozenset({"calendar", "setting"})
"""A complete read. Calendar and setting each need their own permission."""
WRITE: Final[Asks] = frozenset({"write"})


class Clock(Protocol):
    """Time, so that a whole world can run in simulated time."""

    def now(self) -> datetime:
        """The present instant: an aware datetime in UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""


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
        """Make an event that our create has made show ``event`` and carry its tag. Raises ``GoneError``."""

    async def delete(self, event_id: str) -> None:
        """Delete it. Raises ``GoneError``."""

    async def get(self, event_id: str) -> RemoteEvent:
        """Read it. Raises ``GoneError``."""

    async def find(self, tag: str) -> tuple[RemoteEvent, ...]:
        """Every event of the mailbox with this tag, wherever its time is."""

    async def view(self, start: datetime, end: datetime) -> tuple[EventSummary, ...]:
        """Every event that carries our tag for any site and overlaps the time; all pages, each event once."""

    async def tagged(self, site_id: str, not_before: datetime) -> tuple[EventSummary, ...]:
        """Every event of the mailbox with a tag of this site; all pages, each event once.

        Events that ended before ``not_before`` are left out; an event whose end cannot be read is listed.
        """

    async def time_zone(self) -> str:
        """The mailbox's time-zone setting, unchanged: empty, custom, a Windows name or an IANA name."""


class Calendars(Protocol):
    """All mailboxes of all sites."""

    def open(self, site: Site, lease: Lease) -> Calendar:
        """The calendar of the leased mailbox."""

    async def probe(self, site: Site, address: str | None, asks: Asks, *, fresh: bool) -> None:
        """Try each of ``asks`` in a mailbox, if one is named; ``fresh``: with a token that Entra issues now.

        Changes nothing. Returns if there is a token and each was answered; raises what a :class:`Calendar` may raise.
        """

    async def roles(self, site: Site) -> frozenset[str]:
        """The app roles that the site's present token shows; empty if it shows none or cannot be read.

        Raises ``SiteRefusedError`` or ``TransientError``.
        """


class Meter(Protocol):
    """What is counted while changes are applied."""

    def unsettled(self, site_id: str, count: int) -> None:
        """Report events that Graph keeps changing after our write, and that are left as they are."""

    def accepted(self, committed_at: float) -> None:
        """Measure a change, committed at this Unix time, that Graph has accepted."""

    def site_up(self, site_id: str, *, up: bool) -> None:
        """Report whether a site can be served."""
