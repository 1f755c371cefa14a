"""How many different names there are among many, in constant memory."""

import heapq
from typing import Final

_LOWEST: Final = -(2**63)
_RANGE: Final = 2.0**64


class Distinct:
    """Counts different names: exactly below ``kept`` of them, from there on as an estimate.

    Only the ``kept`` smallest of the names' 8-byte hashes are kept. If there were more, the largest hash kept shows
    how densely they lie (the k-minimum-values sketch: Bar-Yossef et al., "Counting distinct elements in a data
    stream", 2002). At 4,096 hashes the estimate is 1.6 % wrong (standard error).
    """

    def __init__(self, kept: int = 4096) -> None:
        self._kept = kept
        self._hashes: set[int] = set()
        self._largest_first: list[int] = []
        """The same hashes, negated: a heap."""

    def add(self, name: str) -> None:
        """Count the name, unless it was counted before."""
        # str.__hash__ is SipHash, 64 bits, signed; a string keeps it, so this costs nearly nothing.
        hashed = hash(name)
        if len(self._hashes) < self._kept:
            if hashed not in self._hashes:
                self._hashes.add(hashed)
                heapq.heappush(self._largest_first, -hashed)
        elif hashed < -self._largest_first[0] and hashed not in self._hashes:
            self._hashes.add(hashed)
            self._hashes.remove(-heapq.heappushpop(self._largest_first, -hashed))

    def __len__(self) -> int:
        if len(self._hashes) < self._kept:
            return len(self._hashes)
        covered = (-self._largest_first[0] - _LOWEST) / _RANGE
        return round((self._kept - 1) / covered)
