"""A budget grants as many requests as Graph does, and never more."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.graph.budget import Budget


def test_half_of_the_budget_is_granted_at_once_and_the_rest_over_time() -> None:
    budget = Budget(10, 60)
    assert [budget.take("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert budget.take("a", 0.0) == 12.0
    assert budget.take("a", 11.9) > 0
    assert budget.take("a", 12.0) == 0.0


def test_each_key_has_its_own_budget() -> None:
    budget = Budget(2, 60)
    assert budget.take("a", 0.0) == 0.0
    assert budget.take("a", 0.0) > 0
    assert budget.take("b", 0.0) == 0.0


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(2, 20))
def test_no_interval_contains_more_requests_than_the_limit(gaps: list[float], limit: int) -> None:
    budget, now, taken = Budget(limit, 60), 0.0, []
    for gap in gaps:
        now += gap
        if budget.take("a", now) == 0:
            taken.append(now)
    for first in taken:
        assert sum(first <= at < first + 60 for at in taken) <= limit


@given(st.lists(st.floats(0, 30), min_size=1, max_size=100))
def test_a_caller_that_waits_the_returned_time_is_granted(gaps: list[float]) -> None:
    budget, now = Budget(10, 60), 0.0
    for gap in gaps:
        now += gap
        wait = budget.take("a", now)
        if wait:
            now += wait + 1e-6
            assert budget.take("a", now) == 0
