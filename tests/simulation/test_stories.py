"""Stories of kills, freezes, lost leases, a forgetful store and busy people, by seed."""

import pytest

from tests.simulation.loop import simulate
from tests.simulation.story import KINDS, Story

SEEDS = range(2, 6)
"""Of each kind; ``make sim`` plays as many as you like."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_everything_is_right_in_the_end_and_nothing_wrong_on_the_way(kind: str, seed: int) -> None:
    simulate(Story(KINDS[kind], seed).play())
