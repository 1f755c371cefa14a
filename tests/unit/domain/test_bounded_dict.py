"""The dict that drops its oldest entry."""

from consumer.domain.bounded_dict import BoundedDict


def filled(*keys: str, most: int = 3) -> BoundedDict[str, int]:
    entries: BoundedDict[str, int] = BoundedDict(most)
    for number, key in enumerate(keys):
        entries[key] = number
    return entries


def test_the_oldest_entry_is_dropped() -> None:
    assert list(filled("a", "b", "c", "d")) == ["b", "c", "d"]


def test_an_entry_that_is_written_again_is_the_newest() -> None:
    entries = filled("a", "b", "c", "a", "d")
    assert dict(entries) == {"c": 2, "a": 3, "d": 4}


def test_setdefault_keeps_the_first_value_and_its_place() -> None:
    entries = filled("a", "b", "c")
    assert entries.setdefault("a", 9) == 0
    assert entries.setdefault("d", 9) == 9
    assert list(entries) == ["b", "c", "d"]


def test_an_update_is_bounded_too() -> None:
    entries = filled("a", "b")
    entries.update({"c": 2, "d": 3})
    assert list(entries) == ["b", "c", "d"]


def test_a_dropped_entry_is_gone() -> None:
    entries = filled("a", "b")
    assert entries.pop("a") == 0
    assert entries.pop("a", None) is None
    assert "a" not in entries
    assert len(entries) == 1


def test_the_newest_comes_first_in_reverse() -> None:
    assert list(reversed(filled("a", "b", "c", "d"))) == ["d", "c", "b"]
