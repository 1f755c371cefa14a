"""Receipts: the debt that a record leaves until it is done, dead-lettered or handed over."""

from collections.abc import Callable
from typing import Final, NamedTuple

RESULTS: Final = (
    "dead_lettered",
    "handed_over",
    "applied",
    "superseded",
    "stale",
    "unchanged",
    "skipped",
)
"""What can become of a record. One that went to several mailboxes counts once, as the first of these it met."""
_STRONGEST_FIRST: Final = ("outranked", *RESULTS)
"""``outranked`` is met by a sweep's changes alone: the newer state has been known for long, and Core may be right."""


class Place(NamedTuple):
    """Where a record stands in the topic."""

    partition: int
    offset: int


class Receipt:
    """Given back exactly once, when every part of the record's work has ended."""

    __slots__ = ("_give_back", "_live", "_parts", "_result", "covered_by", "place", "rank", "record")

    def __init__(
        self,
        record: object,
        give_back: Callable[["Receipt", str], None],
        live: Callable[[], bool],
        place: Place | None = None,
    ) -> None:
        """
        Args:
            record: what it stands for; only the dead letters look inside.
            give_back: called with the result when all is done.
            live: whether giving it back still means anything: not once its partition has moved away.
            place: of its record; ``None`` for work that no record asked for.
        """
        self.record = record
        self._give_back = give_back
        self._live = live
        self.place = place
        self.covered_by: Place | None = None
        """Of the later record that covers it, or a part of it."""
        self.rank = 0
        """Of the state that it stands for; 0 until that is known."""
        self._parts = 1
        self._result = "skipped"

    @property
    def live(self) -> bool:
        """Whether this replica still answers for the record."""
        return self._live()

    def covers(self, earlier: "Receipt") -> bool:
        """Whether this record is a later one of the same partition, so that the earlier one need not be owed.

        Should this replica die, this record comes again, because no offset is committed past it before it is done.
        """
        mine, other = self.place, earlier.place
        if mine is None or other is None or mine.partition != other.partition:
            return False
        return mine.offset > other.offset and self._live()

    def cover(self, earlier: "Receipt") -> bool:
        """Take over a part of an earlier record, which is given back at once; ``False`` if something might be lost."""
        if not self.covers(earlier):
            return False
        earlier.covered_by = self.place
        earlier.part_done("superseded")
        return True

    def split(self, parts: int) -> None:
        """The work is now in ``parts`` parts instead of one."""
        self._parts += parts - 1

    def part_done(self, result: str) -> None:
        """One part has ended with one of ``RESULTS``, or ``outranked``."""
        if _STRONGEST_FIRST.index(result) < _STRONGEST_FIRST.index(self._result):
            self._result = result
        self._parts -= 1
        if self._parts == 0:
            self._give_back(self, self._result)
