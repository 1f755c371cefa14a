"""Blocked partitions: they are paused, rewound past the block, and read again from there."""

import pytest
from confluent_kafka import KafkaError

from consumer.kafka.blocks import Action, due_actions
from tests.unit.kafka.group_world import Step, World, done, nothing, records


def block(world: World) -> None:
    world.requests.blocked = {0: 6}


def unblock(world: World) -> None:
    world.requests.blocked = {}


def paused(*partitions: int) -> Step:
    def check(world: World) -> None:
        assert world.paused == set(partitions)

    return check


def test_a_blocked_partition_is_paused_and_records_past_the_block_are_read_again() -> None:
    steps = [records(5, 6, 7), block, nothing, paused(0), done(5), nothing, paused(0), unblock, nothing, paused()]
    world = World([*steps, records(6), done(6)], partitions=(0, 1))
    world.run()
    assert world.seeks == [(0, 6)]
    assert [record.offset for record in world.records] == [5, 6, 7, 6]
    assert [record.epoch.live for record in world.records[:3]] == [False] * 3
    assert world.committed == {0: 7}


def test_a_seek_that_fails_is_tried_again_before_the_partition_is_unblocked() -> None:
    steps = [records(6, 7), block, nothing, unblock, paused(0), nothing, paused()]
    world = World([*steps, records(6)], seek_errors=[KafkaError._STATE] * 4)
    world.run()
    assert world.seek_errors == []
    assert world.seeks == [(0, 6)]
    assert [record.offset for record in world.records] == [6, 7, 6]


def test_a_blocked_partition_is_as_old_as_its_first_record_that_is_not_read() -> None:
    def oldest(expected: dict[int, float | None]) -> Step:
        def check(world: World) -> None:
            assert world.group.oldest == expected

        return check

    steps = [
        records(6, 7),
        block,
        nothing,
        oldest({0: 6.0, 1: None}),
        unblock,
        nothing,
        nothing,
        oldest({0: None, 1: None}),
    ]
    World(steps, partitions=(0, 1)).run()


@pytest.mark.parametrize(
    ("first_open", "begins_at", "lifted", "actions"),
    [
        # A record before the block is still under way.
        (5, 6, False, ()),
        (5, 6, True, ()),
        # Only records past the block are open.
        (6, 6, False, ("rewind",)),
        (9, 6, True, ("rewind", "lift")),
        (0, None, False, ("rewind",)),
        # Everything that was read is done.
        (None, 6, False, ()),
        (None, 6, True, ("lift",)),
        (None, None, True, ("lift",)),
    ],
)
def test_which_actions_are_due(
    *, first_open: int | None, begins_at: int | None, lifted: bool, actions: tuple[Action, ...]
) -> None:
    assert due_actions(first_open, begins_at, lifted=lifted) == actions
