"""The ledger of one partition: which offsets are done, and how far that allows to commit. Pure."""

import math
from collections import OrderedDict


class Ledger:
    """Offsets come in ascending order, with gaps where the log was compacted, and end in any order.

    Only those that are not done take memory, however far behind the others the first of them stays.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self.bytes = 0
        """How large the records that are not done are together."""
        self._next: int | None = None
        self._stored: int | None = None

    def __len__(self) -> int:
        """How many offsets are not done."""
        return len(self._open)

    def add(self, offset: int, timestamp: float, size: int) -> None:
        """A record was taken from the partition; ``timestamp`` is its Unix time, ``size`` is in bytes."""
        self._open[offset] = timestamp, size
        self.bytes += size
        self._next = offset + 1

    def reached(self, end: int) -> None:
        """Nothing more is to come before the offset ``end``.

        Offsets without a record (a transaction's commit marker, what compaction removed) are passed in this way only.
        """
        self._next = max(self._next or 0, end)

    @property
    def next(self) -> int | None:
        """The lowest offset that may still come; ``None`` before the first."""
        return self._next

    def done(self, offset: int, covered_by: int | None = None) -> None:
        """The record at ``offset`` is done; telling it again changes nothing.

        If it is so because the one at ``covered_by`` covers it, what it said waits on there, as old as it is.
        """
        timestamp, size = self._open.pop(offset, (math.inf, 0))
        self.bytes -= size
        if covered_by is not None and covered_by in self._open:
            own, size = self._open[covered_by]
            self._open[covered_by] = min(own, timestamp), size

    def first_open(self) -> int | None:
        """The first offset that is not done; ``None`` when all are."""
        return next(iter(self._open), None)

    def oldest(self) -> float | None:
        """The time since which something waits; ``None`` when all is done."""
        return min((timestamp for timestamp, _ in self._open.values()), default=None)

    def take_position(self) -> int | None:
        """The offset to commit, if it has moved since the last call: that of the first record not yet done."""
        first = self.first_open()
        position = self._next if first is None else first
        if position is None or position == self._stored:
            return None
        self._stored = position
        return position

    def forget_position(self) -> None:
        """The position last taken was not committed: give it again."""
        self._stored = None
