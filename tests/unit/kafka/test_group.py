"""The group loop: what it commits, when it starts again from the beginning, and how it follows rebalances."""

from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from structlog.testing import capture_logs

from tests.unit.kafka.group_world import Consumer, Message, Step, World, done, end, nothing, records


def test_a_stop_commits_what_is_done_and_nothing_that_is_not() -> None:
    world = World([nothing, records(4, 5, 6), done(4, 6)], step_seconds=0)
    world.run()
    assert world.committed == {0: 5}
    assert world.calls == ["join", "commit and wait", "close"]


def test_the_last_commit_is_tried_again_after_a_rebalance_made_it_fail() -> None:
    world = World([nothing, records(4), done(4)], step_seconds=0, last_commit_errors=[KafkaError.REBALANCE_IN_PROGRESS])
    world.run()
    assert world.committed == {0: 5}
    assert world.calls.count("commit and wait") == 2


def test_receipts_that_come_during_the_stop_are_committed() -> None:
    def stop(world: World) -> None:
        world.requests.stopping.set()
        world.done(4, 5)

    world = World([nothing, records(4, 5), stop], step_seconds=0)
    world.run()
    assert world.committed == {0: 6}


def test_a_stop_before_the_first_step_joins_no_group() -> None:
    world = World([])
    world.requests.stopping.set()
    assert not world.group.step()
    assert world.calls == []


def test_each_step_polls_once_and_only_close_ends_a_loop_that_nobody_stopped() -> None:
    world = World([records(4), nothing, nothing])
    assert world.group.step()
    assert [record.offset for record in world.records] == [4]
    assert world.group.joined
    assert world.group.oldest == {0: 4.0}
    world.group.close()
    assert world.calls[-1] == "close"
    assert world.group.oldest == {}


def test_a_fatal_error_ends_the_loop_with_a_reason_after_a_last_commit() -> None:
    class Fatal(Message):
        def error(self) -> KafkaError:
            return KafkaError(KafkaError._FATAL, "fenced", True)

    def fatal(world: World) -> list[Message]:
        world.done(4)
        return [Fatal(0, 0)]

    world = World([nothing, records(4), fatal], step_seconds=0)
    while world.group.step():
        pass
    assert "fenced" in str(world.group.fault)
    assert world.committed == {0: 5}
    assert world.calls == ["join", "commit and wait", "close"]


def test_a_draining_loop_reads_no_more_records_and_still_commits() -> None:
    def drain(world: World) -> None:
        world.requests.draining.set()

    def is_paused(world: World) -> None:
        assert world.paused == {0, 1}
        world.done(4)

    def is_committed(world: World) -> None:
        assert world.committed == {0: 5}

    World([records(4), drain, is_paused, nothing, is_committed], partitions=(0, 1)).run()


def test_transaction_markers_are_committed_once_no_record_before_them_is_open() -> None:
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
    World([*steps, end(6), nothing, committed(6)]).run()


def test_a_quiet_partition_is_committed_to_its_end() -> None:
    world = World([end(7)])
    world.run()
    assert world.committed == {0: 7}


def test_a_topic_that_was_created_again_is_read_from_its_beginning_and_committed() -> None:
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
    world.run()
    assert [(record.offset, record.epoch.topic_id) for record in world.records] == [
        (4, "first"),
        (5, "first"),
        (0, "second"),
        (1, "second"),
    ]
    assert not any(record.epoch.live for record in world.records[:2])
    assert world.assigned == [{0: -1001}, {0: OFFSET_BEGINNING}]
    assert world.committed == {0: 2}


def test_a_topic_with_another_id_is_read_from_its_beginning_even_if_its_offsets_continued() -> None:
    """The new topic had more records than the old one when librdkafka continued to read."""

    def created_again(world: World) -> None:
        world.topic_id = "second"
        world.requests.topic_id = "second"

    world = World([records(4), done(4), records(5), created_again, nothing, records(0)])
    world.run()
    assert [(record.offset, record.epoch.topic_id) for record in world.records][-1] == (0, "second")
    assert world.assigned[-1] == {0: OFFSET_BEGINNING}
    assert world.calls.count("join") == 2


def test_partitions_assigned_long_after_the_topic_was_created_again_are_read_from_their_committed_offset() -> None:
    def created_again(world: World) -> list[Message]:
        return [Message(0, 0)]

    def rebalance(world: World) -> None:
        consumer: Any = Consumer(world)
        world.clock.now += 61
        world.group._on_lost(consumer, [TopicPartition("topic", 0)])
        world.group._on_assign(consumer, [TopicPartition("topic", 0)])

    world = World([records(4), created_again, nothing, rebalance])
    world.run()
    assert world.assigned == [{0: -1001}, {0: OFFSET_BEGINNING}, {0: -1001}]


def test_a_topic_id_that_becomes_known_later_or_is_not_known_now_changes_nothing() -> None:
    def saw(topic_id: str | None) -> Step:
        def step(world: World) -> None:
            world.requests.topic_id = topic_id

        return step

    world = World([records(4), saw("first"), nothing, saw(None), nothing, saw(""), records(5)], topic_id=None)
    world.run()
    assert world.calls.count("join") == 1
    assert {record.epoch.topic_id for record in world.records} == {"first"}


def test_an_assigned_partition_is_resumed_unless_it_is_blocked() -> None:
    """In librdkafka a pause outlives a rebalance."""

    def rebalance(world: World) -> None:
        world.requests.blocked = {1: 0}
        consumer: Any = Consumer(world)
        both = [TopicPartition("topic", 0), TopicPartition("topic", 1)]
        world.paused.add(0)
        world.group._on_lost(consumer, both)
        world.group._on_assign(consumer, both)
        assert world.paused == {1}

    World([nothing, rebalance], partitions=(0, 1)).run()


@pytest.mark.parametrize("code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT])
def test_an_error_that_librdkafka_repeats_is_logged_every_thirty_seconds(code: int) -> None:
    world = World([])
    report: Any = world.group._config["error_cb"]
    with capture_logs() as logs:
        for _ in range(61):
            report(KafkaError(code))
            world.clock.now += 1
    assert [line["event"] for line in logs] == ["Kafka error"] * 3
