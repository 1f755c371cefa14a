"""A commit that the broker refuses is given again, and a stop does not wait for a broker that refuses for ever."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.testing import capture_logs

from consumer.kafka.commits import LAST_COMMIT_SECONDS
from tests.unit.kafka import group_world as steps


class Consumer(steps.Consumer):
    """A member whose commits may be refused before they are sent."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._refusals = world.refusals
        self._clock = world.clock

    def store_offsets(self, *, offsets: list[TopicPartition]) -> None:
        if self._refusals:
            raise KafkaException(KafkaError(self._refusals.pop(0)))
        super().store_offsets(offsets=offsets)

    def commit(self, *, asynchronous: bool, offsets: list[TopicPartition] | None = None) -> None:
        if offsets is not None and self._refusals:
            raise KafkaException(KafkaError(self._refusals.pop(0)))
        if not asynchronous:
            self._clock.now += 0.5
        super().commit(asynchronous=asynchronous, offsets=offsets)


@dataclass
class World(steps.World):
    """A broker that refuses the next commits with these codes."""

    refusals: list[int] = field(default_factory=list)

    def make_consumer(self, _config: dict[str, Any]) -> Consumer:
        return Consumer(self)


def refuse_next(code: int) -> steps.Step:
    def step(world: steps.World) -> None:
        assert isinstance(world, World)
        world.refusals.append(code)

    return step


def committed(offsets: dict[int, int]) -> steps.Step:
    def step(world: steps.World) -> None:
        assert world.committed == offsets

    return step


def answered(error: KafkaError | None, *offsets: TopicPartition) -> steps.Step:
    """The broker's answer to an earlier commit, as librdkafka reports it; the committed offsets are forgotten."""

    def step(world: steps.World) -> None:
        world.committed = {}
        on_commit: Callable[..., None] = world.group._config["on_commit"]
        on_commit(error, list(offsets))

    return step


def place(error: KafkaError | None = None) -> Any:
    class Answered:
        partition = 0
        offset = 5

    Answered.error = error  # type: ignore[attr-defined]
    return Answered


def test_a_commit_that_cannot_be_started_is_started_again_with_the_next() -> None:
    played = [steps.records(4), steps.nothing, committed({0: 4}), refuse_next(KafkaError._STATE), steps.done(4)]
    World([*played, steps.nothing, committed({0: 4}), committed({0: 5})]).run()


@pytest.mark.parametrize(
    ("error", "offset"),
    [
        (KafkaError(KafkaError.REBALANCE_IN_PROGRESS), place()),
        (None, place(KafkaError(KafkaError.NOT_COORDINATOR))),
    ],
    ids=["as a whole", "for one partition"],
)
def test_offsets_whose_commit_failed_are_committed_again(error: KafkaError | None, offset: TopicPartition) -> None:
    played = [steps.nothing, steps.records(4), steps.done(4), steps.nothing, committed({0: 5})]
    World([*played, answered(error, offset), steps.nothing, committed({0: 5})]).run()


@pytest.mark.parametrize(
    ("error", "offset"),
    [
        (KafkaError(KafkaError._NO_OFFSET), place()),
        (None, place()),
    ],
    ids=["nothing to commit", "committed"],
)
def test_offsets_whose_commit_succeeded_are_not_committed_again(
    error: KafkaError | None, offset: TopicPartition
) -> None:
    played = [steps.nothing, steps.records(4), steps.done(4), steps.nothing, committed({0: 5})]
    World([*played, answered(error, offset), steps.nothing, committed({})]).run()


def test_a_failed_commit_of_a_partition_that_was_revoked_meanwhile_is_forgotten() -> None:
    other: Any = place(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
    other.partition = 7
    World([steps.nothing, answered(None, other), steps.nothing, committed({})]).run()


def test_a_stop_waits_about_two_seconds_for_a_broker_that_refuses_the_last_commit() -> None:
    world = World(
        [steps.nothing, steps.records(4), steps.done(4)],
        step_seconds=0,
        last_commit_errors=[KafkaError.COORDINATOR_NOT_AVAILABLE] * 20,
    )
    began = world.clock.now
    world.run()
    assert LAST_COMMIT_SECONDS <= world.clock.now - began <= LAST_COMMIT_SECONDS + 1
    assert "close" in world.calls


@pytest.mark.parametrize("code", [KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._NO_OFFSET])
def test_a_stop_does_not_try_a_last_commit_again_that_cannot_succeed(code: int) -> None:
    world = World([steps.nothing, steps.records(4)], step_seconds=0, last_commit_errors=[code] * 20)
    world.run()
    assert world.calls.count("commit and wait") == 1
    assert "close" in world.calls


def test_a_stop_with_nothing_to_commit_logs_no_failure() -> None:
    with capture_logs() as logs:
        World([steps.nothing], step_seconds=0, last_commit_errors=[KafkaError._NO_OFFSET]).run()
    assert "commit postponed" not in [line["event"] for line in logs]


def test_a_refused_commit_of_revoked_partitions_does_not_stop_the_rebalance() -> None:
    def revoke(world: steps.World) -> None:
        assert isinstance(world, World)
        world.refusals.append(KafkaError.ILLEGAL_GENERATION)
        member: Any = Consumer(world)
        world.group._on_revoke(member, [TopicPartition("topic", 0)])
        assert world.group.oldest == {}

    World([steps.nothing, steps.records(4), steps.done(4), revoke, committed({})], step_seconds=0).run()


def test_an_error_of_the_broker_is_logged_and_the_records_beside_it_are_read() -> None:
    class Failed(steps.Message):
        def error(self) -> KafkaError:
            return KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)

    world = World([lambda _world: [Failed(0, 0), steps.Message(0, 4)]])
    world.run()
    assert [record.offset for record in world.records] == [4]


def test_a_record_of_a_partition_that_was_taken_away_is_not_delivered() -> None:
    world = World([steps.nothing, steps.records(4, partition=7), steps.end(5, partition=7)])
    world.run()
    assert world.records == []
    assert world.committed == {}
