"""The ledger of one partition: which offsets are done, and which offset may be committed. Pure."""

import math
from collections import OrderedDict


class Ledger:
    """Offsets are added in ascending order, with gaps where the log was compacted, and end in any order.

    Holds one entry for each record that is not done, which back-pressure bounds. Records that are done take no memory.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self.bytes = 0
        """The size of all records that are not done."""
        self._next: int | None = None
        self._stored: int | None = None

    def __len__(self) -> int:
        """How many records are not done."""
        return len(self._open)

    def add(self, offset: int, timestamp: float, size: int) -> None:
        """Add a record that was read; ``timestamp`` is its Unix time, ``size`` is in bytes."""
        self._open[offset] = timestamp, size
        self.bytes += size
        self._next = offset + 1

    def reached(self, end: int) -> None:
        """No more records come before the offset ``end``.

        Only this passes offsets without a record: transactions' markers, and what compaction removed.
        """
        self._next = max(self._next or 0, end)

    @property
    def next(self) -> int | None:
        """The lowest offset that may still come; ``None`` before the first."""
        return self._next

    def done(self, offset: int, covered_by: int | None = None) -> None:
        """The record at ``offset`` is done. A second call for it changes nothing.

        The record at ``covered_by``, a later one, takes over this record's timestamp if that is older.
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
        """Unix time of the oldest record that is not done; ``None`` when all are done."""
        return min((timestamp for timestamp, _ in self._open.values()), default=None)

    def take_position(self) -> int | None:
        """The offset to commit: that of the first record not done. ``None`` if it has not moved since the last call."""
        first = self.first_open()
        position = self._next if first is None else first
        if position is None or position == self._stored:
            return None
        self._stored = position
        return position

    def forget_position(self) -> None:
        """The position last taken was not committed: return it again."""
        self._stored = None
