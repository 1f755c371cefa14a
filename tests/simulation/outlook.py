"""An Outlook that records requests without a lease, second events of an assignment, and what people have added."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from consumer.domain.errors import TransientError
from consumer.domain.event import RemoteEvent
from consumer.sync.lease import LEASE_SECONDS, REQUEST_SECONDS, Lease
from tests.fakes.calendars import MemoryOutlook
from tests.simulation.faulty_store import FaultyStore
from tests.simulation.process import Process, current, in_world

T = TypeVar("T")

LEASE_ENDED = "a request whose lease ended while it was under way"
"""Such an update may be overwritten, and the sweep repairs it. It does not excuse a second event."""


@dataclass(frozen=True)
class Twin:
    """A second live event of an assignment."""

    address: str
    tag: str
    at: float
    """On the monotonic clock."""
    excuse: str | None
    """Why no live replica could prevent it."""


def start_of(event: RemoteEvent) -> datetime:
    """The start of an event. Every event of these worlds has one."""
    assert event.start is not None
    return event.start


@dataclass
class WatchedOutlook(MemoryOutlook):
    """Carries out every request that was sent, even if its sender dies or freezes meanwhile."""

    store: FaultyStore | None = None
    slow: float = 0.0
    """The longest extra time of a request, in seconds. The client gives up after ``REQUEST_SECONDS``."""
    unleased: list[str] = field(default_factory=list)
    """Requests sent without a lease, except those of a replica that woke from a freeze."""
    twins: list[Twin] = field(default_factory=list)
    copies: set[str] = field(default_factory=set)
    """Ids of the events that people have made by copying ours."""
    categories: dict[str, set[str]] = field(default_factory=dict)
    """By event id: what people have added."""
    _strays: dict[str, str] = field(default_factory=dict)
    """By event id: why it was created although its sender had lost its lease."""

    async def request(self, lease: Lease, act: Callable[[], T], *, write: bool) -> T:
        process = current()
        if process is not None and process.state == "ended":
            raise asyncio.CancelledError
        self.admit(lease)
        admitted = self.clock.monotonic()
        await asyncio.sleep(self.random.uniform(0.0, 0.005))  # the sender still has it: a freeze here sends it late
        self._check_lease(lease, process, admitted)
        sent = self._sent(lease, act, write, process, self.clock.monotonic())
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await in_world(sent)
        except TimeoutError:
            raise TransientError("no answer in time", unknown=write) from None

    async def _sent(
        self, lease: Lease, act: Callable[[], T], write: bool, process: Process | None, sent_at: float
    ) -> T:
        await asyncio.sleep(self.random.uniform(0.0, self.slow))

        def watched() -> T:
            if process is not None:
                process.reach("graph before")
            answer = self._carry_out(lease, act, process, sent_at) if write else act()
            if process is not None:
                process.reach("graph after")
            return answer

        return await super().exchange(lease, watched, write=write)

    def _carry_out(self, lease: Lease, act: Callable[[], T], process: Process | None, sent_at: float) -> T:
        address = lease.mailbox.address
        box = self.events.setdefault(self.aliases.get(address, address), {})
        before = dict(box)
        answer = act()
        stray = self._stray(lease, process, sent_at)
        for event_id in before.keys() | box.keys():
            old, new = before.get(event_id), box.get(event_id)
            if old is new:
                continue
            tag = (new or old).tag  # type: ignore[union-attr]
            if new is None:
                self.categories.pop(event_id, None)
            if old is None and new is not None:
                self._created(address, new, [each for each in before.values() if each.tag == tag], stray)
            if stray is not None:
                self.overwritten.add((address, tag))
        self.duplicates.clear()  # ``twins`` has more detail
        return answer

    def _created(self, address: str, event: RemoteEvent, others: list[RemoteEvent], stray: str | None) -> None:
        if stray is not None:
            self._strays[event.event_id] = stray
        if others:
            reasons = [stray, *(self._strays.get(other.event_id) for other in others)]
            excuses = [reason for reason in reasons if reason != LEASE_ENDED]
            excuses += ["a person's copy" for other in others if other.event_id in self.copies]
            excuse = next((excuse for excuse in excuses if excuse), None)
            self.twins.append(Twin(address, str(event.tag), self.clock.monotonic(), excuse))

    def _stray(self, lease: Lease, process: Process | None, sent_at: float) -> str | None:
        """Why a request is carried out after its sender has lost the mailbox; ``None`` if the sender has it."""
        assert self.store is not None
        if self.store.holds(lease):
            return None
        if process is not None and process.state != "running":
            return f"a late request of a {process.state} replica"
        if process is not None and process.thawed_at >= sent_at - LEASE_SECONDS:
            return "a late request of a replica that was frozen"
        return LEASE_ENDED

    def _check_lease(self, lease: Lease, process: Process | None, admitted: float) -> None:
        assert self.store is not None
        if self.store.holds(lease):
            return
        now = self.clock.monotonic()
        frozen = process is not None and process.thawed_at >= admitted
        if not frozen and self.store.forgot_at < now - LEASE_SECONDS:
            self.unleased.append(f"{lease.mailbox} at {now:.1f} s, by {process.name if process else 'nobody'}")
