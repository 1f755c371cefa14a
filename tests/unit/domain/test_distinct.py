"""Counting different names in constant memory."""

import pytest

from consumer.domain.distinct import Distinct


def counted(names: range, kept: int = 4096) -> Distinct:
    distinct = Distinct(kept)
    for number in names:
        distinct.add(f"acme/{number}")
    return distinct


def test_a_name_counts_once_however_often_it_comes() -> None:
    distinct = counted(range(21))
    for number in range(21):
        distinct.add(f"acme/{number}")
    assert len(distinct) == 21


@pytest.mark.parametrize("names", [0, 1, 4095])
def test_few_names_are_counted_exactly(names: int) -> None:
    assert len(counted(range(names))) == names


def test_many_names_are_estimated_from_a_bounded_set() -> None:
    distinct = counted(range(100_000))
    assert len(distinct) == pytest.approx(100_000, rel=0.1)  # six standard errors
    assert len(distinct._hashes) == len(distinct._largest_first) == 4096
    once_more = len(distinct)
    for number in range(100_000):
        distinct.add(f"acme/{number}")
    assert len(distinct) == once_more
