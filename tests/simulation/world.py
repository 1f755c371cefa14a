"""A world to simulate: a partitioned log, replicas that may be killed at any instant, one Outlook, one store."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Final

from consumer.core.schedule import Roster
from consumer.domain.compare import Cause
from consumer.domain.errors import CoreUnavailableError, StoreUnavailableError
from consumer.domain.event import tag
from consumer.domain.job import CANCELLED, Job
from consumer.domain.site import Site
from consumer.domain.window import Window
from consumer.kafka.ledger import Ledger
from consumer.sync.change import Change
from consumer.sync.dry_run import DryRunLanes, DryRunMeter, DryRunRecords, PlannedRepair
from consumer.sync.lanes import Lanes
from consumer.sync.receipts import Place, Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.report import Report
from consumer.sync.routing import Arrival, Router
from consumer.sync.scheduler import SweepScheduler, owner
from consumer.sync.site_registry import SiteRegistry
from consumer.sync.sweep import Sweeper
from consumer.sync.sweep_ports import SweepPorts
from tests.fakes.calendars import MemoryOutlook
from tests.fakes.store import MemoryStore
from tests.simulation.faulty_store import FaultyStore
from tests.simulation.loop import START, SimulatedClock
from tests.simulation.process import Process

WINDOW_DAYS = 21
RENEW_LOOK_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.05
"""The longest time for which records lie unread."""
SITES = {
    site_id: Site(site_id, site_id.title(), "Europe/London", f"tenant-{site_id}", f"app-{site_id}", "secret")
    for site_id in ("acme", "globex")
}


@dataclass
class Counts:
    """The meter port."""

    results: dict[str, int] = field(default_factory=dict)
    up: dict[str, bool] = field(default_factory=dict)
    repairs: Counter[str] = field(default_factory=Counter)
    helds: dict[str, int] = field(default_factory=dict)
    unavailables: dict[str, int] = field(default_factory=dict)
    sweeps: dict[str, list[float]] = field(default_factory=dict)
    """When each site's sweeps ended."""

    def event(self, result: str) -> None:
        self.results[result] = self.results.get(result, 0) + 1

    def unsettled(self, site_id: str, count: int) -> None:
        self.repairs["unsettled"] += count

    def swept(self, site_id: str, seconds: float, *, whole: bool) -> None:
        self.sweeps.setdefault(site_id, []).append(SimulatedClock().monotonic())

    def repaired(self, site_id: str, cause: Cause, count: int) -> None:
        self.repairs[cause] += count

    def held(self, site_id: str, count: int) -> None:
        self.helds[site_id] = count

    def unavailable(self, site_id: str, count: int) -> None:
        self.unavailables[site_id] = count

    def forget_sweeps(self, site_id: str) -> None: ...

    def accepted(self, committed_at: float) -> None: ...

    def site_up(self, site_id: str, *, up: bool) -> None:
        self.up[site_id] = up


@dataclass(eq=False)
class Epoch:
    """The time for which a replica holds a partition."""

    live: bool = True
    """As the replica knows: a frozen one learns late that another replica has its partitions."""


@dataclass
class Log:
    """A topic: records by partition, and what the group has committed."""

    partitions: int
    records: dict[int, list[tuple[str, Job | None]]] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    epochs: dict[int, Epoch] = field(default_factory=dict)
    """The epoch of each partition's holder: a commit in another epoch is refused."""
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    on_commit: Callable[[int, int, int], object] = lambda _partition, _before, _position: None

    def __post_init__(self) -> None:
        for partition in range(self.partitions):
            self.records[partition] = []
            self.committed[partition] = 0

    def append(self, job_id: str, job: Job | None) -> None:
        self.records[sum(job_id.encode()) % self.partitions].append((job_id, job))
        self.grown.set()
        self.grown = asyncio.Event()

    def commit(self, partition: int, position: int, epoch: Epoch) -> None:
        """Commits the group's new position, unless the partition belongs to another replica by now."""
        if self.epochs.get(partition) is not epoch:
            return
        before, self.committed[partition] = self.committed[partition], position
        self.on_commit(partition, before, position)
        self.moved.set()
        self.moved = asyncio.Event()

    @property
    def done(self) -> bool:
        return all(self.committed[p] == len(records) for p, records in self.records.items())


class Replica:
    """The service from the routing on, over some partitions of the log: a process that may be killed or frozen."""

    def __init__(
        self,
        log: Log,
        store: MemoryStore | FaultyStore,
        outlook: MemoryOutlook,
        random: Random,
        partitions: Iterable[int],
        runs_at_once: int = 16,
        *,
        name: str = "replica",
        core: "Core | None" = None,
        sweep_interval: float = 300.0,
    ) -> None:
        """With a ``core``, it sweeps the sites of its partitions every ``sweep_interval`` seconds."""
        clock = SimulatedClock()
        self.process = Process(name)
        self.process.on_kill = self._stop
        self.meter = Counts()
        self.sites = SiteRegistry(outlook, self.meter, on_resumed=lambda site_id: self.lanes.wake(site_id))
        self.sites.replace(SITES)
        self._ids = random
        self._outlook = outlook
        self.reconciler = Reconciler(
            store,
            outlook,
            clock,
            self.meter,
            new_id=lambda: f"{random.getrandbits(128):032x}",
            window_days=WINDOW_DAYS,
        )
        self.refused: list[Change] = []
        self.lanes = Lanes(self.reconciler, store, self.sites, clock, random, self, runs_at_once=runs_at_once)
        self.planned: list[PlannedRepair] = []
        self.router = Router(store, self.lanes, self.sites, clock, window_days=WINDOW_DAYS, fuse_seconds=300)
        self._log = log
        self._store = store
        self.epochs: dict[int, Epoch] = {}
        self._ledgers: dict[Epoch, Ledger] = {}
        self._readers: dict[int, asyncio.Task[None]] = {}
        self.process.spawn(self._renew())
        self.rounds: SweepScheduler | None = None
        if core is not None:
            self.rounds = SweepScheduler(
                self.sweeper(core),
                store,
                self.sites,
                clock=clock,
                interval=sweep_interval,
                owns=lambda site_id: owner(site_id, log.partitions) in self.epochs,
            )
            self.process.spawn(self.rounds.run())
        for partition in partitions:
            self.take(partition)

    @property
    def owed(self) -> int:
        """Records that are not done, which the service keeps in memory."""
        return sum(len(ledger) for ledger in self._ledgers.values())

    @property
    def sweeping(self) -> bool:
        """Whether a scheduled sweep is running."""
        return self.rounds is not None and bool(self.rounds._running)

    def take(self, partition: int) -> None:
        """The group assigns a partition to it."""
        epoch = self.epochs[partition] = self._log.epochs[partition] = Epoch()
        self._ledgers[epoch] = Ledger()
        self._readers[partition] = self.process.spawn(self._read(partition, self._log.committed[partition], epoch))

    def lose(self, partition: int) -> None:
        """It learns that the partition is another replica's."""
        epoch = self.epochs.pop(partition)
        epoch.live = False
        del self._ledgers[epoch]
        self._readers.pop(partition).cancel()

    def kill(self) -> None:
        """As SIGKILL: all running work stops where it is, including sweeps."""
        self.process.kill()

    async def sweep(self, core: "Core", *, dry_run: bool = False, **options: Any) -> list[Report]:
        """Every site once."""
        sweeper = self.sweeper(core, dry_run=dry_run)
        return [await self.process.spawn(sweeper.sweep(site, **options)) for site in SITES.values()]

    def sweeper(self, core: "Core", *, dry_run: bool = False) -> Sweeper:
        """The sweeper over Core's schedule. A dry run adds its plans to ``planned``."""
        ports = SweepPorts(self._store, self._store, self.lanes, core, self.sites, self.meter)
        if dry_run:
            self.planned.clear()
            lanes = DryRunLanes(self._dry_reconciler(), self.sites, self.planned.append)
            ports = replace(ports, records=DryRunRecords(), mailboxes=lanes, meter=DryRunMeter())
        return Sweeper(ports, SimulatedClock(), window_days=WINDOW_DAYS)

    def _dry_reconciler(self) -> Reconciler:
        return Reconciler(
            self._store,
            self._outlook,
            SimulatedClock(),
            self.meter,
            new_id=lambda: f"{self._ids.getrandbits(128):032x}",
            window_days=WINDOW_DAYS,
            dry_run=True,
        )

    def _stop(self) -> None:
        """An ended process starts nothing new."""
        self.lanes._stopping = True

    async def refuse(self, change: Change, refusal: Exception) -> None:
        """Keeps a change that Graph calls malformed."""
        self.refused.append(change)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_LOOK_SECONDS)
            with suppress(StoreUnavailableError):
                await self.reconciler.renew_leases()

    async def _read(self, partition: int, offset: int, epoch: Epoch) -> None:
        records = self._log.records[partition]
        while True:
            grown = self._log.grown
            batch = list(enumerate(records[offset : offset + 20], offset))
            if not batch:
                await grown.wait()
                await asyncio.sleep(POLL_SECONDS)
                continue
            arrivals = []
            for number, (job_id, job) in batch:
                self._ledgers[epoch].add(number, 0.0, 1)
                place = Place(partition, number)
                receipt = Receipt(place, partial(self._done, epoch), lambda: epoch.live, place)
                arrivals.append(Arrival(job_id, job, partition, number, receipt, None))
            await self._route(arrivals)
            offset += len(arrivals)
            await asyncio.sleep(POLL_SECONDS)

    async def _route(self, arrivals: list[Arrival]) -> None:
        """As the intake does: routes again what the store does not accept now."""
        while True:
            try:
                await self.router.route(arrivals)
            except StoreUnavailableError:
                await asyncio.sleep(1.0)
            else:
                return

    def _done(self, epoch: Epoch, receipt: Receipt, result: str) -> None:
        if not epoch.live:
            return
        assert isinstance(receipt.record, Place)
        partition, offset = receipt.record
        self.meter.event(result)
        ledger = self._ledgers[epoch]
        ledger.done(offset)
        position = ledger.take_position()
        if position is not None:
            self._log.commit(partition, position, epoch)


class Core:
    """A schedule that changes at random, and writes each change to the log."""

    def __init__(self, log: Log, random: Random, mailboxes: int) -> None:
        self.log = log
        self.random = random
        self.jobs: dict[str, Job] = {}
        self.addresses = [f"worker-{n}@example.com" for n in range(mailboxes)]
        self.revision = 0
        self.down = False
        self.unknown_sites: set[str] = set()
        """Sites about which it answers nothing: they are no longer Core's customers."""
        self.fails_at: int | None = None
        self.lost: frozenset[str] = frozenset()
        """Mailboxes whose jobs the schedule leaves out by mistake."""
        self.questions = 0
        self._created = 0

    def change(self) -> None:
        kinds = (
            ["create"] if len(self.jobs) < 5 else ["create", "edit", "move", "reassign", "cancel", "delete", "beyond"]
        )
        kind = self.random.choice(kinds)
        if kind == "create":
            self.create(self.random.choice(list(SITES)), None)
            return
        job = self.random.choice(list(self.jobs.values()))
        match kind:
            case "edit":
                self.put(replace(job, subject=f"edited {self.revision}"))
            case "move":
                self.put(replace(job, **self.random_time(20)))
            case "beyond":
                self.put(replace(job, **self.random_time(40)))
            case "reassign":
                self.put(replace(job, addresses=self._some_addresses()))
            case "cancel":
                self.put(replace(job, status=CANCELLED))
            case "delete":
                del self.jobs[job.job_id]
                self.log.append(job.job_id, None)
                self.log.append(job.job_id, None)  # the tombstone

    def create(self, site_id: str, addresses: frozenset[str] | None) -> None:
        """A new job in the window; of some mailboxes, if none are named."""
        self._created += 1
        job = Job(f"J{self._created}", site_id, 0, "scheduled", **self.random_time(20))
        self.put(replace(job, subject="new", addresses=self._some_addresses() if addresses is None else addresses))

    async def schedule(self, site_id: str, window: Window) -> AsyncIterator[Roster]:
        self.ask()
        rosters = {address.encode(): Roster(address) for address in self.addresses}
        for job in self.jobs.values():
            if job.site_id == site_id and job.scheduled and window.holds(*job.scheduled):
                for address in job.addresses - self.lost:
                    rosters[address.encode()].jobs[job.job_id] = replace(job, addresses=frozenset({address}))
        for number, key in enumerate(sorted(rosters)):
            if number == self.fails_at:
                raise CoreUnavailableError("HTTP 500")
            await asyncio.sleep(0.01)
            yield rosters[key]

    async def job(self, site_id: str, job_id: str) -> Job | None:
        self.ask()
        await asyncio.sleep(0.01)
        if site_id in self.unknown_sites:
            raise CoreUnavailableError(f"HTTP 404: there is no site {site_id}")
        job = self.jobs.get(job_id)
        return job if job and job.site_id == site_id else None

    def ask(self) -> None:
        self.questions += 1
        if self.down:
            raise CoreUnavailableError("no connection")

    def wanted(self) -> set[tuple[str, str]]:
        """(address, tag) of every event that must exist: assignments of jobs in the window."""
        return {pair for pair in self.allowed() if self._in_window(pair[1])}

    def allowed(self) -> set[tuple[str, str]]:
        """(address, tag) of every event that may exist."""
        return {
            (address, tag(job.site_id, job.job_id))
            for job in self.jobs.values()
            if job.scheduled
            for address in job.addresses
        }

    def _in_window(self, job_tag: str) -> bool:
        job = self.jobs[job_tag.partition("/")[2]]
        assert job.starts_at is not None
        return job.starts_at < START + timedelta(days=WINDOW_DAYS)

    def put(self, job: Job) -> None:
        """Commits this state of the job, with the next revision."""
        self.revision += 1
        job = replace(job, revision=self.revision)
        self.jobs[job.job_id] = job
        self.log.append(job.job_id, job)

    def random_time(self, days: int, *, first_day: int = 1) -> dict[str, Any]:
        """Two hours at random, from the first day on, within this many days."""
        start = START + timedelta(days=first_day, hours=self.random.randrange(24 * (days - first_day)))
        return {"starts_at": start, "ends_at": start + timedelta(hours=2)}

    def _some_addresses(self) -> frozenset[str]:
        return frozenset(self.random.sample(self.addresses, self.random.choice([0, 1, 1, 1, 2])))
