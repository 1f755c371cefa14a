"""Back-pressure: what is paused, by how much waits."""

import pytest

from consumer.kafka.backpressure import BackPressure, Limits, Load, over_their_share
from tests.unit.kafka.group_world import Step, World, done, nothing, records


def test_a_waiting_partition_is_paused_at_its_share_and_the_others_are_read() -> None:
    def waits(*partitions: int) -> Step:
        def step(world: World) -> None:
            world.requests.waiting = frozenset(partitions)

        return step

    def paused(*partitions: int) -> Step:
        def check(world: World) -> None:
            assert world.paused == set(partitions)

        return check

    # Of 40, half is shared by 2: 10 each.
    steps: list[Step] = [
        *(waits(0), records(*range(10)), nothing, paused()),
        *(records(*range(10, 12)), nothing, paused(0)),
        *(records(*range(15), partition=1), nothing, paused(0)),
        # When it no longer waits, it is read again once half of its share is free.
        *(waits(), done(*range(6)), nothing, paused(0)),
        *(done(*range(6, 8)), nothing, paused()),
        # A partition that does not wait has no share of its own.
        *(records(*range(12, 24)), nothing, paused()),
    ]
    World(steps, partitions=(0, 1), limits=Limits(records=40)).run()


def test_all_partitions_are_paused_above_the_high_water_mark_and_relief_is_asked_for_before() -> None:
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
    World(steps, partitions=(0, 1), step_seconds=0).run()


def test_relief_is_asked_for_again_after_a_second() -> None:
    world = World([records(*range(18)), nothing, nothing])
    world.run()
    assert world.pressed == 3


def test_relief_is_asked_for_at_most_once_a_second() -> None:
    pressure = BackPressure(Limits(records=10))
    answers = [
        pressure.update({0: Load(9, 0)}, frozenset(), now, draining=False) for now in (5.0, 5.5, 5.9, 6.0, 6.5, 7.0)
    ]
    assert answers == [True, False, False, True, False, True]


def test_the_size_of_records_counts_as_well_as_their_number() -> None:
    def full(world: World) -> None:
        assert world.paused == {0}

    World([records(1, 2, size=600), nothing, full], limits=Limits(bytes=1_000)).run()


@pytest.mark.parametrize(
    ("paused", "count", "draining", "expected"),
    [
        (False, 20, False, False),
        (False, 21, False, True),
        (True, 20, False, True),
        (True, 19, False, False),
        (False, 0, True, True),
        (True, 0, True, True),
    ],
)
def test_consumption_pauses_above_the_mark_and_resumes_when_a_twentieth_is_free(
    *, paused: bool, count: int, draining: bool, expected: bool
) -> None:
    pressure = BackPressure(Limits(records=20))
    pressure.pause_all = paused
    pressure.update({0: Load(count, 0)}, frozenset(), 0.0, draining=draining)
    assert pressure.pause_all is expected


def test_fullness_is_that_of_the_fuller_limit() -> None:
    limits = Limits(records=100, bytes=1_000)
    assert limits.fullness(Load(50, 100)) == 0.5
    assert limits.fullness(Load(10, 700)) == 0.7
    assert limits.fullness(Load(10, 100), shares=4) == 0.4


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
def test_which_partitions_are_over_their_share(
    waiting: set[int], fullness: dict[int, float], before: set[int], paused: set[int]
) -> None:
    assert over_their_share(frozenset(waiting), fullness, before) == paused
