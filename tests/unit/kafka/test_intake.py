"""The intake: each partition keeps its order and waits alone, and receipts come back when their records are safe."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import (
    CoreUnavailableError,
    InvalidRecordError,
    RequestRefusedError,
    StoreUnavailableError,
    TransientError,
    UndecodableError,
)
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.kafka.core_questions import REST_SECONDS, CoreQuestions
from consumer.kafka.decode import Changed, Decoded, Deleted, Ignored, Incomplete, SchemaNeededError, Truncated
from consumer.kafka.intake import UNREADABLE_RUN, Intake
from consumer.kafka.record import Epoch, Record
from consumer.kafka.refused import RefusedRecords
from consumer.kafka.waiting import Backoff, Wait, Waits
from consumer.sync.change import Change, SweepView
from consumer.sync.receipts import Place, Receipt
from consumer.sync.routing import Arrival


class Gate:
    """Something outside that answers only while it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def passed(self) -> None:
        self.asked.set()
        await self.open.wait()


@dataclass
class World:
    """Everything around an intake. A record's value says what it is: ``job``, ``gone``, ``bad``, ``schema``…"""

    schemas: set[int] = field(default_factory=set)
    registry_down: bool = False
    dead_letters: Gate = field(default_factory=Gate)
    written: list[tuple[Record, str]] = field(default_factory=list)
    core: Gate = field(default_factory=Gate)
    core_answer: Callable[[str], Job | None] = lambda job_id: _job(job_id)
    core_fails: set[str] = field(default_factory=set)
    core_hangs: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=lambda: {"acme", "beta"})
    questions: list[str] = field(default_factory=list)
    dirty: list[tuple[Mailbox, str]] = field(default_factory=list)
    trips: list[list[Arrival]] = field(default_factory=list)
    redis_failures: int = 0
    back: list[tuple[int, int, str]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    blocked: list[Record] = field(default_factory=list)
    waiting: list[frozenset[int]] = field(default_factory=list)
    epochs: dict[int, Epoch] = field(default_factory=dict)
    offsets: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waits = Waits(self.waiting.append, time.monotonic, Backoff(first=0.0))
        dead_letters: Any = self
        self.refused = RefusedRecords(dead_letters, self.waits)

    def decode(self, record: Record) -> Decoded:
        what, _, rest = (record.value or b"").decode().partition(":")
        match what:
            case "job":
                return Changed(_job(rest), None)
            case "gone":
                return Deleted(rest, None)
            case "incomplete":
                job_id, _, site_id = rest.partition("@")
                return Incomplete(job_id, site_id or "acme", None)
            case "truncated":
                return Truncated()
            case "message":
                return Ignored()
            case "invalid":
                raise InvalidRecordError("impossible")
            case "schema":
                if 7 not in self.schemas:
                    raise SchemaNeededError(7)
                return Changed(_job(rest), None)
            case _:
                raise UndecodableError("no framing of ours")

    async def fetch(self, schema_id: int) -> None:
        if self.registry_down:
            raise TransientError("HTTP 500")
        self.schemas.add(schema_id)

    async def put(self, record: Record, kind: str, reason: str, wait: Wait) -> bool:
        while not self.dead_letters.open.is_set():
            wait.failed("dead_letter", "refused", None)
            self.dead_letters.asked.set()
            await asyncio.sleep(0)
            if not record.epoch.live:
                return False
        self.written.append((record, f"{kind}: {reason}"))
        self.kinds.append(kind)
        return True

    def is_named(self, site_id: str) -> bool:
        return site_id in self.named

    async def job(self, site_id: str, job_id: str) -> Job | None:
        self.questions.append(job_id)
        if site_id in self.core_fails:
            raise CoreUnavailableError("HTTP 503")
        if site_id not in self.core_hangs:
            await self.core.passed()
        else:
            await asyncio.Event().wait()
        return self.core_answer(job_id)

    async def mark_dirty(self, marks: list[tuple[Mailbox, str]]) -> None:
        if self.redis_failures:
            self.redis_failures -= 1
            raise StoreUnavailableError("READONLY")
        self.dirty += marks

    async def route(self, arrivals: list[Arrival]) -> None:
        if self.redis_failures:
            self.redis_failures -= 1
            raise StoreUnavailableError("READONLY")
        self.trips.append(list(arrivals))
        await asyncio.sleep(0)

    async def block(self, record: Record) -> None:
        self.blocked.append(record)

    def give_back(self, receipt: Receipt, result: str) -> None:
        assert receipt.place is not None
        self.back.append((*receipt.place, result))

    def record(self, partition: int, value: str) -> Record:
        offset = self.offsets[partition] = self.offsets.get(partition, -1) + 1
        epoch = self.epochs.setdefault(partition, Epoch(partition, "log"))
        return Record("topic", partition, offset, b"J", value.encode(), [], 0.0, epoch)

    def records(self, *what: tuple[int, str]) -> list[Record]:
        return [self.record(partition, value) for partition, value in what]

    @property
    def routed(self) -> list[tuple[int, int]]:
        return [(arrival.partition, arrival.offset) for trip in self.trips for arrival in trip]

    def intake(self) -> Intake:
        part: Any = self
        return Intake(
            part,
            part,
            part,
            part,
            CoreQuestions(part, time.monotonic),
            part,
            self.waits,
            self.give_back,
            self.block,
            retry_seconds=0.0,
        )


def _job(job_id: str) -> Job:
    return Job(job_id, "acme", 1, "scheduled")


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Intake]:
    intake = world.intake()
    tasks = [asyncio.create_task(work) for work in (intake.run(), world.refused.run())]
    try:
        yield intake
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not check():  # noqa: ASYNC110 (what the intake's tasks do is seen from outside only)
            await asyncio.sleep(0)


async def settled() -> None:
    """Let every task run until it waits for something that does not come."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_the_records_of_a_poll_go_in_one_round_trip_in_their_order() -> None:
    world = World()
    async with running(world) as intake:
        intake.deliver(world.records((0, "job:A"), (1, "job:B"), (0, "gone:A"), (2, "job:C")))
        await until(lambda: world.trips)
        await settled()
    [trip] = world.trips
    assert [(each.partition, each.offset, each.job is None) for each in trip] == [
        (0, 0, False),
        (1, 0, False),
        (0, 1, True),
        (2, 0, False),
    ]
    assert {each.topic_id for each in trip} == {"log"}
    assert world.back == []
    assert world.waiting == []


async def test_records_that_need_no_routing_are_skipped() -> None:
    world = World()
    async with running(world) as intake:
        intake.deliver(world.records((0, "truncated"), (0, "message")))
        await until(lambda: len(world.back) == 2)
    assert world.back == [(0, 0, "skipped"), (0, 1, "skipped")]


@pytest.mark.parametrize(("value", "kind"), [("bad", "undecodable"), ("invalid", "invalid")])
async def test_a_refused_dead_letter_stops_only_its_partition(value: str, kind: str) -> None:
    world = World()
    world.dead_letters.open.clear()
    async with running(world) as intake:
        intake.deliver(world.records((0, "job:A"), (0, value), (0, "job:B"), (1, "job:C")))
        await until(lambda: len(world.routed) == 2)
        await world.dead_letters.asked.wait()
        intake.deliver(world.records((0, "gone:B"), (1, "job:D"), (2, "job:E")))
        await until(lambda: len(world.routed) == 4)
        assert world.routed == [(0, 0), (1, 0), (1, 1), (2, 0)]
        [wait] = world.waits.now()
        assert (wait.record.partition, wait.record.offset, wait.cause) == (0, 1, "dead_letter")
        assert world.waiting[-1] == {0}
        assert world.back == []
        world.dead_letters.open.set()
        await until(lambda: len(world.routed) == 6)
    assert world.routed[4:] == [(0, 2), (0, 3)]
    assert world.back == [(0, 1, "dead_lettered")]
    assert world.kinds == [kind]
    assert [reason.partition(":")[0] for _, reason in world.written] == [kind]
    assert world.waiting[-1] == frozenset()
    assert world.waits.now() == []


async def test_a_registry_that_does_not_answer_stops_only_the_partitions_that_need_it() -> None:
    world = World(registry_down=True)
    async with running(world) as intake:
        intake.deliver(world.records((0, "schema:A"), (0, "job:B"), (1, "job:C"), (2, "schema:D")))
        await until(lambda: world.routed)
        await settled()
        assert world.routed == [(1, 0)]
        assert {(wait.record.partition, wait.cause) for wait in world.waits.now()} == {(0, "schema"), (2, "schema")}
        world.registry_down = False
        await until(lambda: len(world.routed) == 4)
    assert [place for place in world.routed if place[0] == 0] == [(0, 0), (0, 1)]
    assert world.written == []


async def test_core_that_does_not_answer_stops_only_the_partition_of_the_incomplete_record() -> None:
    world = World()
    world.core.open.clear()
    async with running(world) as intake:
        intake.deliver(world.records((0, "incomplete:A"), (0, "job:B"), (1, "job:C")))
        await until(lambda: world.routed)
        await world.core.asked.wait()
        assert world.routed == [(1, 0)]
        world.core.open.set()
        await until(lambda: len(world.routed) == 3)
    assert world.routed == [(1, 0), (0, 0), (0, 1)]


async def test_while_core_does_not_answer_incomplete_records_are_left_to_the_sweep_without_further_questions() -> None:
    def fails(_job_id: str) -> Job | None:
        raise CoreUnavailableError("HTTP 503")

    world = World(core_answer=fails, redis_failures=2)
    world.core.open.clear()
    async with running(world) as intake:
        intake.deliver(world.records(*[(partition, f"incomplete:{partition}") for partition in range(6)]))
        await until(lambda: len(world.questions) == 4)
        await settled()
        assert len(world.questions) == 4
        assert world.back == []
        world.core.open.set()
        await until(lambda: len(world.back) == 6)
    assert len(world.questions) == 4
    assert sorted(world.back) == [(partition, 0, "handed_over") for partition in range(6)]
    assert sorted(world.dirty) == [(Mailbox("acme", ""), str(partition)) for partition in range(6)]


async def test_while_core_fails_for_one_site_records_of_other_sites_are_completed() -> None:
    world = World(core_fails={"acme"})
    async with running(world) as intake:
        intake.deliver(world.records((0, "incomplete:A"), (0, "incomplete:B@beta"), (0, "incomplete:C")))
        await until(lambda: world.routed and len(world.back) == 2)
    assert world.questions == ["A", "B"]
    assert world.routed == [(0, 1)]
    assert world.back == [(0, 0, "handed_over"), (0, 2, "handed_over")]
    assert world.dirty == [(Mailbox("acme", ""), "A"), (Mailbox("acme", ""), "C")]


async def test_while_core_does_not_answer_for_one_site_other_sites_are_asked_about() -> None:
    world = World(core_hangs={"acme"})
    async with running(world) as intake:
        intake.deliver(world.records(*[(partition, f"incomplete:{partition}") for partition in range(8)]))
        await until(lambda: len(world.questions) == 4)
        intake.deliver(world.records((8, "incomplete:B@beta")))
        await until(lambda: world.routed)
    assert world.routed == [(8, 0)]
    assert len(world.questions) == 5


async def test_an_incomplete_record_of_an_unknown_site_is_skipped_without_a_question_or_a_mark() -> None:
    world = World(core_fails={"nobody"})
    async with running(world) as intake:
        intake.deliver(world.records((0, "incomplete:A@nobody"), (0, "job:B")))
        await until(lambda: world.routed)
    assert world.back == [(0, 0, "skipped")]
    assert (world.questions, world.dirty) == ([], [])
    assert world.routed == [(0, 1)]


async def test_a_site_is_asked_about_again_when_its_rest_is_over() -> None:
    now = 100.0
    world = World(core_fails={"acme", "beta"})
    core: Any = world
    questions = CoreQuestions(core, lambda: now)
    for site_id, expected in (("acme", 1), ("acme", 1), ("beta", 2)):
        with pytest.raises(CoreUnavailableError):
            await questions.job(site_id, "A")
        assert len(world.questions) == expected
    world.core_fails.clear()
    now += REST_SECONDS / 2
    with pytest.raises(CoreUnavailableError, match="a moment ago"):
        await questions.job("acme", "A")  # and this failure does not make the rest longer
    now += REST_SECONDS / 2
    assert await questions.job("acme", "A") == _job("A")
    assert await questions.job("gamma", "A") == _job("A")
    assert set(questions._sites) == {"gamma"}


async def test_an_incomplete_record_of_a_deleted_job_is_stale_and_one_with_an_impossible_row_is_dead_lettered() -> None:
    def answer(job_id: str) -> Job | None:
        if job_id == "gone":
            return None
        raise InvalidRecordError("ends before it starts")

    world = World(core_answer=answer)
    async with running(world) as intake:
        intake.deliver(world.records((0, "incomplete:gone"), (0, "incomplete:bad")))
        await until(lambda: len(world.back) == 2)
    assert world.back == [(0, 0, "stale"), (0, 1, "dead_lettered")]
    assert world.kinds == ["invalid"]


async def test_without_redis_records_wait_and_none_is_lost_or_routed_twice() -> None:
    world = World(redis_failures=3)
    async with running(world) as intake:
        intake.deliver(world.records((0, "job:A"), (1, "job:B")))
        intake.deliver(world.records((0, "job:C")))
        await until(lambda: len(world.routed) == 3)
        await settled()
    assert sorted(world.routed) == [(0, 0), (0, 1), (1, 0)]


async def test_fifty_unreadable_records_in_a_row_block_their_partition_and_a_readable_one_resets_the_count() -> None:
    world = World()
    values = ["bad"] * (UNREADABLE_RUN - 1) + ["job:A"] + ["bad"] * (UNREADABLE_RUN - 1)
    async with running(world) as intake:
        intake.deliver(world.records(*[(0, value) for value in values]))
        await until(lambda: len(world.written) == 2 * UNREADABLE_RUN - 2)
        await settled()
        assert world.blocked == []
        intake.deliver(world.records((0, "bad"), (0, "job:B"), (1, "job:C")))
        await until(lambda: world.blocked)
        await settled()
        assert world.routed == [(0, UNREADABLE_RUN - 1), (1, 0)]
        # Of the next epoch all is read again, and the count has begun again.
        world.epochs[0] = Epoch(0)
        intake.deliver(world.records((0, "bad"), (0, "job:D")))
        await until(lambda: len(world.routed) == 3)
    assert [record.offset for record in world.blocked] == [2 * UNREADABLE_RUN - 1]
    assert len(world.written) == 2 * UNREADABLE_RUN


async def test_unreadable_records_of_several_partitions_do_not_count_together() -> None:
    world = World()
    async with running(world) as intake:
        intake.deliver(world.records(*[(number % 4, "bad") for number in range(UNREADABLE_RUN + 50)]))
        await until(lambda: len(world.back) == UNREADABLE_RUN + 50)
    assert world.blocked == []


async def test_the_waiting_records_of_a_revoked_partition_are_dropped() -> None:
    world = World()
    world.dead_letters.open.clear()
    async with running(world) as intake:
        intake.deliver(world.records((0, "bad"), (0, "job:A")))
        await world.dead_letters.asked.wait()
        world.epochs.pop(0).live = False
        assert world.waits.now() == []
        await settled()
        world.dead_letters.open.set()
        # When it is assigned again, it is read from the committed offset, and the old task has no effect.
        world.offsets[0] = -1
        intake.deliver(world.records((0, "job:B")))
        await until(lambda: world.routed)
        await settled()
    assert world.written == []
    assert world.routed == [(0, 0)]
    assert world.back == []


async def test_a_refused_changes_receipts_come_back_after_its_dead_letter_and_its_lane_does_not_wait() -> None:
    world = World()
    world.dead_letters.open.clear()
    receipt = Receipt(world.record(3, "job:A"), world.give_back, lambda: True, Place(3, 0))
    older = Receipt(world.record(3, "job:A"), world.give_back, lambda: True, Place(3, 1))
    change = Change("A", _job("A"), receipt, older=[older])
    async with running(world) as intake:
        await world.refused.refuse(change, RequestRefusedError(400, "Bad"))
        change.done("dead_lettered")  # as the lane does at once
        await world.dead_letters.asked.wait()
        await world.refused.drain(0.0)
        assert world.back == []
        assert world.waiting == [{3}]
        [wait] = world.waits.now()
        assert (wait.record.partition, wait.cause) == (3, "dead_letter")
        # What comes behind it in its partition is routed.
        intake.deliver(world.records((3, "job:B")))
        await until(lambda: world.routed)
        drained = asyncio.create_task(world.refused.drain(60.0))
        await settled()
        assert not drained.done()
        world.dead_letters.open.set()
        await drained
    assert sorted(world.back) == [(3, 0, "dead_lettered"), (3, 1, "superseded")]
    [(_, reason)] = world.written
    assert reason.startswith("refused: ")
    assert world.kinds == ["refused"]
    assert world.waiting[-1] == frozenset()


def _owed(world: World, revision: int, partition: int) -> Change:
    """The change of a record of this partition."""
    record = world.record(partition, "job:A")

    def give_back(receipt: Receipt, result: str) -> None:
        if record.epoch.live:
            world.give_back(receipt, result)

    place = Place(partition, record.offset)
    return Change(
        "A", replace(_job("A"), revision=revision), Receipt(record, give_back, lambda: record.epoch.live, place)
    )


def _swept(revision: int, answers: list[str]) -> Change:
    receipt = Receipt(None, lambda _, result: answers.append(result), lambda: True)
    return Change("A", replace(_job("A"), revision=revision), receipt, sweep_view=SweepView(None, None, "edited"))


async def _refuse(world: World, change: Change) -> None:
    """Refuse a change as a lane does."""
    await world.refused.refuse(change, RequestRefusedError(400, "Bad"))
    change.done("dead_lettered")


@pytest.mark.parametrize("swept_revision", [2, 3])
async def test_the_newest_record_under_a_sweeps_refused_repair_is_dead_lettered_before_any_receipt_is_back(
    swept_revision: int,
) -> None:
    world = World()
    world.dead_letters.open.clear()
    answers: list[str] = []
    change = _swept(swept_revision, answers).merge(_owed(world, 1, 0)).merge(_owed(world, 2, 1))
    assert change.receipt.record is None
    async with running(world):
        await _refuse(world, change)
        await world.dead_letters.asked.wait()
        await settled()
        # The sweep does not wait for the dead letter.
        assert answers == ["dead_lettered"]
        assert world.back == []
        assert world.waiting == [{1}]
        world.dead_letters.open.set()
        await world.refused.drain(60.0)
    assert sorted(world.back) == [(0, 0, "superseded"), (1, 0, "dead_lettered")]
    assert [(record.partition, record.offset) for record, _ in world.written] == [(1, 0)]


@pytest.mark.parametrize("revoked_before", [True, False])
async def test_an_older_record_is_dead_lettered_itself_if_the_newest_ones_partition_moves_away(
    revoked_before: bool,
) -> None:
    world = World()
    world.dead_letters.open.clear()
    older, newest = _owed(world, 1, 0), _owed(world, 2, 1)
    async with running(world):
        if revoked_before:
            world.epochs[1].live = False
        await _refuse(world, older.merge(newest))
        await world.dead_letters.asked.wait()
        world.epochs[1].live = False
        await settled()
        assert world.back == []
        world.dead_letters.open.set()
        await world.refused.drain(60.0)
    assert [(record.partition, record.offset) for record, _ in world.written] == [(0, 0)]
    assert world.back == [(0, 0, "dead_lettered")]


async def test_a_change_without_a_record_has_no_dead_letter() -> None:
    world = World()
    receipt = Receipt(None, world.give_back, lambda: True)
    async with running(world):
        await world.refused.refuse(Change("A", _job("A"), receipt), RequestRefusedError(400, "Bad"))
        await world.refused.drain(60.0)
        await settled()
    assert world.written == []


async def test_an_unexpected_error_in_one_partition_ends_the_intake() -> None:
    def broken(_job_id: str) -> Job | None:
        raise ZeroDivisionError

    world = World(core_answer=broken)
    intake = world.intake()
    intake.deliver(world.records((0, "incomplete:A")))
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as group:
            await intake.run()
    assert group.group_contains(ZeroDivisionError)


VALUES = st.sampled_from(["job:A", "gone:A", "bad", "invalid", "incomplete:A", "schema:A", "message"])


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), VALUES), max_size=8), max_size=6), st.integers(0, 2))
def test_each_partition_keeps_its_order_and_each_record_is_done_once(
    polls: list[list[tuple[int, str]]], redis_failures: int
) -> None:
    async def play() -> None:
        world = World(redis_failures=redis_failures)
        count = sum(map(len, polls))
        async with running(world) as intake:
            for poll in polls:
                intake.deliver(world.records(*poll))
                await asyncio.sleep(0)
            await until(lambda: len(world.routed) + len(world.back) == count)
            await settled()
        for partition in range(3):
            offsets = [offset for number, offset in world.routed if number == partition]
            assert offsets == sorted(offsets)
        done = [*world.routed, *((partition, offset) for partition, offset, _ in world.back)]
        assert len(done) == len(set(done)) == count

    asyncio.run(play())
