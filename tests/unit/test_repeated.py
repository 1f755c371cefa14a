"""Trouble that repeats is logged at once, once a minute, and when it has ended."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.repeated import Repeated


class Trouble:
    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[tuple[float, str, dict[str, Any]]] = []
        self.repeated = Repeated(lambda: self.now, most=3)

    def write(self, event: str, **fields: Any) -> None:
        self.lines.append((self.now - 1000, event, fields))

    def happened(self, reason: str = "refused", kind: str = "redis") -> None:
        self.repeated.happened(kind, self.write, f"{kind} is down", reason=reason)

    def ended(self, kind: str = "redis") -> None:
        self.repeated.ended(kind, self.write, f"{kind} answers again")


def test_trouble_that_lasts_costs_a_line_a_minute_with_its_count_and_newest_reason() -> None:
    trouble = Trouble()
    for second in range(150):
        trouble.now = 1000.0 + second
        trouble.happened(f"reason {second}")
    trouble.ended()
    trouble.ended()
    assert trouble.lines == [
        (0, "redis is down", {"reason": "reason 0"}),
        (60, "redis is down", {"reason": "reason 60", "repeated": 60}),
        (120, "redis is down", {"reason": "reason 120", "repeated": 60}),
        (149, "redis answers again", {"seconds": 149.0}),
    ]


def test_no_end_is_logged_of_trouble_that_was_not_there() -> None:
    trouble = Trouble()
    trouble.ended()
    assert trouble.lines == []


def test_trouble_after_a_minute_of_peace_is_logged_at_once() -> None:
    trouble = Trouble()
    trouble.happened()
    trouble.ended()
    trouble.now += 60
    trouble.happened()
    assert [line[1] for line in trouble.lines] == ["redis is down", "redis answers again", "redis is down"]
    assert "repeated" not in trouble.lines[-1][2]


@given(st.lists(st.tuples(st.floats(0.01, 5), st.booleans()), max_size=300))
def test_flapping_costs_at_most_two_lines_a_minute(steps: list[tuple[float, bool]]) -> None:
    trouble = Trouble()
    for seconds, fails in steps:
        trouble.now += seconds
        if fails:
            trouble.happened()
        else:
            trouble.ended()
    for at, _, _ in trouble.lines:
        assert sum(at <= other < at + 60 for other, _, _ in trouble.lines) <= 3
    assert len(trouble.lines) <= 2 * ((trouble.now - 1000) // 60 + 1)


def test_kinds_are_counted_apart_and_the_oldest_are_forgotten() -> None:
    trouble = Trouble()
    for kind in "abcda":
        trouble.happened(kind=kind)
    assert [line[1] for line in trouble.lines] == ["a is down", "b is down", "c is down", "d is down", "a is down"]
    assert trouble.repeated.lasts("d")
    trouble.ended("d")
    assert not trouble.repeated.lasts("d")
    assert not trouble.repeated.lasts("b")
