"""Receipts: each stands for the open work of a record until that is done, dead-lettered or handed over."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

RecordResult: TypeAlias = Literal[
    "dead_lettered",
    "handed_over",
    "applied",
    "superseded",
    "stale",
    "unchanged",
    "skipped",
]
"""What can become of a record, the strongest first. A record for several mailboxes counts once, as its strongest."""
ChangeResult: TypeAlias = Literal["outranked"] | RecordResult
"""What can become of a change in one mailbox.

Only a sweep's change can be ``outranked``: newer states have been known for a long time, but Core may be right.
"""
RESULTS: Final[tuple[RecordResult, ...]] = get_args(RecordResult)
_STRONGEST_FIRST: Final[tuple[ChangeResult, ...]] = ("outranked", *RESULTS)


class Place(NamedTuple):
    """Where a record stands in the topic."""

    partition: int
    offset: int


class Receipt:
    """Stands for one record's open work. It is given back exactly once, when every part of that work has ended."""

    __slots__ = ("_give_back", "_live", "_parts", "_result", "covered_by", "place", "rank", "record")

    def __init__(
        self,
        record: object,
        give_back: Callable[["Receipt", ChangeResult], None],
        live: Callable[[], bool],
        place: Place | None = None,
    ) -> None:
        """
        Args:
            record: what it stands for; only the dead letters look inside.
            give_back: called with the result when all parts are done.
            live: whether this replica still answers for the record: not after its partition has moved to another one.
            place: of its record; ``None`` for work that no record asked for.
        """
        self.record = record
        self._give_back = give_back
        self._live = live
        self.place = place
        self.covered_by: int | None = None
        """The offset of the later record, of the same partition, that covers this one or a part of it."""
        self.rank = 0
        """The rank of the state that it stands for; 0 until that is known."""
        self._parts = 1
        self._result: ChangeResult = "skipped"

    @property
    def live(self) -> bool:
        """Whether this replica still answers for the record."""
        return self._live()

    def covers(self, earlier: "Receipt") -> bool:
        """Whether this record comes later in the same partition, so that the earlier one may count as done.

        If this replica dies, the later record is delivered again, because no offset is committed past it before it is
        done.
        """
        mine, other = self.place, earlier.place
        if mine is None or other is None or mine.partition != other.partition:
            return False
        return mine.offset > other.offset and self._live()

    def cover(self, earlier: "Receipt") -> bool:
        """Take over one part of an earlier record, and end that part; ``False`` if this one does not cover it."""
        if self.place is None or not self.covers(earlier):
            return False
        earlier.covered_by = self.place.offset
        earlier.part_done("superseded")
        return True

    def split(self, parts: int) -> None:
        """The work is now in ``parts`` parts instead of one."""
        self._parts += parts - 1

    def part_done(self, result: ChangeResult) -> None:
        """One part has ended with this result."""
        if _STRONGEST_FIRST.index(result) < _STRONGEST_FIRST.index(self._result):
            self._result = result
        self._parts -= 1
        if self._parts == 0:
            self._give_back(self, self._result)
