"""Stories of kills, freezes, lost leases, lost data and busy people, by seed."""

import pytest

from tests.simulation.__main__ import result
from tests.simulation.loop import simulate
from tests.simulation.story import KINDS, Story

SEEDS = range(2, 4)
"""Of each kind. ``make sim`` plays as many as you like, and ``.ci/run`` plays 40 of each."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_story_ends_with_exact_calendars_and_without_a_violation(kind: str, seed: int) -> None:
    simulate(Story(KINDS[kind], seed).play())


@pytest.mark.parametrize("failure", [AssertionError(), AssertionError("two events"), KeyError("job")])
def test_a_story_that_fails_without_a_message_fails_the_test(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def judge(_: Story) -> None:
        raise failure

    monkeypatch.setattr(Story, "judge", judge)
    assert result(Story(KINDS["people"], 0))
