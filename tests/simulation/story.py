"""Stories: a seed decides what happens to a world, and when. Then all faults end, and everything must be right."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

from consumer.domain.event import RemoteEvent, tag
from consumer.domain.job import Job
from consumer.domain.link import Link
from consumer.sync.after_run import HAND_OVER_SECONDS
from consumer.sync.apply import LANDING_SECONDS
from consumer.sync.lease import LEASE_SECONDS
from tests.fakes.calendars import Faults
from tests.fakes.store import MemoryStore
from tests.simulation.faulty_store import FaultyStore
from tests.simulation.group import Group
from tests.simulation.loop import SimulatedClock
from tests.simulation.outlook import WatchedOutlook
from tests.simulation.people import People
from tests.simulation.process import Point, Process, Strike
from tests.simulation.world import WINDOW_DAYS, Core, Log, Replica

PARTITIONS: Final = 4
MAILBOXES: Final = 8
SWEEP_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Kind:
    """What may happen in a story."""

    name: str
    replicas: int = 2
    changes: int = 120
    seconds: float = 240.0
    faults: Faults = field(default_factory=Faults)
    """Faults of Graph."""
    slow: float = 0.0
    """The longest extra time of requests to Graph, in seconds, during some of the minutes."""
    kills: int = 0
    freezes: int = 0
    lost_answers: float = 0.0
    """The probability that a call to the store, or its answer, is lost."""
    outages: int = 0
    """How often the store has one of these faults for some seconds."""
    outage: tuple[str, ...] = ("unavailable", "refuses_writes", "refuses_renewals", "is_slow")
    forgets: int = 0
    rollbacks: int = 0
    people: int = 0
    """How often a person does something to one of our events."""
    sweeps: bool = True
    """Whether the replicas sweep. If not, work that is left to the sweep may be unfinished; all else must be right."""


GRAPH = Faults(before=0.03, after=0.03, late=0.02, throttled=0.05)
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("kills", kills=5, faults=GRAPH, lost_answers=0.02, sweeps=False),
        Kind("kills-and-sweeps", kills=5, faults=GRAPH, lost_answers=0.02, people=15),
        Kind("freezes", freezes=4, faults=GRAPH, people=10),
        Kind("freezes-without-sweeps", freezes=4, sweeps=False),
        Kind("leases", outages=10, outage=("refuses_renewals", "is_slow"), slow=25.0, faults=GRAPH, sweeps=False),
        Kind("store", outages=6, lost_answers=0.03, kills=1, faults=GRAPH, people=10),
        Kind("forgets", forgets=4, slow=4.0, people=20),
        Kind("rollbacks", rollbacks=4, slow=4.0, people=20),
        Kind("people", people=60),
        Kind(
            "everything",
            replicas=3,
            changes=200,
            seconds=400.0,
            faults=GRAPH,
            slow=10.0,
            kills=3,
            freezes=2,
            lost_answers=0.01,
            outages=3,
            forgets=1,
            rollbacks=1,
            people=20,
        ),
    )
}


class Story:
    """One world and one seed."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind = kind
        self.random = Random(f"{kind.name} {seed}")
        self.log = Log(PARTITIONS)
        self.core = Core(self.log, self.random, MAILBOXES)
        self.store = FaultyStore(MemoryStore(SimulatedClock()), self.random)
        self.outlook = WatchedOutlook(SimulatedClock(), self.random, store=self.store)
        self.people = People(self.outlook, self.random)
        self.group = Group(self.log, self._start)
        self.log.on_commit = self._check_commit
        self.wrong: list[str] = []
        """Violations of rules that were seen during the story."""
        self._unwanted: dict[tuple[str, str], float] = {}
        """Until when, on the monotonic clock, an assignment was last unwanted."""

    async def play(self) -> None:
        """Plays the whole story and judges it."""
        kind, store = self.kind, self.store
        for _ in range(kind.replicas):
            self.group.join()
        self.outlook.faults = kind.faults
        store.lost_calls = store.lost_answers = kind.lost_answers / 2
        actors = [asyncio.create_task(self._change())]
        for times, act in (
            (kind.kills, self._kill),
            (kind.freezes, self._freeze),
            (kind.outages, self._outage),
            (kind.forgets, self._forget),
            (kind.rollbacks, self._roll_back),
            (kind.people, self._person),
            (4 if kind.slow else 0, self._slow_down),
        ):
            if times:
                actors.append(asyncio.create_task(self._now_and_then(times, act)))
        await asyncio.gather(*actors)
        await self._settle()
        self.judge()

    async def _change(self) -> None:
        """Changes come in bursts, so that some are in flight together."""
        pause = 2 * self.kind.seconds / self.kind.changes
        for _ in range(self.kind.changes):
            before = self.core.allowed()
            self.core.change()
            now, after = asyncio.get_running_loop().time(), self.core.allowed()
            # Assignments that are wanted again were unwanted until now.
            self._unwanted.update(dict.fromkeys((before - after) | (self._unwanted.keys() & (after - before)), now))
            await asyncio.sleep(self.random.choice([0.0, 0.01, 0.3, pause, pause]))

    async def _now_and_then(self, times: int, act: Callable[[], Awaitable[None]]) -> None:
        for _ in range(times):
            await asyncio.sleep(self.random.uniform(0.0, 2 * self.kind.seconds / times))
            await act()

    async def _kill(self) -> None:
        if not self.group.running:
            return
        process = self.random.choice(self.group.running).process
        await self._strike(process, process.kill)
        await asyncio.sleep(self.random.choice([0.0, 1.0, 15.0]))
        self.group.join()

    async def _freeze(self) -> None:
        if self.group.running:
            process = self.random.choice(self.group.running).process
            seconds = self.random.choice([5.0, 15.0, LEASE_SECONDS + 5, 150.0])
            await self._strike(process, lambda: process.freeze(seconds))

    async def _strike(self, process: Process, act: Callable[[], object]) -> None:
        """Acts at once, or when the process comes to a certain point, but after some seconds at the latest."""
        points: list[Point | None] = [None, "step", "store before", "store after", "graph before", "graph after"]
        point = self.random.choice(points)
        if point is not None:
            left = self.random.randrange(1, 400 if point == "step" else 12)
            struck = asyncio.Event()

            def strike() -> None:
                act()
                struck.set()

            process.arm(Strike(point, left, strike))
            try:
                async with asyncio.timeout(20):
                    await struck.wait()
            except TimeoutError:
                process.arm(None)
            else:
                return
        act()

    async def _outage(self) -> None:
        name = self.random.choice(self.kind.outage)
        setattr(self.store, name, True)
        await asyncio.sleep(self.random.choice([1.0, 8.0, LEASE_SECONDS + 5, 2 * LEASE_SECONDS]))
        setattr(self.store, name, False)

    async def _forget(self) -> None:
        if self.group.running:  # preferably during an operation
            await self._strike(self.random.choice(self.group.running).process, self.store.forget)

    async def _roll_back(self) -> None:
        snapshot = self.store.snapshot()
        await asyncio.sleep(self.random.choice([1.0, 5.0, 20.0]))
        if self.group.running:
            process = self.random.choice(self.group.running).process
            await self._strike(process, lambda: self.store.roll_back(snapshot))

    async def _person(self) -> None:
        self.people.act()

    async def _slow_down(self) -> None:
        self.outlook.slow = self.kind.slow
        await asyncio.sleep(self.random.uniform(self.kind.seconds / 8, self.kind.seconds / 4))
        self.outlook.slow = 0.0

    async def _settle(self) -> None:
        """Ends all faults. All that was sent lands, every record is done, and the sweeps run."""
        self.store.heal()
        self.outlook.faults, self.outlook.slow = Faults(), 0.0
        for replica in self.group.replicas:
            replica.process.arm(None)
            replica.process.thaw()
        if not self.group.running:
            self.group.join()
        try:
            async with asyncio.timeout(1800):
                while not self.log.done:
                    await self.log.moved.wait()
        except TimeoutError:
            self.wrong.append(f"records are never done: {self.log.committed}")
        await self.outlook.landed()
        if self.kind.sweeps:
            # The time in which a create in doubt may land; then two sweeps.
            await asyncio.sleep(LANDING_SECONDS + HAND_OVER_SECONDS + 2 * SWEEP_SECONDS)
        else:
            await asyncio.sleep(HAND_OVER_SECONDS)
        try:
            async with asyncio.timeout(SWEEP_SECONDS):
                while any(replica.sweeping or replica.lanes.busy for replica in self.group.running):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.wrong.append("some lane or sweep never ends")

    def judge(self) -> None:
        """Raises ``AssertionError`` with all that is wrong."""
        wrong = [*self.wrong, *(f"sent without a lease: {each}" for each in self.outlook.unleased)]
        wrong += [f"a second event: {twin}" for twin in self.outlook.twins if twin.excuse is None]
        wrong += [*self._calendars(), *self._links(), *self._additions(), *self._leaks()]
        assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong)

    def _left(self) -> set[tuple[str, str]]:
        """(address, tag) of what only a sweep can repair."""
        if self.kind.sweeps:
            return set()
        marks = {(mailbox.address, tag(mailbox.site, job_id)) for mailbox, job_id in self.store.whole.marks}
        return marks | self._overwritten() | {(twin.address, twin.tag) for twin in self.outlook.twins}

    def _overwritten(self) -> set[tuple[str, str]]:
        return {(address, str(tag)) for address, tag in self.outlook.overwritten}

    def _there(self) -> list[tuple[tuple[str, str], RemoteEvent]]:
        """Every event that a sweep can repair, with its (address, tag)."""
        left = self._left()
        return [
            ((address, str(event.tag)), event)
            for address, box in self.outlook.events.items()
            for event in box.values()
            if (address, str(event.tag)) not in left and not self._out_of_sight(address, event)
        ]

    def _out_of_sight(self, address: str, event: RemoteEvent) -> bool:
        """Whether a person has changed or copied it beyond the window, which no sweep reads."""
        assert event.start is not None
        if event.start < SimulatedClock().now() + timedelta(days=WINDOW_DAYS):
            return False
        pair = address, str(event.tag)
        return event.event_id in self.outlook.copies or (pair in self.people.touched and pair not in self.core.wanted())

    def _calendars(self) -> list[str]:
        there = self._there()
        count = Counter(pair for pair, _ in there)
        wrong = [f"missing: {pair}" for pair in sorted(self.core.wanted() - count.keys() - self._left())]
        wrong += [f"not wanted: {pair}" for pair in sorted(count.keys() - self.core.allowed())]
        wrong += [f"{times} of {pair}" for pair, times in sorted(count.items()) if times > 1]
        for pair, event in there:
            job = self.core.jobs.get(pair[1].partition("/")[2])
            if job is None or pair not in self.core.allowed():
                continue
            if not _shows(event, job):
                wrong.append(f"differs: {pair}, {event.event_id}")
            elif event.subject != "Core Job":
                wrong.append(f"a person's edit stands: {pair}, {event.event_id}")
        return wrong

    def _links(self) -> list[str]:
        """The store has links of all existing events, and no others."""
        linked = {
            (mailbox.address, tag(mailbox.site, job_id)): link.event_id if isinstance(link, Link) else "pending"
            for mailbox, links in self.store.whole.links.items()
            for job_id, link in links.items()
        }
        there = {pair: event.event_id for pair, event in self._there()}
        hidden = {(a, str(e.tag)) for a, box in self.outlook.events.items() for e in box.values()} - there.keys()
        hidden |= self.people.touched - self.core.wanted()  # a person deleted it beyond the window
        if self.store.forgot_at > float("-inf"):
            # A restored link of an event beyond the window that is gone: the service drops it later.
            hidden |= linked.keys() - there.keys() - self.core.wanted()
        return [
            f"link of {pair}: {linked.get(pair)}, and there is {there.get(pair)}"
            for pair in sorted((linked.keys() | there.keys()) - self._left() - hidden)
            if linked.get(pair) != there.get(pair)
        ]

    def _additions(self) -> list[str]:
        """What people have added still exists, unless its event had to be deleted."""
        twins = {(twin.address, twin.tag) for twin in self.outlook.twins if twin.excuse}
        twins |= self.people.copied  # a copy is adopted if a person drags the first event out of view
        lost = []
        for added in self.people.added:
            pair = added.address, added.tag
            if pair in twins or pair not in self.core.wanted() or added.event_id in self.people.deleted:
                continue
            if added.event_id in self.outlook.copies or self._unwanted.get(pair, -1.0) >= added.at:
                continue
            if added.name not in self.outlook.categories.get(added.event_id, ()):
                lost.append(f"a person's {added.name} is lost: {pair}, {added.event_id}")
        return lost

    def _leaks(self) -> list[str]:
        wrong = []
        for replica in self.group.running:
            name = replica.process.name
            if replica.lanes.busy or replica.lanes.waiting:
                wrong.append(f"{name} has lanes with work: {replica.lanes.busy} busy, {replica.lanes.waiting} waiting")
            if replica.lanes._lanes._jobs or replica.reconciler._leases:
                wrong.append(f"{name} remembers {replica.lanes._lanes._jobs} and {list(replica.reconciler._leases)}")
            tasks = [task for task in replica.process.tasks if not task.done()]
            expected = len(replica.epochs) + (2 if self.kind.sweeps else 1)
            if len(tasks) > expected:
                wrong.append(f"{name} has {len(tasks)} tasks: {[task.get_coro() for task in tasks]}")
            if replica.owed:
                wrong.append(f"{name} owes {replica.owed} records")
        return wrong

    def _check_commit(self, partition: int, before: int, position: int) -> None:
        """No offset is committed past unfinished work: a crash of the replica would lose the work."""
        if self.store.forgot_at > float("-inf"):
            return  # a link may be older than its event now, and marks may be lost: the sweep repairs this
        records = self.log.records[partition]
        left = self._disturbed()
        for job_id, job in records[before:position]:
            if any(each == job_id for each, _ in records[position:]):
                continue  # a later record of the job follows
            if next(state for each, state in reversed(records) if each == job_id) is not job:
                continue
            self.wrong += [
                f"committed too early: {pair} at {partition}/{position}" for pair in self._unfinished(job_id, job, left)
            ]

    def _disturbed(self) -> set[tuple[str, str]]:
        """(address, tag) of what a sweep must repair, or what others have changed since."""
        marks = {(mailbox.address, tag(mailbox.site, job_id)) for mailbox, job_id in self.store.whole.marks}
        twins = {(twin.address, twin.tag) for twin in self.outlook.twins}
        return marks | twins | self._overwritten() | self.people.touched

    def _unfinished(self, job_id: str, job: Job | None, left: set[tuple[str, str]]) -> list[tuple[str, str]]:
        there = {
            (address, str(event.tag)): event
            for address, box in self.outlook.events.items()
            for event in box.values()
            if str(event.tag).partition("/")[2] == job_id
        }
        wanted = set()
        if job is not None and job.scheduled:
            wanted = {(address, tag(job.site_id, job_id)) for address in job.addresses}
        wrong = [pair for pair in there if pair not in wanted | left]
        for pair in sorted(wanted - left):
            assert job is not None
            is_other = pair in there and not _shows(there[pair], job)
            if is_other or (pair not in there and pair in self.core.wanted()):
                wrong.append(pair)
        return wrong

    def _start(self, name: str) -> Replica:
        core = self.core if self.kind.sweeps else None
        return Replica(
            self.log, self.store, self.outlook, self.random, (), name=name, core=core, sweep_interval=SWEEP_SECONDS
        )


def _shows(event: RemoteEvent, job: Job) -> bool:
    return (event.start, event.end) == job.scheduled and f"Job: {job.subject}\r\n" in event.body
