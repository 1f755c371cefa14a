"""A sample of changes of the alerting rules, each of which a promtool test must notice."""

from pathlib import Path
from typing import Final

from tests.monitoring import mutants

ONE_IN: Final = 10
"""The share of the changes. ``make alert-mutants`` tries all of them."""


def test_a_sample_of_changed_rules_fails_its_tests(promtool: Path) -> None:
    sample = mutants.chosen((), ONE_IN, 0)
    assert len(sample) > 50
    left = list(mutants.survivors(mutants.Bench(promtool), sample, workers=2))
    assert [mutants.difference(mutant) for mutant in left] == []
