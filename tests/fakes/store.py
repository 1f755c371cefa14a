"""Every port of the store in memory, on the clock that is passed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from consumer.domain.compare import NEWER_RANK_SECONDS
from consumer.domain.errors import StoreUnavailableError
from consumer.domain.link import Link, Memory, Pending, Tombstone
from consumer.domain.mailbox import Mailbox
from consumer.sync.grant import AssignmentState, Busy, DataLost, Grant, Intent, Parked, Precedence
from consumer.sync.lease import LEASE_SECONDS, Lease
from consumer.sync.marks import Mark
from consumer.sync.parking import Parking
from consumer.sync.partition_block import Block
from consumer.sync.ports import Clock
from consumer.sync.ranks import RankRequest, Routed
from consumer.sync.run_outcome import RunOutcome

KEPT_SECONDS = 3600.0


@dataclass(slots=True)
class _Newest:
    rank: int
    partition: int
    offset: int
    topic_id: str
    until: float


@dataclass(slots=True)
class _Lease:
    token: str
    until: float
    mailbox: Mailbox
    jobs: list[str]


@dataclass
class MemoryStore:
    """What Redis holds, for all the replicas that share this object."""

    clock: Clock
    links: dict[Mailbox, dict[str, Link | Pending]] = field(default_factory=dict)
    marks: dict[tuple[Mailbox, str], int] = field(default_factory=dict)
    parked: dict[Mailbox, tuple[Parking, float | None]] = field(default_factory=dict)
    pauses: dict[str, float] = field(default_factory=dict)
    down: bool = False
    _stamps: int = 0
    _deleted: dict[str, tuple[float, set[str]]] = field(default_factory=dict)
    _events: dict[str, int] = field(default_factory=dict)
    _unread: dict[str, dict[str, int]] = field(default_factory=dict)
    _swept: dict[str, float] = field(default_factory=dict)
    _blocks: dict[tuple[str, int], Block] = field(default_factory=dict)
    """By topic and partition."""
    _replayed: dict[str, dict[int, int]] = field(default_factory=dict)
    _newest: dict[str, _Newest] = field(default_factory=dict)
    _tombstones: dict[tuple[Mailbox, str], Tombstone] = field(default_factory=dict)
    _leases: dict[tuple[str, str], _Lease] = field(default_factory=dict)
    _zones: dict[Mailbox, tuple[str, float]] = field(default_factory=dict)
    """By mailbox: the setting, and when it was read."""
    _known: dict[Mailbox, int] = field(default_factory=dict)
    """By mailbox: the incarnation in which all its tagged events were listed."""
    _incarnation: int = 1

    def forget(self) -> None:
        """As FLUSHALL does: all stored data is gone."""
        fresh = MemoryStore(self.clock, down=self.down, _stamps=self._stamps, _incarnation=self._incarnation + 1)
        self.__dict__.update(fresh.__dict__)

    def roll_back(self, snapshot: "MemoryStore") -> None:
        """As a failover to a replica that lags: ``snapshot`` is a deep copy of an earlier state."""
        incarnation = self._incarnation + 1
        self.__dict__.update(snapshot.__dict__)
        self._incarnation = incarnation

    async def route(self, requests: Sequence[RankRequest]) -> list[Routed]:
        self._reach()
        return [self._route(request) for request in requests]

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
        self._reach()
        now = self.clock.monotonic()
        if mailbox in self.parked:
            parking, retry_at = self.parked[mailbox]
            if retry_at is None or now < retry_at:
                return Parked(parking.code)
        present = str(self._incarnation)
        if incarnation not in ("", present):
            return DataLost(present)
        held = self._leases.get((app, mailbox.address))
        if held is not None and held.token != token:
            if held.until > now:
                return Busy(min(1.0, max(0.01, held.until - now)))
            self._mark([(held.mailbox, job_id) for job_id in held.jobs])
            theirs = self.links.get(held.mailbox, {})
            for job_id in held.jobs:
                if isinstance(link := theirs.get(job_id), Link):
                    theirs[job_id] = link.unsure()
        jobs = [intent.job_id for intent in intents]
        self._leases[app, mailbox.address] = _Lease(token, now + LEASE_SECONDS, mailbox, jobs)
        zone, read_at = self._zones.get(mailbox, (None, float("-inf")))
        assignments = {intent.job_id: self._intend(mailbox, intent, now) for intent in intents}
        return Grant(
            Lease(app, mailbox, token, now),
            zone,
            assignments,
            dict(self.links.get(mailbox, {})) if everything else {},
            zone_is_fresh=now - read_at < KEPT_SECONDS,
            is_known=self._known.get(mailbox) == self._incarnation,
            incarnation=present,
        )

    async def renew(self, lease: Lease) -> bool:
        self._reach()
        held = self._held(lease)
        if held is None:
            lease.lost = True
            return False
        lease.renewed_at = self.clock.monotonic()
        held.until = lease.renewed_at + LEASE_SECONDS
        return True

    async def finish(self, lease: Lease, outcome: RunOutcome) -> bool:
        self._reach()
        if self._held(lease) is None:
            return False
        now = self.clock.monotonic()
        links = self.links.setdefault(lease.mailbox, {})
        for job_id in [*outcome.forgotten, *outcome.tombstones]:
            links.pop(job_id, None)
        for job_id, rank in outcome.tombstones.items():
            self._tombstones[lease.mailbox, job_id] = Tombstone(rank, now)
        links.update({job_id: replace(link, written_at=now) for job_id, link in outcome.links.items()})
        for job_id, link in outcome.found.items():
            if job_id not in links:
                links[job_id] = replace(link, written_at=now)
                if job_id in outcome.beyond:
                    self._mark([(lease.mailbox, job_id)])
        self._mark([(lease.mailbox, job_id) for job_id in outcome.dirty])
        for job_id, seconds in outcome.doubtful.items():
            if now - links[job_id].written_at < seconds:
                self._mark([(lease.mailbox, job_id)])
            else:
                del links[job_id]
        if outcome.zone is not None:
            self._zones[lease.mailbox] = (outcome.zone, now)
        if outcome.listed_in == str(self._incarnation):
            self._known[lease.mailbox] = self._incarnation
        if outcome.answered and lease.mailbox in self.parked and self.parked[lease.mailbox][1] is not None:
            del self.parked[lease.mailbox]
        del self._leases[lease.app, lease.mailbox.address]
        return True

    async def release(self, lease: Lease) -> None:
        self._reach()
        if self._held(lease) is not None:
            del self._leases[lease.app, lease.mailbox.address]

    async def mark_dirty(self, assignments: Sequence[tuple[Mailbox, str]]) -> None:
        self._reach()
        self._mark(assignments)

    async def park(self, mailbox: Mailbox, code: str, *, hourly: bool, note: str = "") -> None:
        self._reach()
        now = self.clock.monotonic()
        if hourly and mailbox in self.parked and self.parked[mailbox][1] is None:
            return
        self.parked[mailbox] = Parking(code, hourly, now, note), now + KEPT_SECONDS if hourly else None

    async def list_parked(self) -> list[tuple[Mailbox, Parking]]:
        return [(mailbox, parking) for mailbox, (parking, _) in self.parked.items()]

    async def enable(self, mailbox: Mailbox) -> None:
        self.parked.pop(mailbox, None)

    async def pause(self, site_id: str) -> None:
        self.pauses.setdefault(site_id, self.clock.monotonic())

    async def resume(self, site_id: str) -> None:
        self.pauses.pop(site_id, None)

    async def paused(self) -> dict[str, float]:
        return dict(self.pauses)

    async def born(self) -> str:
        return str(id(self))

    async def time(self) -> float:
        self._reach()
        return self.clock.monotonic()

    async def block(self, topic: str, partition: int, offset: int) -> None:
        self._reach()
        self._blocks[topic, partition] = Block(offset, int(self.clock.monotonic()))

    async def unblock(self, topic: str, partition: int) -> None:
        self._reach()
        self._blocks.pop((topic, partition), None)

    async def blocked(self, topic: str) -> dict[int, Block]:
        self._reach()
        return {partition: block for (name, partition), block in sorted(self._blocks.items()) if name == topic}

    async def replayed(self, topic: str) -> dict[int, int]:
        self._reach()
        return dict(self._replayed.get(topic, {}))

    async def remember_replayed(self, topic: str, offsets: Mapping[int, int]) -> None:
        self._reach()
        self._replayed.setdefault(topic, {}).update(offsets)

    async def check(self) -> None:
        self._reach()

    async def close(self) -> None:
        pass

    async def count_dirty(self, site_id: str) -> int:
        return len(await self.dirty(site_id))

    async def linked(self, site_id: str, after: str) -> list[str]:
        self._reach()
        addresses = sorted(
            (mailbox.address for mailbox, links in self.links.items() if mailbox.site == site_id and links),
            key=str.encode,
        )
        return [address for address in addresses if address.encode() > after.encode()][:3]

    async def holders(self, job_id: str) -> list[Mailbox]:
        return [mailbox for mailbox, links in self.links.items() if job_id in links]

    async def remembered(self, job_id: str) -> dict[Mailbox, Link | Pending]:
        self._reach()
        return {mailbox: links[job_id] for mailbox, links in self.links.items() if job_id in links}

    async def linked_elsewhere(self, mailbox: Mailbox, events: Sequence[tuple[str, str]]) -> set[str]:
        self._reach()
        linked = {
            (job_id, link.event_id)
            for other, links in self.links.items()
            for job_id, link in links.items()
            if other != mailbox and isinstance(link, Link)
        }
        return {event_id for job_id, event_id in events if (job_id, event_id) in linked}

    async def forget_zone(self, mailbox: Mailbox) -> None:
        self._zones.pop(mailbox, None)

    async def dirty(self, site_id: str) -> list[Mark]:
        self._reach()
        marks = self.marks.items()
        return sorted(
            Mark(mailbox.address, job_id, stamp) for (mailbox, job_id), stamp in marks if mailbox.site == site_id
        )

    async def clean(self, site_id: str, marks: Sequence[Mark]) -> None:
        self._reach()
        for mark in marks:
            key = Mailbox(site_id, mark.address), mark.job_id
            if self.marks.get(key) == mark.stamp:
                del self.marks[key]

    async def count_deletions(self, site_id: str, jobs: Sequence[str], seconds: float) -> tuple[int, int]:
        self._reach()
        now = self.clock.monotonic()
        until, counted = self._deleted.get(site_id, (0.0, set()))
        if until <= now:
            until, counted = now + seconds, set()
        counted |= set(jobs)
        self._deleted[site_id] = until, counted
        return len(counted), self._events.get(site_id, 0)

    async def coming(self, site_id: str) -> int:
        self._reach()
        found = [item for mailbox, links in self.links.items() if mailbox.site == site_id for item in links.items()]
        return len({job_id for job_id, link in found if isinstance(link, Link) and link.end >= self.clock.now()})

    async def remember_events(self, site_id: str, count: int) -> None:
        self._reach()
        self._events[site_id] = count

    async def events(self, site_id: str) -> int:
        return self._events.get(site_id, 0)

    async def unread(self, site_id: str) -> dict[str, int]:
        self._reach()
        return dict(self._unread.get(site_id, {}))

    async def remember_unread(self, site_id: str, counts: Mapping[str, int]) -> None:
        self._reach()
        self._unread[site_id] = dict(counts)

    async def claim_sweep(self, site_id: str, seconds: float) -> bool:
        self._reach()
        now = self.clock.monotonic()
        if self._swept.get(site_id, float("-inf")) > now:
            return False
        self._swept[site_id] = now + seconds
        return True

    async def release_sweep(self, site_id: str) -> None:
        self._reach()
        self._swept.pop(site_id, None)

    def forget_ranks(self) -> None:
        """As if each job's last record had been an hour ago."""
        self._newest.clear()

    def _mark(self, assignments: Sequence[tuple[Mailbox, str]]) -> None:
        for assignment in assignments:
            self._stamps += 1
            self.marks[assignment] = self._stamps

    def _reach(self) -> None:
        if self.down:
            raise StoreUnavailableError("Redis: down")

    def _held(self, lease: Lease) -> _Lease | None:
        held = self._leases.get((lease.app, lease.mailbox.address))
        return held if held is not None and held.token == lease.token else None

    def _route(self, request: RankRequest) -> Routed:
        now = self.clock.monotonic()
        known = self._newest.get(request.job_id)
        if known is not None and known.until <= now:
            known = None
        held = {mailbox: links[request.job_id] for mailbox, links in self.links.items() if request.job_id in links}
        top = known.rank if known else 0
        rank = request.rank
        if rank is None:
            place = request.partition, request.topic_id
            if known and (known.partition, known.topic_id) == place and known.offset > request.offset:
                return Routed(0, top, tuple(held))
            ours = {box: link for box, link in held.items() if request.site in ("", box.site)}
            rank = max([top if len(ours) == len(held) else 0, *(link.rank for link in ours.values())]) | 1
        if rank >= top:
            top = rank
            self._newest[request.job_id] = _Newest(
                rank, request.partition, request.offset, request.topic_id, now + KEPT_SECONDS
            )
        coming = 0
        if request.rank is None:
            coming = sum(isinstance(link, Link) and link.end >= self.clock.now() for link in held.values())
        return Routed(rank, top, tuple(held), coming)

    def _intend(self, mailbox: Mailbox, intent: Intent, now: float) -> AssignmentState:
        links = self.links.setdefault(mailbox, {})
        memory: Memory | None = links.get(intent.job_id)
        tombstone = self._tombstones.get((mailbox, intent.job_id))
        if memory is None and tombstone is not None and now - tombstone.written_at < KEPT_SECONDS:
            memory = tombstone
        known = self._newest.get(intent.job_id)
        routed = known if known is not None and known.until > now and known.rank > intent.rank else None
        tombstones = isinstance(memory, Tombstone) and memory.rank >= intent.rank and intent.transaction_id is not None
        precedence = Precedence.SUPERSEDED if routed else Precedence.NEWEST
        if intent.swept and (tombstones or routed or (memory and memory.rank > intent.rank)):
            ages = [KEPT_SECONDS - (routed.until - now)] if routed else []
            ages += [now - memory.written_at] if memory and (tombstones or memory.rank > intent.rank) else []
            if min(ages) >= NEWER_RANK_SECONDS:
                precedence = Precedence.FORCED if intent.forced else Precedence.OUTRANKED
        if precedence is Precedence.FORCED:
            tombstones = False
            self._tombstones.pop((mailbox, intent.job_id), None)
            if routed:
                self._newest[intent.job_id] = replace(routed, rank=intent.rank, until=now + KEPT_SECONDS)
        used = None
        wins = precedence in (Precedence.NEWEST, Precedence.FORCED)
        if wins and intent.transaction_id is not None and not tombstones:
            if isinstance(memory, Pending):
                if precedence is Precedence.FORCED or memory.rank <= intent.rank:
                    used = memory.transaction_id
            elif not isinstance(memory, Link):
                used = intent.transaction_id
            if used is not None:
                links[intent.job_id] = Pending(used, intent.rank, now)
        return AssignmentState(precedence, memory, used)
