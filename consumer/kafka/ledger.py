"""The ledger of one partition: which offsets are done, and how far that allows to commit. Pure."""

from collections import deque


class Ledger:
    """Offsets come in ascending order, with gaps where the log was compacted, and end in any order."""

    def __init__(self) -> None:
        self._open: deque[tuple[int, float]] = deque()
        self._done: set[int] = set()
        self._next: int | None = None
        self._stored: int | None = None

    def __len__(self) -> int:
        """How many offsets are not done."""
        return len(self._open) - len(self._done)

    def add(self, offset: int, timestamp: float) -> None:
        """A record was taken from the partition; ``timestamp`` is its Unix time."""
        self._open.append((offset, timestamp))
        self._next = offset + 1

    def done(self, offset: int) -> None:
        """The record at ``offset`` is done; telling it again changes nothing."""
        if not self._open or offset < self._open[0][0]:
            return
        self._done.add(offset)
        while self._open and self._open[0][0] in self._done:
            self._done.discard(self._open.popleft()[0])

    def first_open(self) -> int | None:
        """The first offset that is not done; ``None`` when all are."""
        return self._open[0][0] if self._open else None

    def oldest(self) -> float | None:
        """The time of the oldest record not yet done; ``None`` when all are."""
        return self._open[0][1] if self._open else None

    def take_position(self) -> int | None:
        """The offset to commit, if it has moved since the last call: that of the first record not yet done."""
        position = self._open[0][0] if self._open else self._next
        if position is None or position == self._stored:
            return None
        self._stored = position
        return position

    def forget_position(self) -> None:
        """The position last taken was not committed: give it again."""
        self._stored = None
