"""The calendars port in memory: an Outlook that can fail before and after the write, and land writes late."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import TypeVar

from consumer.domain.errors import (
    DuplicateTransactionError,
    GoneError,
    MailboxRefusedError,
    RequestRefusedError,
    RunAgainError,
    TransientError,
    ZoneRefusedError,
)
from consumer.domain.event import REMINDER_MINUTES, Event, EventSummary, RemoteEvent
from consumer.domain.site import Site
from consumer.sync.lease import Lease
from consumer.sync.ports import Asks, Clock

T = TypeVar("T")


@dataclass(slots=True)
class Faults:
    """Probabilities of the failures of a request."""

    before: float = 0.0
    """The request fails, and nothing was done."""
    after: float = 0.0
    """The request is carried out, and its answer is lost."""
    late: float = 0.0
    """The request fails, and is carried out some seconds later."""
    throttled: float = 0.0


@dataclass
class MemoryOutlook:
    """Every mailbox's events, for all the replicas that share this object."""

    clock: Clock
    random: Random
    faults: Faults = field(default_factory=Faults)
    events: dict[str, dict[str, RemoteEvent]] = field(default_factory=dict)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    """(address, tag) of each moment at which a second live event got the tag."""
    writes: int = 0
    looks: int = 0
    views: int = 0
    lists: int = 0
    """How often all tagged events of a mailbox were listed."""
    list_refusal: Exception | None = None
    """The error of a list of all tagged events."""
    untagged: int = 0
    """How many of the next creates make an event without its tag, and fail (msgraph-sdk-ruby#38)."""
    strange: bool = False
    """Whether bodies are rewritten to another text."""
    elsewhere: set[str] = field(default_factory=set)
    """Ids of events in another calendar: read, changed and found by their tag, but in no view."""
    deleted_items: set[str] = field(default_factory=set)
    """Ids of events that a person deleted: still read and changed by their ids, but listed nowhere."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Addresses that lead to the mailbox of another address."""
    zones: dict[str, str] = field(default_factory=dict)
    unknown_zones: set[str] = field(default_factory=set)
    """Names that this Exchange refuses in an event."""
    zone_reads: int = 0
    zone_refusals: dict[str, Exception] = field(default_factory=dict)
    """By address: the error of a read of its time-zone setting."""
    refusals: dict[str, Exception] = field(default_factory=dict)
    """By address: the error of every request to it."""
    write_refusals: dict[str, Exception] = field(default_factory=dict)
    """By address: the error of every write to it, including the harmless write of a probe."""
    probed: Counter[str] = field(default_factory=Counter)
    """By address: the number of its probes."""
    token_roles: frozenset[str] = frozenset()
    """The roles that tokens show."""
    refused: Counter[str] = field(default_factory=Counter)
    """By address: the number of refused requests."""
    transactions: dict[tuple[str, str], tuple[str, Event]] = field(default_factory=dict)
    overwritten: set[tuple[str, str | None]] = field(default_factory=set)
    """(address, tag) of events that a late write reset to an older state: a sweep must repair them."""
    _ids: int = 0
    _refusing: asyncio.Event = field(default_factory=asyncio.Event)
    _landing: set["asyncio.Task[None]"] = field(default_factory=set)

    def open(self, site: Site, lease: Lease) -> "MemoryCalendar":
        return MemoryCalendar(self, lease)

    async def probe(self, site: Site, address: str | None, asks: Asks, *, fresh: bool) -> None:
        await asyncio.sleep(self.random.uniform(0.01, 0.2))
        if address is None:
            return
        self.probed[address] += 1
        for asked, refusals in (
            ("calendar", self.refusals),
            ("setting", self.refusals | self.zone_refusals),
            ("write", self.refusals | self.write_refusals),
        ):
            refusal = refusals.get(address) if asked in asks else None
            if refusal is None or (
                asked == "setting" and isinstance(refusal, MailboxRefusedError | RequestRefusedError)
            ):
                continue
            raise refusal

    async def roles(self, site: Site) -> frozenset[str]:
        return self.token_roles

    def tags(self) -> list[tuple[str, str]]:
        """(address, tag) of every live event, one entry each."""
        boxes = self.events.items()
        return sorted(
            (address, str(event.tag))
            for address, box in boxes
            for event in box.values()
            if event.event_id not in self.deleted_items
        )

    def new_id(self) -> str:
        self._ids += 1
        return f"event-{self._ids}"

    async def first_refusal(self) -> None:
        """Wait until a request has been refused; its sender has not received the answer yet."""
        await self._refusing.wait()

    async def landed(self) -> None:
        """Wait for all late writes."""
        while self._landing:
            await asyncio.wait(self._landing)

    async def request(self, lease: Lease, act: Callable[[], T], *, write: bool) -> T:
        """One request: it takes time, and may fail in every way in which Graph fails."""
        self.admit(lease)
        return await self.exchange(lease, act, write=write)

    def admit(self, lease: Lease) -> None:
        """Whether a request may still be sent under this lease. Raises ``TransientError``."""
        if not lease.may_send(self.clock.monotonic()):
            raise RunAgainError("the lease was not renewed in time")

    async def exchange(self, lease: Lease, act: Callable[[], T], *, write: bool) -> T:
        """Carries out a request that was sent, or fails."""
        await asyncio.sleep(self.random.uniform(0.01, 0.2))
        refusal = self.refusals.get(lease.mailbox.address)
        if refusal is None and write:
            refusal = self.write_refusals.get(lease.mailbox.address)
        if refusal is not None:
            self.refused[lease.mailbox.address] += 1
            self._refusing.set()
            raise refusal
        if self._happens(self.faults.throttled):
            raise TransientError("429", retry_after=1.0)
        if self._happens(self.faults.before):
            raise TransientError("503", unknown=write)
        if write and self._happens(self.faults.late):
            self._later(act)
            raise TransientError("504", unknown=True)
        answer = act()
        await asyncio.sleep(self.random.uniform(0.0, 0.1))
        if write and self._happens(self.faults.after):
            raise TransientError("504", unknown=True)
        return answer

    def _happens(self, probability: float) -> bool:
        return self.random.random() < probability

    def _later(self, act: Callable[[], object]) -> None:
        async def land() -> None:
            await asyncio.sleep(self.random.uniform(0.1, 20.0))
            try:
                act()
            except (GoneError, DuplicateTransactionError):
                return

        # In a context of its own: the write lands even if its sender is killed.
        world = Context()
        task = asyncio.get_running_loop().create_task(land(), context=world)
        self._landing.add(task)
        task.add_done_callback(self._landing.discard, context=world)


@dataclass(slots=True)
class MemoryCalendar:
    """One mailbox under a lease."""

    outlook: MemoryOutlook
    lease: Lease

    @property
    def _box(self) -> dict[str, RemoteEvent]:
        address = self.lease.mailbox.address
        return self.outlook.events.setdefault(self.outlook.aliases.get(address, address), {})

    async def create(self, event: Event, tag: str, transaction_id: str) -> RemoteEvent:
        return await self.outlook.request(self.lease, lambda: self._create(event, tag, transaction_id), write=True)

    async def update(self, event_id: str, event: Event) -> RemoteEvent:
        return await self.outlook.request(self.lease, lambda: self._update(event_id, event), write=True)

    async def claim(self, event_id: str, event: Event, tag: str) -> RemoteEvent:
        return await self.outlook.request(self.lease, lambda: self._claim(event_id, event, tag), write=True)

    async def delete(self, event_id: str) -> None:
        await self.outlook.request(self.lease, lambda: self._delete(event_id), write=True)

    async def get(self, event_id: str) -> RemoteEvent:
        return await self.outlook.request(self.lease, lambda: self._get(event_id), write=False)

    async def find(self, tag: str) -> tuple[RemoteEvent, ...]:
        return await self.outlook.request(self.lease, lambda: self._find(tag), write=False)

    async def view(self, start: datetime, end: datetime) -> tuple[EventSummary, ...]:
        return await self.outlook.request(self.lease, lambda: self._view(start, end), write=False)

    async def tagged(self, site_id: str, not_before: datetime) -> tuple[EventSummary, ...]:
        return await self.outlook.request(self.lease, lambda: self._tagged(site_id, not_before), write=False)

    async def time_zone(self) -> str:
        return await self.outlook.request(self.lease, self._time_zone, write=False)

    def _check(self, event: Event) -> None:
        if event.zone in self.outlook.unknown_zones:
            raise ZoneRefusedError(400, "TimeZoneNotSupportedException")

    def _time_zone(self) -> str:
        self.outlook.zone_reads += 1
        if refusal := self.outlook.zone_refusals.get(self.lease.mailbox.address):
            raise refusal
        return self.outlook.zones.get(self.lease.mailbox.address, "GMT Standard Time")

    def _create(self, event: Event, tag: str, transaction_id: str) -> RemoteEvent:
        self._check(event)
        key = self.lease.mailbox.address, transaction_id
        if key in self.outlook.transactions:
            event_id, first = self.outlook.transactions[key]
            if event_id in self._box and first == event:
                return self._box[event_id]
            raise DuplicateTransactionError(event_id)
        if any(present.tag == tag for present in self._box.values()):
            self.outlook.duplicates.append((self.lease.mailbox.address, tag))
        event_id = self.outlook.new_id()
        self.outlook.transactions[key] = event_id, event
        self._box[event_id] = _shown(event_id, tag, event, 1, self.outlook.clock.now())
        self.outlook.writes += 1
        if self.outlook.untagged:
            self.outlook.untagged -= 1
            self._box[event_id] = replace(self._box[event_id], tag=None)
            raise TransientError("503 ConcurrentItemSave", unknown=True)
        return self._box[event_id]

    def _update(self, event_id: str, event: Event) -> RemoteEvent:
        self._check(event)
        present = self._get(event_id)
        if self.outlook.strange:
            event = replace(event, body=f"{event.body}<br>strange")
        if asyncio.current_task() in self.outlook._landing:
            self.outlook.overwritten.add((self.lease.mailbox.address, present.tag))
        self._box[event_id] = _shown(event_id, present.tag, event, self.outlook.writes + 2, present.created)
        self.outlook.writes += 1
        return self._box[event_id]

    def _claim(self, event_id: str, event: Event, tag: str) -> RemoteEvent:
        self._box[event_id] = replace(self._get(event_id), tag=tag)
        return self._update(event_id, event)

    def _delete(self, event_id: str) -> None:
        self._get(event_id)
        del self._box[event_id]
        self.outlook.writes += 1

    def _get(self, event_id: str) -> RemoteEvent:
        if event_id not in self._box:
            raise GoneError("ErrorItemNotFound")
        return self._box[event_id]

    def _view(self, start: datetime, end: datetime) -> tuple[EventSummary, ...]:
        self.outlook.views += 1
        return tuple(
            EventSummary(event.event_id, event.etag, event.tag, event.single, event.end)
            for event in self._listed()
            if event.tag and event.start and event.end and event.start < end and event.end > start
            if event.event_id not in self.outlook.elsewhere
        )

    def _tagged(self, site_id: str, not_before: datetime) -> tuple[EventSummary, ...]:
        self.outlook.lists += 1
        if self.outlook.list_refusal is not None:
            raise self.outlook.list_refusal
        return tuple(
            EventSummary(event.event_id, event.etag, event.tag, event.single, event.end, event.start, event.created)
            for event in self._listed()
            if event.tag and event.tag.startswith(f"{site_id}/")
            if event.end is None or event.end >= not_before
        )

    def _listed(self) -> list[RemoteEvent]:
        return [event for event in self._box.values() if event.event_id not in self.outlook.deleted_items]

    def _find(self, tag: str) -> tuple[RemoteEvent, ...]:
        self.outlook.looks += 1
        return tuple(event for event in self._listed() if event.tag == tag)


def _shown(event_id: str, tag: str | None, event: Event, version: int, created: datetime | None) -> RemoteEvent:
    return RemoteEvent(
        event_id=event_id,
        etag=f'W/"{version}"',
        tag=tag,
        subject=event.subject,
        location=event.location,
        body=f"<html><body>\r\n{event.body}\r\n</body></html>",
        start=event.start,
        end=event.end,
        is_all_day=False,
        show_as="busy",
        is_reminder_on=True,
        reminder_minutes=REMINDER_MINUTES,
        sensitivity="normal",
        importance="normal",
        single=True,
        created=created,
    )
