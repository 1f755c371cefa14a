"""Single rules of the protocol, each in a world where nothing else can compensate for a violation."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from consumer.domain.errors import RequestRefusedError, TransientError
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from consumer.sync.change import Change
from consumer.sync.lease import LEASE_SECONDS
from consumer.sync.receipts import Receipt
from tests.fakes.store import MemoryStore
from tests.simulation.faulty_store import FaultyStore
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.outlook import WatchedOutlook
from tests.simulation.process import Point, Strike
from tests.simulation.world import POLL_SECONDS, Core, Log, Replica

ANNA, BEN = "worker-0@example.com", "worker-1@example.com"


class World:
    """One partition, two mailboxes, and a store behind a network."""

    def __init__(self) -> None:
        self.random = Random(1)
        self.log = Log(1)
        self.core = Core(self.log, self.random, mailboxes=2)
        self.store = FaultyStore(MemoryStore(SimulatedClock()), self.random)
        self.outlook = WatchedOutlook(SimulatedClock(), self.random, store=self.store)

    def replica(self) -> Replica:
        return Replica(self.log, self.store, self.outlook, self.random, [0])

    async def done(self) -> None:
        """Until every record is committed."""
        async with asyncio.timeout(600):
            while not self.log.done:
                await self.log.moved.wait()

    def job(self, *addresses: str) -> str:
        """A new job of these mailboxes."""
        self.core.create("acme", frozenset(addresses))
        return list(self.core.jobs)[-1]

    def edit(self, job_id: str, **fields: object) -> None:
        self.core.put(replace(self.core.jobs[job_id], **fields))  # type: ignore[arg-type]

    def link(self, job_id: str, address: str = ANNA) -> object:
        return self.store.whole.links[Mailbox("acme", address)].get(job_id)

    async def strike(self, replica: Replica, point: Point, left: int = 1) -> None:
        """Kill the replica when it comes to this point."""
        killed = asyncio.Event()

        def kill() -> None:
            replica.kill()
            killed.set()

        replica.process.arm(Strike(point, left, kill))
        async with asyncio.timeout(60):
            await killed.wait()


def test_an_event_of_a_killed_run_is_deleted_if_its_job_was_cancelled_meanwhile() -> None:
    async def story() -> None:
        world = World()
        job_id = world.job(ANNA)
        await world.strike(world.replica(), "graph after", 3)  # its time zone, its events, the create
        assert [tag for _, tag in world.outlook.tags()] == [f"acme/{job_id}"]
        world.edit(job_id, status="cancelled")
        world.replica()
        await world.done()
        assert world.outlook.tags() == []

    simulate(story())


@pytest.mark.parametrize("point", ["store before", "store after", "graph before", "graph after"])
@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_replica_killed_at_any_call_leaves_one_event_and_one_link(point: Point, left: int) -> None:
    async def story() -> None:
        world = World()
        first = world.replica()
        job_id = world.job(ANNA)
        await world.strike(first, point, left)
        world.replica()
        await world.done()
        [event_id] = world.outlook.events[ANNA]
        link = world.link(job_id)
        assert isinstance(link, Link)
        assert link.event_id == event_id
        assert world.outlook.twins == []

    simulate(story())


def test_a_run_whose_lease_was_lost_runs_again() -> None:
    async def story() -> None:
        world = World()
        replica = world.replica()
        job_id = world.job(ANNA)

        def take_lease() -> None:
            [held] = world.store.whole._leases.values()
            held.token, held.until = "somebody else", SimulatedClock().monotonic() + LEASE_SECONDS

        # While the create is under way: after its time zone and its events were read.
        replica.process.arm(Strike("graph before", 3, take_lease))
        await world.done()
        assert world.outlook.writes >= 1
        assert isinstance(world.link(job_id), Link)
        assert world.outlook.twins == []

    simulate(story())


def test_renewals_that_fail_for_longer_than_the_lease_leave_one_event_although_another_replica_goes_on() -> None:
    async def story() -> None:
        world = World()
        world.outlook.slow = 29.0
        first = world.replica()
        job_id = world.job(ANNA)
        await asyncio.sleep(1.0)
        world.store.refuses_renewals = True
        first.lose(0)
        first.process.freeze(60.0)  # with its request under way
        second = world.replica()
        await asyncio.sleep(LEASE_SECONDS)
        world.store.refuses_renewals, world.outlook.slow = False, 0.0
        await world.done()
        await asyncio.sleep(90.0)
        assert len(world.outlook.events[ANNA]) == 1
        assert isinstance(world.link(job_id), Link)
        assert world.outlook.unleased == []
        assert not second.lanes.busy

    simulate(story())


def test_no_offset_is_committed_past_a_record_that_is_not_done() -> None:
    async def story() -> None:
        world = World()
        world.outlook.refusals[ANNA] = TransientError("503")
        first = world.replica()
        world.job(BEN)
        job_id = world.job(ANNA)
        world.job(BEN)
        await asyncio.sleep(10.0)
        assert len(world.outlook.events[BEN]) == 2
        first.kill()
        world.outlook.refusals.clear()
        world.replica()
        await world.done()
        assert [event.tag for event in world.outlook.events[ANNA].values()] == [f"acme/{job_id}"]

    simulate(story())


class DelayedDeadLetters:
    """Dead letters that are not written at once: until they arrive, each record's receipt stays open for them."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self._receipts: list[Receipt] = []

    async def refuse(self, change: Change, _refusal: Exception) -> None:
        for receipt in change.records_owed():
            receipt.split(2)
            self._receipts.append(receipt)
        self.first.set()

    def arrive(self) -> None:
        for receipt in self._receipts:
            receipt.part_done("dead_lettered")


def test_a_record_that_graph_refuses_is_not_done_before_its_dead_letter_is_written() -> None:
    async def story() -> None:
        world = World()
        world.outlook.write_refusals[ANNA] = RequestRefusedError(400, "ErrorInvalidRequest")
        replica = world.replica()
        delayed = DelayedDeadLetters()
        replica.lanes._lane_runs._refused = delayed
        world.job(ANNA)
        async with asyncio.timeout(60):
            await delayed.first.wait()
        await asyncio.sleep(30.0)
        assert not world.log.done
        delayed.arrive()
        await world.done()
        assert replica.meter.results == {"dead_lettered": 1}

    simulate(story())


def test_a_reassigned_job_leaves_the_mailbox_in_whose_lane_it_waits_without_any_link() -> None:
    async def story() -> None:
        world = World()
        world.outlook.refusals[ANNA] = TransientError("503")
        world.replica()
        job_id = world.job(ANNA)
        await world.outlook.first_refusal()
        while world.store.whole.links[Mailbox("acme", ANNA)] or not world.outlook.refused[ANNA]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until no run has it, and it only waits in its lane
        world.edit(job_id, addresses=frozenset({BEN}))
        await asyncio.sleep(2 * POLL_SECONDS)  # it is routed, and its lane has not tried again
        world.store.whole.forget_ranks()
        world.outlook.refusals.clear()
        await world.done()
        assert world.outlook.tags() == [(BEN, f"acme/{job_id}")]

    simulate(story())


def test_a_drain_waits_for_running_work_and_begins_nothing() -> None:
    async def story() -> None:
        world = World()
        world.outlook.slow = 5.0
        replica = world.replica()
        first = world.job(ANNA)
        while not replica.lanes.busy:  # noqa: ASYNC110 (simulated time costs nothing)
            await asyncio.sleep(0.01)
        await replica.process.spawn(replica.lanes.drain(20.0))
        assert isinstance(world.link(first), Link)
        world.job(BEN)
        await asyncio.sleep(20.0)
        assert not world.outlook.events.get(BEN)
        replica.kill()
        world.replica()
        await world.done()
        assert len(world.outlook.events[BEN]) == 1

    simulate(story())


@pytest.mark.parametrize("times", [1, 2])
def test_an_event_that_was_made_without_its_tag_gets_it(times: int) -> None:
    async def story() -> None:
        world = World()
        world.outlook.untagged = times
        replica = world.replica()
        job_id = world.job(ANNA)
        await world.done()
        assert world.outlook.tags() == [(ANNA, f"acme/{job_id}")]
        assert len(world.outlook.events[ANNA]) == 1
        link = world.link(job_id)
        assert isinstance(link, Link)
        assert list(world.outlook.events[ANNA]) == [link.event_id]
        replica.kill()

    simulate(story())


def test_a_create_whose_link_the_store_has_forgotten_is_looked_up_before_it_is_repeated() -> None:
    """The same holds if another run has listed the mailbox before the create landed, so that it counts as known."""

    async def story() -> None:
        world = World()
        replica = world.replica()

        def forget() -> None:
            world.store.whole.forget()
            world.store.whole._known[Mailbox("acme", ANNA)] = world.store.whole._incarnation

        replica.process.arm(Strike("graph after", 3, forget))  # its time zone, its events, the create
        job_id = world.job(ANNA)
        await world.done()
        assert world.outlook.tags() == [(ANNA, f"acme/{job_id}")]
        assert isinstance(world.link(job_id), Link)
        assert world.outlook.twins == []
        replica.kill()

    simulate(story())
