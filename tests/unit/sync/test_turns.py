"""Which lane runs next: round-robin by app, and never all runs for a few apps."""

from collections import Counter

import pytest

from consumer.sync.turns import SERVED_SECONDS, Slots, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def started(slots: Slots, turns: Turns[str]) -> list[str]:
    """Starts as many lanes as possible, in the order of their turns."""
    lanes = []
    while slots.free > 0 and (lane := turns.take()) is not None:
        slots.start(lane.partition(":")[0])
        lanes.append(lane)
    return lanes


def waiting(turns: Turns[str], app: str, count: int) -> None:
    for number in range(count):
        turns.add(app, f"{app}:{number}")


def served(slots: Slots, *apps: str) -> None:
    for app in apps:
        slots.start(app)
        slots.end(app, well=True)


def test_apps_take_turns_and_lanes_of_an_app_go_in_their_order() -> None:
    slots = Slots(100, Clock())
    served(slots, "a", "b", "c")
    turns: Turns[str] = Turns(slots)
    waiting(turns, "a", 4)
    waiting(turns, "b", 1)
    waiting(turns, "c", 2)
    assert started(slots, turns) == ["a:0", "b:0", "c:0", "a:1", "c:1", "a:2", "a:3"]


def test_one_busy_app_has_four_fifths_of_the_runs() -> None:
    slots = Slots(640, Clock())
    served(slots, "a")
    turns: Turns[str] = Turns(slots)
    waiting(turns, "a", 1000)
    assert len(started(slots, turns)) == 512


@pytest.mark.parametrize("answer", [True, False], ids=["slow", "hanging"])
@pytest.mark.parametrize("count", [5, 50])
def test_slow_tenants_leave_runs_for_a_healthy_one(count: int, answer: bool) -> None:
    slots = Slots(640, Clock())
    slow = [f"slow-{number}" for number in range(count)]
    if answer:
        served(slots, *slow)
    turns: Turns[str] = Turns(slots)
    for app in slow:
        waiting(turns, app, 1000)
    started(slots, turns)
    turns.add("well", "well:first")
    assert started(slots, turns) == ["well:first"]
    slots.end("well", well=True)
    turns.ended("well")
    waiting(turns, "well", 100)
    assert len(started(slots, turns)) >= (3 if answer else 50)


def test_an_app_that_is_not_served_holds_a_few_runs_until_one_ends_well() -> None:
    slots = Slots(640, clock := Clock())
    turns: Turns[str] = Turns(slots)
    waiting(turns, "a", 1000)
    first = len(started(slots, turns))
    assert first < 32
    slots.end("a", well=False)
    turns.ended("a")
    assert len(started(slots, turns)) == 1
    slots.end("a", well=True)
    turns.ended("a")
    assert len(started(slots, turns)) > 400
    clock.now += SERVED_SECONDS
    slots.end("a", well=False)
    turns.ended("a")
    assert started(slots, turns) == []


def test_no_lane_is_lost_or_run_twice_in_any_order_of_endings() -> None:
    slots = Slots(16, clock := Clock())
    turns: Turns[str] = Turns(slots)
    for app in ("a", "b", "c"):
        waiting(turns, app, 50)
    ran: Counter[str] = Counter()
    running: list[str] = []
    while batch := started(slots, turns) + running:
        ran.update(lane for lane in batch if lane not in running)
        lane, *running = batch
        clock.now += 3.0
        slots.end(lane[0], well=lane[0] != "b")
        turns.ended(lane[0])
    assert ran == Counter(f"{app}:{number}" for app in "abc" for number in range(50))
    assert slots.free == 16


@pytest.mark.parametrize("is_served", [True, False])
def test_a_lane_that_no_longer_waits_is_not_run(is_served: bool) -> None:
    slots = Slots(4, Clock())
    if is_served:
        served(slots, "a")
    turns: Turns[str] = Turns(slots)
    waiting(turns, "a", 10)
    lanes = started(slots, turns)
    turns.remove("a", "a:7")
    while lanes:
        slots.end("a", well=is_served)
        turns.ended("a")
        lanes.pop()
        new = started(slots, turns)
        assert "a:7" not in new
        lanes += new
    assert not turns
