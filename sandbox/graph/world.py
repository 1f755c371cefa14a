"""The state of the sandbox: tenants with their apps, mailboxes and events."""

import base64
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from sandbox.graph.stats import Stats
from sandbox.graph.switches import Switches

TAG = "String {7d0c3f5e-52a4-4c1b-9d55-0b1f5c2e9a60} Name CoreJob"
ROLES = ("Calendars.ReadWrite", "MailboxSettings.Read")
CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#users"
MAILBOX_STATES = (
    "ok",
    "no-licence",
    "unknown",
    "policy-blocked",
    "moving",
    "access-denied",
    "over-quota",
    "info-stale",
)


@dataclass(slots=True)
class Secret:
    """A client secret. `expires` is in epoch seconds."""

    id: str
    value: str
    expires: float | None = None


@dataclass(slots=True, eq=False)
class App:
    """A registered app of one tenant, with the app roles that an administrator consented to."""

    client_id: str
    secrets: list[Secret] = field(default_factory=list)
    roles: tuple[str, ...] = ROLES


@dataclass(slots=True, eq=False)
class Token:
    """An access token. It is bound to a tenant and an app. Its roles are those at the time it was issued."""

    tenant: "Tenant"
    app: App
    roles: tuple[str, ...]
    expires: float


@dataclass(slots=True, eq=False)
class Span:
    """What was used since `start` (epoch seconds). Graph's windows slide; these are fixed and follow one another."""

    start: float = 0.0
    used: int = 0

    def add(self, amount: int, limit: int, seconds: float, now: float) -> float:
        """Adds the amount. Returns 0, or the seconds until the window's end if the limit is exceeded."""
        if now - self.start >= seconds:
            self.start, self.used = now, 0
        self.used += amount
        return max(1.0, self.start + seconds - now) if self.used > limit else 0.0


@dataclass(slots=True, eq=False)
class Usage:
    """What one app uses of one mailbox. Times are in epoch seconds."""

    in_flight: int = 0
    peak: int = 0
    requests: Span = field(default_factory=Span)
    uploads: Span = field(default_factory=Span)
    throttled: int = 0
    retry_sent: float = 0.0
    retry_until: float = 0.0
    early: int = 0


@dataclass(slots=True, eq=False)
class Event:
    """One event as it is stored. `start` and `end` are naive UTC; for an all-day event, midnights without a zone."""

    mailbox: "Mailbox"
    calendar: str
    immutable_id: str
    regular_id: str
    change_key: str
    created: str
    modified: str
    start: datetime
    end: datetime
    start_zone: str
    end_zone: str
    uid: str
    transaction_id: str | None = None
    subject: str = ""
    body: str = ""
    preview: str = ""
    importance: str = "normal"
    sensitivity: str = "normal"
    show_as: str = "busy"
    is_all_day: bool = False
    is_reminder_on: bool = True
    reminder_minutes: int = 15
    response_requested: bool = True
    allow_new_time_proposals: bool = True
    hide_attendees: bool = False
    is_online_meeting: bool = False
    categories: list[str] = field(default_factory=list)
    attendees: list[dict[str, Any]] = field(default_factory=list)
    locations: list[dict[str, Any]] = field(default_factory=list)
    kind: str = "singleInstance"
    recurrence: dict[str, Any] | None = None
    master: "Event | None" = None
    occurrences: list["Event"] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    deleted: bool = False
    copied: bool = False
    writes: int = 0
    rendered: tuple[object, bytes] | None = None

    @property
    def tag(self) -> str | None:
        return self.properties.get(TAG)

    @property
    def live(self) -> bool:
        """Whether the event is in a calendar and is not an occurrence. (Deleted Items is not a calendar.)"""
        return not self.deleted and self.master is None


class Transaction(NamedTuple):
    """The first request with a transactionId. `made` is in epoch seconds."""

    event: Event
    fingerprint: bytes
    calendar: str
    made: float


@dataclass(slots=True, eq=False)
class Mailbox:
    """A mailbox of a tenant.

    Each of its ids and change keys contains `part`. @odata.context names the mailbox as `context`.
    """

    tenant: "Tenant"
    address: str
    guid: str
    part: str
    context: str
    state: str = "ok"
    time_zone: str = "UTC"
    calendars: dict[str, str] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    by_regular_id: dict[str, Event] = field(default_factory=dict)
    tagged: dict[str, list[Event]] = field(default_factory=dict)
    transactions: dict[str, "Transaction"] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)

    @property
    def calendar(self) -> str:
        """The id of the default calendar."""
        return next(iter(self.calendars))


@dataclass(slots=True, eq=False)
class Tenant:
    """An Entra tenant. Addresses are kept lower-case."""

    id: str
    apps: dict[str, App] = field(default_factory=dict)
    mailboxes: dict[str, Mailbox] = field(default_factory=dict)
    by_guid: dict[str, Mailbox] = field(default_factory=dict)
    aliases: dict[str, Mailbox] = field(default_factory=dict)
    """The mailboxes, by their further addresses."""


class World:
    """The state of one sandbox. `now` returns epoch seconds. `seed` makes ids and random choices repeatable."""

    def __init__(self, seed: int = 0, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.random = random.Random(seed)
        self.order = random.Random(seed)
        """The order of a batch's responses. It is a generator of its own, so batches do not change other choices."""
        self.switches = Switches()
        self.stats = Stats()
        self.tenants: dict[str, Tenant] = {}
        self.tokens: dict[str, Token] = {}
        self.apps: dict[str, Span] = {}
        """The requests of each app on all mailboxes of all tenants, by client id."""
        self._count = 0

    def count(self) -> int:
        """Returns a number that was never returned before."""
        self._count += 1
        return self._count

    def guid(self) -> str:
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def stamp(self) -> str:
        """Returns the time now, in the format of createdDateTime."""
        moment = datetime.fromtimestamp(self.now(), UTC).replace(tzinfo=None)
        return moment.isoformat(timespec="microseconds") + "0Z"

    def tenant(self, tenant_id: str) -> Tenant:
        """Returns the tenant with that id. Creates it if it does not exist."""
        return self.tenants.setdefault(tenant_id.lower(), Tenant(tenant_id.lower()))

    def mailbox(self, tenant: Tenant, address: str) -> Mailbox:
        """Returns the tenant's mailbox with that address. Creates it if it does not exist."""
        address = address.strip().lower()
        mailbox = tenant.mailboxes.get(address)
        if mailbox is None:
            guid = self.guid()
            part = _text_of(int(guid.replace("-", ""), 16), 16)[:22]
            mailbox = Mailbox(tenant, address, guid, part, f"{CONTEXT}('{quote(address, safe='')}')")
            self.calendar(mailbox, "Calendar")
            tenant.mailboxes[address] = tenant.by_guid[guid] = mailbox
        return mailbox

    def calendar(self, mailbox: Mailbox, name: str) -> str:
        """Returns the id of the mailbox's calendar with that name. Creates the calendar if it does not exist."""
        for calendar_id, known in mailbox.calendars.items():
            if known == name:
                return calendar_id
        calendar_id = f"AAMkAD{mailbox.part}{_text_of(self.count(), 9)}BGAAAAAAA="
        mailbox.calendars[calendar_id] = name
        return calendar_id

    def immutable_id(self, mailbox: Mailbox) -> str:
        return f"{immutable_start(mailbox)}{_text_of(self.count(), 9)}AA"

    def regular_id(self, mailbox: Mailbox) -> str:
        """Returns a new id in the default format: 152 characters. An item gets a new one in each folder."""
        item = _text_of(self.count(), 9)
        return f"{regular_start(mailbox)}{item}{item}AAENA="

    def change_key(self, mailbox: Mailbox) -> str:
        return f"{mailbox.part}{_text_of(self.count(), 6)}=="

    def put(self, event: Event) -> None:
        """Adds a new event to its mailbox, and records a duplicate if it is one."""
        event.mailbox.events[event.immutable_id] = event
        event.mailbox.by_regular_id[event.regular_id] = event
        self.index(event)

    def index(self, event: Event) -> None:
        """Indexes the event by its tag. Two live events of a mailbox that are no user's copies are a duplicate."""
        if event.tag is None or not event.live:
            return
        same = event.mailbox.tagged.setdefault(event.tag.lower(), [])
        if not event.copied and any(not other.copied for other in same):
            self.stats.duplicates.append({"mailbox": event.mailbox.address, "tag": event.tag, "time": self.stamp()})
        same.append(event)

    def unindex(self, event: Event) -> None:
        if event.tag is None:
            return
        same = event.mailbox.tagged.get(event.tag.lower(), [])
        if event in same:
            same.remove(event)
        if not same:
            event.mailbox.tagged.pop(event.tag.lower(), None)

    def remove(self, event: Event) -> None:
        """Removes the event from the mailbox for good. Removes a series together with its occurrences."""
        self.unindex(event)
        for each in (event, *event.occurrences):
            event.mailbox.events.pop(each.immutable_id, None)
            event.mailbox.by_regular_id.pop(each.regular_id, None)
            each.deleted = True
        if event.master is not None:
            event.master.occurrences.remove(event)

    def touch(self, event: Event) -> None:
        """Gives the event a new change key, and with it a new etag."""
        event.change_key = self.change_key(event.mailbox)
        event.modified = self.stamp()
        event.rendered = None

    def rename(self, event: Event) -> None:
        """Gives the event new ids in both formats, like an item that was exported and imported."""
        event.mailbox.events.pop(event.immutable_id, None)
        event.immutable_id = self.immutable_id(event.mailbox)
        event.mailbox.events[event.immutable_id] = event
        self.refile(event)

    def refile(self, event: Event) -> None:
        """Gives the event a new regular id, like an item that was moved to another folder."""
        event.mailbox.by_regular_id.pop(event.regular_id, None)
        event.regular_id = self.regular_id(event.mailbox)
        event.mailbox.by_regular_id[event.regular_id] = event
        self.touch(event)


def immutable_start(mailbox: Mailbox) -> str:
    return f"AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0A{mailbox.part}"


def regular_start(mailbox: Mailbox) -> str:
    return f"AAMkAD{mailbox.part}LTk4ZTItNDc1Zi04NGUzLTQzNjA1ODk3NzkzNwBGAAAAAAB{mailbox.part}BwA{mailbox.part}"


def _text_of(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).decode()
