"""The questions to the broker in a rebalance and afterwards: they never block for long, and silence proves nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.testing import capture_logs

from consumer.kafka.overruns import Overruns
from tests.unit.kafka import group_world as steps
from tests.unit.kafka.group_world import Clock

REBALANCE_SECONDS = 3.0
"""The longest that a rebalance callback may take."""


@dataclass
class Broker:
    """A broker that answers after its latency; never, if that is ``None``."""

    clock: Clock
    latency: float | None = 0.0
    committed_offsets: dict[int, int] = field(default_factory=dict)
    low: dict[int, int] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    """Partitions whose leader does not answer."""
    waits: list[float] = field(default_factory=list)

    def wait(self, timeout: float, *, silent: bool = False) -> None:
        assert timeout > 0
        taken = timeout if silent or self.latency is None else min(timeout, self.latency)
        self.clock.now += taken
        self.waits.append(taken)
        if silent or self.latency is None or self.latency > timeout:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.wait(timeout)
        return [
            TopicPartition("topic", each.partition, self.committed_offsets.get(each.partition, -1001))
            for each in partitions
        ]

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float, *, cached: bool) -> tuple[int, int]:
        assert not cached
        self.wait(timeout, silent=partition.partition in self.silent)
        return self.low.get(partition.partition, 0), 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def found() -> list[None]:
    return []


@pytest.fixture
def overruns(clock: Clock, found: list[None]) -> Overruns:
    return Overruns("topic", lambda: found.append(None), clock.monotonic)


def consumer_of(broker: Broker) -> Any:
    return broker


def test_deleted_records_are_reported_once_with_their_number(
    clock: Clock, overruns: Overruns, found: list[None]
) -> None:
    broker = Broker(clock, committed_offsets={0: 5, 1: 7}, low={0: 9, 1: 7})
    overruns.assigned([0, 1, 2])
    with capture_logs() as logs:
        overruns.ask(consumer_of(broker), 3.0)
    [line] = logs
    assert (line["log_level"], line["partition"], line["records"]) == ("error", 0, 4)
    assert len(found) == 1
    clock.now += 60
    overruns.step(consumer_of(broker))
    assert len(broker.waits) == 3


def test_a_silent_broker_is_asked_for_a_second_at_a_time_with_pauses_between(
    clock: Clock, overruns: Overruns, found: list[None]
) -> None:
    broker = Broker(clock, latency=None, committed_offsets={0: 5}, low={0: 9})
    overruns.assigned([0])
    began = clock.now
    while clock.now < began + 12:
        before = clock.now
        overruns.step(consumer_of(broker))
        assert clock.now - before <= 1.0
        clock.now += 0.1
    assert len(broker.waits) == 3
    assert overruns.unsettled == {0}
    assert found == []
    broker.latency = 0.5
    clock.now += 3
    overruns.step(consumer_of(broker))
    assert overruns.unsettled == set()
    assert len(found) == 1


def test_a_question_that_a_silent_broker_never_answers_is_dropped_and_logged(
    clock: Clock, overruns: Overruns, found: list[None]
) -> None:
    broker = Broker(clock, latency=None, committed_offsets={0: 5}, low={0: 9})
    overruns.assigned([0])
    with capture_logs() as logs:
        for _ in range(100):
            overruns.step(consumer_of(broker))
            clock.now += 1
    assert [line["partitions"] for line in logs if line["log_level"] == "warning"] == [[0]]
    assert overruns.unsettled == set()
    assert found == []


def test_a_leader_that_does_not_answer_delays_no_other_partition(
    clock: Clock, overruns: Overruns, found: list[None]
) -> None:
    broker = Broker(clock, committed_offsets={0: 5, 1: 5}, low={0: 9, 1: 9}, silent={0})
    overruns.assigned([0, 1])
    overruns.ask(consumer_of(broker), 1.0)
    clock.now += 3
    overruns.step(consumer_of(broker))
    assert len(found) == 1
    broker.silent = set()
    clock.now += 3
    overruns.step(consumer_of(broker))
    assert len(found) == 2


def test_records_that_were_deleted_after_they_were_read_are_not_an_overrun(
    clock: Clock, overruns: Overruns, found: list[None]
) -> None:
    broker = Broker(clock, latency=None, committed_offsets={0: 5}, low={0: 9})
    overruns.assigned([0])
    overruns.ask(consumer_of(broker), 1.0)
    overruns.read(0, 5)
    overruns.read(0, 6)
    broker.latency, clock.now = 0.0, clock.now + 3
    overruns.step(consumer_of(broker))
    assert found == []


def test_nothing_is_asked_about_a_partition_that_is_not_assigned_any_more(clock: Clock, overruns: Overruns) -> None:
    broker = Broker(clock, latency=None)
    overruns.assigned([0])
    overruns.dropped(0)
    overruns.step(consumer_of(broker))
    assert broker.waits == []


class Consumer(steps.Consumer):
    """One membership of the group, at a broker that may be slow."""

    def __init__(self, world: steps.World, broker: Broker) -> None:
        super().__init__(world)
        self._broker = broker

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return self._broker.committed(partitions, timeout)

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float, *, cached: bool) -> tuple[int, int]:
        return self._broker.get_watermark_offsets(partition, timeout, cached=cached)


@dataclass
class World(steps.World):
    """Everything around the group loop. Time passes only while the loop waits for the broker."""

    step_seconds: float = 0.0
    broker: Broker = field(kw_only=True)

    def make_consumer(self, _config: dict[str, Any]) -> Consumer:
        return Consumer(self, self.broker)

    def identify(self, seconds: float) -> str | None:
        try:
            self.broker.wait(seconds)
        except KafkaException:
            return None
        return "first"


def test_a_silent_broker_delays_a_rebalance_by_three_seconds_at_most(clock: Clock) -> None:
    broker = Broker(clock, latency=None, committed_offsets=dict.fromkeys(range(64), 5))
    began = clock.now

    def polled(world: steps.World) -> None:
        assert clock.now - began <= REBALANCE_SECONDS
        assert list(world.group.oldest) == list(range(64))

    World([polled], partitions=tuple(range(64)), clock=clock, broker=broker).run()


def test_all_questions_to_a_slow_broker_share_one_deadline(clock: Clock) -> None:
    broker = Broker(clock, latency=0.5, committed_offsets=dict.fromkeys(range(64), 5), low=dict.fromkeys(range(64), 9))
    began = clock.now

    def polled(_world: steps.World) -> None:
        assert clock.now - began <= REBALANCE_SECONDS

    def pause(_world: steps.World) -> None:
        clock.now += 4

    world = World([polled, *[pause] * 64], partitions=tuple(range(64)), clock=clock, broker=broker)
    world.run()
    assert world.overruns > 3


def test_no_commit_replaces_the_committed_offset_before_it_is_known(clock: Clock) -> None:
    broker = Broker(clock, latency=None, committed_offsets={0: 5}, low={0: 9})

    def uncommitted(world: steps.World) -> None:
        assert world.committed == {}
        broker.latency = 0.0
        clock.now += 4

    def committed(world: steps.World) -> None:
        assert world.committed == {0: 10}

    played = [steps.records(9), steps.done(9), steps.nothing, uncommitted, steps.nothing, committed]
    world = World(played, step_seconds=1.0, clock=clock, broker=broker)
    world.run()
    assert world.overruns == 1


def test_the_commit_of_a_revoked_partition_does_not_block(clock: Clock) -> None:

    def revoke(world: steps.World) -> None:
        member: Any = steps.Consumer(world)
        world.calls.clear()
        world.group._on_revoke(member, [TopicPartition("topic", 0)])
        assert world.calls == ["commit"]
        assert world.committed == {0: 5}

    World([steps.nothing, steps.records(4), steps.done(4), revoke], clock=clock, broker=Broker(clock)).run()


def test_a_partition_whose_committed_offset_is_refused_is_asked_again_and_delays_no_other(
    clock: Clock, overruns: Overruns, found: list[None]
) -> None:
    @dataclass
    class Loading(Broker):
        """Its coordinator knows no offset of partition 0 yet."""

        loading: bool = True

        def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[Any]:
            error = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
            return [
                SimpleNamespace(partition=each.partition, offset=-1001, error=error)
                if self.loading and each.partition == 0
                else each
                for each in super().committed(partitions, timeout)
            ]

    broker = Loading(clock, committed_offsets={0: 5, 1: 5}, low={0: 9, 1: 9})
    overruns.assigned([0, 1])
    overruns.ask(consumer_of(broker), 3.0)
    assert (overruns.unsettled, len(found)) == ({0}, 1)
    broker.loading, clock.now = False, clock.now + 3
    overruns.step(consumer_of(broker))
    assert (overruns.unsettled, len(found)) == (set(), 2)
