"""The pump, step by step: what it commits, pauses and reads again, with a consumer that does as the test says.

It runs in the test's own thread: each poll is one step of the test, and the pump is stopped after the last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from consumer.kafka import pump as module
from consumer.kafka.ledger import Ledger
from consumer.kafka.pauses import over_their_share
from consumer.kafka.pump import Pump
from consumer.kafka.record import Record


@dataclass
class Message:
    """A record, or the end of a partition."""

    number: int
    position: int
    size: int = 1
    end: bool = False

    def error(self) -> KafkaError | None:
        return KafkaError(KafkaError._PARTITION_EOF) if self.end else None

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.position

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000 * self.position

    def key(self) -> bytes:
        return b""

    def value(self) -> bytes:
        return bytes(self.size)

    def headers(self) -> None: ...


Step = Callable[["World"], Sequence[Message] | None]


@dataclass
class World:
    """A broker, a consumer, and everything that the pump calls."""

    steps: list[Step]
    partitions: tuple[int, ...] = (0,)
    high_water: int = 20
    topic_id: str | None = "first"
    records: list[Record] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)
    last_commit_errors: list[int] = field(default_factory=list)
    assigned: list[dict[int, int]] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    seeks: list[tuple[int, int]] = field(default_factory=list)
    pressed: int = 0
    ended: list[str | None] = field(default_factory=list)

    def run(self, monkeypatch: pytest.MonkeyPatch) -> Pump:
        monkeypatch.setattr(module, "Consumer", lambda _config: Consumer(self))
        loop: Any = self
        self.pump = Pump(
            {},
            "topic",
            loop,
            self.records.extend,
            self.ended.append,
            lambda: None,
            on_pressure=self.press,
            identify=lambda _seconds: self.topic_id,
            high_water=self.high_water,
        )
        self.pump._run()
        assert self.ended == [None]
        return self.pump

    def call_soon_threadsafe(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)

    def press(self) -> None:
        self.pressed += 1

    def done(self, *offsets: int, partition: int = 0) -> None:
        for record in [each for each in self.records if each.partition == partition and each.offset in offsets]:
            self.pump.done(record)


class Consumer:
    """One membership of the group."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stored: dict[int, int] = {}
        self._left = False
        world.calls.append("join")

    def subscribe(self, _topics: list[str], *, on_assign: Any, on_revoke: Any, **_: Any) -> None:
        self._on_revoke = on_revoke
        on_assign(self, [TopicPartition("topic", number) for number in self._world.partitions])

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._world.assigned.append({each.partition: each.offset for each in partitions})

    def poll(self, _timeout: float) -> Message | None:
        if not self._world.steps:
            self._world.pump._stopping.set()
            return None
        self._buffered = list(self._world.steps.pop(0)(self._world) or [])
        return self._buffered.pop(0) if self._buffered else None

    def consume(self, _number: int, _timeout: float) -> list[Message]:
        return self._buffered

    def store_offsets(self, *, offsets: list[TopicPartition]) -> None:
        self._stored |= {each.partition: each.offset for each in offsets}

    def commit(self, *, asynchronous: bool, offsets: list[TopicPartition] | None = None) -> None:
        world = self._world
        world.calls.append("commit" if asynchronous else "commit and wait")
        if not asynchronous and world.last_commit_errors:
            raise KafkaException(KafkaError(world.last_commit_errors.pop(0)))
        stored = self._stored if offsets is None else {each.partition: each.offset for each in offsets}
        # As librdkafka: what is not above the committed offset is not committed, unless it was read anew.
        world.committed |= stored

    def pause(self, partitions: list[TopicPartition]) -> None:
        numbers = {each.partition for each in partitions}
        assert not numbers & self._world.paused, "pausing again throws away what was fetched"
        self._world.paused |= numbers

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._world.paused -= {each.partition for each in partitions}

    def seek(self, partition: TopicPartition) -> None:
        self._world.seeks.append((partition.partition, partition.offset))

    def committed(self, _partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return []

    def close(self) -> None:
        self._world.calls.append("close")
        self._on_revoke(self, [TopicPartition("topic", number) for number in self._world.partitions])


def records(*offsets: int, partition: int = 0, size: int = 1) -> Step:
    return lambda _world: [Message(partition, offset, size) for offset in offsets]


def end(offset: int, partition: int = 0) -> Step:
    return lambda _world: [Message(partition, offset, end=True)]


def done(*offsets: int, partition: int = 0) -> Step:
    return lambda world: world.done(*offsets, partition=partition)


def nothing(_world: World) -> None: ...


@pytest.fixture(autouse=True)
def each_step_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMMIT_SECONDS", 0.0)


@pytest.fixture
def commits_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMMIT_SECONDS", 3600.0)


@pytest.mark.usefixtures("commits_rarely")
def test_a_stop_commits_what_is_done_and_nothing_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([nothing, records(4, 5, 6), done(4, 6)])
    world.run(monkeypatch)
    assert world.committed == {0: 5}
    assert world.calls == ["join", "commit and wait", "close"]


@pytest.mark.usefixtures("commits_rarely")
def test_the_last_commit_is_made_again_when_a_rebalance_is_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([nothing, records(4), done(4)], last_commit_errors=[KafkaError.REBALANCE_IN_PROGRESS])
    world.run(monkeypatch)
    assert world.committed == {0: 5}
    assert world.calls.count("commit and wait") == 2


@pytest.mark.usefixtures("commits_rarely")
def test_receipts_that_come_while_the_pump_stops_are_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(world: World) -> None:
        world.pump._stopping.set()
        world.done(4, 5)

    world = World([nothing, records(4, 5), stop])
    world.run(monkeypatch)
    assert world.committed == {0: 6}


def test_a_draining_pump_reads_nothing_more_and_commits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def drain(world: World) -> None:
        world.pump.drain()

    def is_paused(world: World) -> None:
        assert world.paused == {0, 1}
        world.done(4)

    def is_committed(world: World) -> None:
        assert world.committed == {0: 5}

    World([records(4), drain, is_paused, nothing, is_committed], partitions=(0, 1)).run(monkeypatch)


def test_the_markers_of_a_transaction_are_committed_past_once_nothing_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def committed(offset: int) -> Step:
        def check(world: World) -> None:
            assert world.committed == {0: offset}

        return check

    steps = [
        records(0, 2),
        end(4),
        nothing,
        committed(0),
        done(0),
        nothing,
        committed(2),
        done(2),
        nothing,
        committed(4),
    ]
    World([*steps, end(6), nothing, committed(6)]).run(monkeypatch)


def test_a_quiet_partition_is_committed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World([end(7)])
    world.run(monkeypatch)
    assert world.committed == {0: 7}


def test_the_end_of_a_partition_passes_nothing_that_is_open() -> None:
    ledger = Ledger()
    ledger.add(3, 0.0, 1)
    ledger.reached(9)
    assert (ledger.take_position(), ledger.next) == (3, 9)
    ledger.done(3)
    assert ledger.take_position() == 9
    ledger.reached(5)
    assert ledger.take_position() is None


def test_a_topic_that_was_created_again_is_read_from_its_beginning_and_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def created_again(world: World) -> list[Message]:
        world.topic_id = "second"
        return [Message(0, 0)]

    def nothing_of_the_old_one_is_committed(world: World) -> None:
        assert world.committed == {0: 5}
        world.committed = {}

    def done_too_late(world: World) -> list[Message]:
        world.done(5)
        return created_again(world)

    steps = [records(4, 5), done(4), nothing, done_too_late, nothing_of_the_old_one_is_committed]
    world = World([*steps, records(0, 1), done(0, 1)])
    world.run(monkeypatch)
    assert [(record.offset, record.epoch.log) for record in world.records] == [
        (4, "first"),
        (5, "first"),
        (0, "second"),
        (1, "second"),
    ]
    assert not any(record.epoch.live for record in world.records[:2])
    assert world.assigned == [{0: -1001}, {0: OFFSET_BEGINNING}]
    assert world.committed == {0: 2}


def test_a_topic_with_another_id_is_read_from_its_beginning_although_its_offsets_went_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new topic had more records than the old one when librdkafka read on."""

    def created_again(world: World) -> None:
        world.topic_id = "second"
        world.pump.saw("second")

    world = World([records(4), done(4), records(5), created_again, nothing, records(0)])
    world.run(monkeypatch)
    assert [(record.offset, record.epoch.log) for record in world.records][-1] == (0, "second")
    assert world.assigned[-1] == {0: OFFSET_BEGINNING}
    assert world.calls.count("join") == 2


def test_an_id_that_becomes_known_later_or_is_not_known_now_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def saw(log: str | None) -> Step:
        return lambda world: world.pump.saw(log)

    world = World([records(4), saw("first"), nothing, saw(None), nothing, saw(""), records(5)], topic_id=None)
    world.run(monkeypatch)
    assert world.calls.count("join") == 1
    assert {record.epoch.log for record in world.records} == {"first"}


def test_a_partition_that_waits_is_paused_at_its_share_and_the_others_are_read_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def waits(*partitions: int) -> Step:
        return lambda world: world.pump.wait_for(frozenset(partitions))

    def paused(*partitions: int) -> Step:
        def check(world: World) -> None:
            assert world.paused == set(partitions)

        return check

    # Of 40, half is shared by 2: 10 each.
    steps: list[Step] = [
        *(waits(0), records(*range(10)), nothing, paused()),
        *(records(*range(10, 12)), nothing, paused(0)),
        *(records(*range(15), partition=1), nothing, paused(0)),
        # Done with waiting, it is read on when half of its share is free.
        *(waits(), done(*range(6)), nothing, paused(0)),
        *(done(*range(6, 8)), nothing, paused()),
        # One that does not wait may hold as much as it likes.
        *(records(*range(12, 24)), nothing, paused()),
    ]
    World(steps, partitions=(0, 1), high_water=40).run(monkeypatch)


def test_above_the_high_water_mark_all_is_paused_and_pressure_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def state(pressed: int, *paused: int) -> Step:
        def check(world: World) -> None:
            assert (world.pressed, world.paused) == (pressed, set(paused))

        return check

    steps = [
        *(records(*range(16)), nothing, state(0)),
        *(records(16, 17), nothing, state(1)),
        *(records(*range(18, 21)), nothing, state(1, 0, 1)),
        *(done(0, 1, 2), nothing, state(1)),
    ]
    World(steps, partitions=(0, 1)).run(monkeypatch)


def test_pressure_is_told_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRESSURE_SECONDS", 0.0)
    world = World([records(*range(18)), nothing, nothing])
    world.run(monkeypatch)
    assert world.pressed == 3


def test_size_counts_as_number_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HIGH_WATER_BYTES", 1_000)

    def full(world: World) -> None:
        assert world.paused == {0}

    World([records(1, 2, size=600), nothing, full]).run(monkeypatch)


def test_a_blocked_partition_is_paused_and_what_was_read_past_the_block_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def block(world: World) -> None:
        world.pump.block({0: 6})

    def unblock(world: World) -> None:
        world.pump.block({})

    def paused(*partitions: int) -> Step:
        def check(world: World) -> None:
            assert world.paused == set(partitions)

        return check

    steps = [records(5, 6, 7), block, nothing, paused(0), done(5), nothing, paused(0), unblock, nothing, paused()]
    world = World([*steps, records(6), done(6)], partitions=(0, 1))
    world.run(monkeypatch)
    assert world.seeks == [(0, 6)]
    assert [record.offset for record in world.records] == [5, 6, 7, 6]
    assert [record.epoch.live for record in world.records[:3]] == [False] * 3
    assert world.committed == {0: 7}


def test_a_partition_that_comes_back_is_resumed_unless_it_must_be_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In librdkafka a pause outlives a rebalance."""

    def rebalance(world: World) -> None:
        world.pump.block({1: 0})
        consumer: Any = Consumer(world)
        both = [TopicPartition("topic", 0), TopicPartition("topic", 1)]
        world.paused.add(0)
        world.pump._on_lost(consumer, both)
        world.pump._on_assign(consumer, both)
        assert world.paused == {1}

    World([nothing, rebalance], partitions=(0, 1)).run(monkeypatch)


@pytest.mark.parametrize(
    ("waiting", "fullness", "before", "paused"),
    [
        (set(), {0: 5.0}, set(), set()),
        ({0}, {0: 1.0}, set(), set()),
        ({0}, {0: 1.1, 1: 9.0}, set(), {0}),
        (set(), {0: 0.6}, {0}, {0}),
        (set(), {0: 0.5}, {0}, set()),
        ({0}, {}, {0}, set()),
    ],
)
def test_who_is_over_its_share(
    waiting: set[int], fullness: dict[int, float], before: set[int], paused: set[int]
) -> None:
    assert over_their_share(frozenset(waiting), fullness, before) == paused
