"""The rolling window is half-open."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.window import Window

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
WINDOW = Window.of(NOW, 21)
END = NOW + timedelta(days=21)
MINUTE = timedelta(minutes=1)
MINUTES = st.integers(-5, 21 * 24 * 60 + 5).map(lambda minutes: NOW + minutes * MINUTE)


@pytest.mark.parametrize(
    ("start", "end", "held"),
    [
        (NOW - MINUTE, NOW, False),
        (NOW - MINUTE, NOW + MINUTE, True),
        (NOW, NOW + MINUTE, True),
        (NOW, NOW, True),
        (NOW - MINUTE, NOW - MINUTE, False),
        (END - MINUTE, END + MINUTE, True),
        (END, END + MINUTE, False),
        (END, END, False),
        (END - MINUTE, END - MINUTE, True),
        (NOW - MINUTE, END + MINUTE, True),
    ],
)
def test_a_job_is_in_the_window_if_it_overlaps_and_one_without_length_if_its_start_is_inside(
    start: datetime, end: datetime, held: bool
) -> None:
    assert WINDOW.holds(start, end) is held


@given(st.tuples(MINUTES, MINUTES).map(sorted))
def test_a_job_is_in_the_window_exactly_if_one_of_its_minutes_is(times: list[datetime]) -> None:
    start, end = times
    inside = max(start, NOW) < min(end, END) if start < end else NOW <= start < END
    assert WINDOW.holds(start, end) is inside


@given(MINUTES, st.integers(1, 30))
def test_a_moment_is_in_exactly_one_of_two_adjoining_windows(moment: datetime, days: int) -> None:
    next_window = Window.of(END, days)
    if NOW <= moment < next_window.end:
        assert WINDOW.holds(moment, moment) != next_window.holds(moment, moment)
