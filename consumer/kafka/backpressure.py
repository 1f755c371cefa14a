"""Back-pressure: which partitions to pause because too much waits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

log = structlog.get_logger(__name__)

RESUME_AT: Final = 0.95
"""How full it may be to resume. During an outage the work that waits for Graph stays, so new records must fit beside
it."""
RELIEVE_AT: Final = 0.8
"""How full it must be to ask for relief."""
RELIEF_SECONDS: Final = 1.0
"""The least time between two requests for relief."""
RESUME_SHARE: Final = 0.5
"""How much of its share a partition may hold to be read again."""


@dataclass(frozen=True, slots=True)
class Load:
    """Records that were read and are not done. A record that a later one covers is done."""

    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The high-water mark: consumption pauses above either number. So they bound all that waits in this replica."""

    records: int = 20_000
    bytes: int = 32 * 2**20
    """Needed beside the number of records: a job with long notes takes a multiple of the usual half a kilobyte."""

    def fullness(self, load: Load, shares: int = 1) -> float:
        """How much of one of these equal shares of the limits the load takes; 1 is all of it. Pure."""
        return max(load.records * shares / self.records, load.bytes * shares / self.bytes)


class BackPressure:
    """Decides from the load of each assigned partition what to pause. Calls nothing but the log."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.pause_all = False
        """Whether to pause every partition: the load is above the high-water mark, or the replica drains."""
        self.over_share: set[int] = set()
        """The partitions to pause because a record of theirs waits and they hold more than their share. At most all
        assigned ones."""
        self._relieved_at = float("-inf")

    def update(self, loads: Mapping[int, Load], waiting: frozenset[int], now: float, *, draining: bool) -> bool:
        """Decide again.

        Args:
            loads: of each assigned partition.
            waiting: partitions with a record that cannot be finished now.
            now: on the monotonic clock.
            draining: whether to read no more records.

        Returns:
            Whether to ask for relief: the high-water mark is nearly reached. At most once a second.
        """
        total = Load(sum(load.records for load in loads.values()), sum(load.bytes for load in loads.values()))
        fullness = self._limits.fullness(total)
        pause_all = draining or fullness > (RESUME_AT if self.pause_all else 1.0)
        if pause_all != self.pause_all:
            self.pause_all = pause_all
            log.info(
                "consumption paused" if pause_all else "consumption resumed", records=total.records, bytes=total.bytes
            )
        self._update_shares(loads, waiting)
        if fullness <= RELIEVE_AT or now - self._relieved_at < RELIEF_SECONDS:
            return False
        self._relieved_at = now
        return True

    def dropped(self, partition: int) -> None:
        """The partition is not assigned any more."""
        self.over_share.discard(partition)

    def _update_shares(self, loads: Mapping[int, Load], waiting: frozenset[int]) -> None:
        """Half of the limits, in equal shares, is for partitions that wait. The other half is for the rest."""
        if not waiting and not self.over_share:
            return
        shares = 2 * len(loads)
        fullness = {partition: self._limits.fullness(load, shares) for partition, load in loads.items()}
        over = over_their_share(waiting, fullness, self.over_share)
        for partition in sorted(over - self.over_share):
            log.warning("partition paused: a record waits and the partition's share is full", partition=partition)
        self.over_share = over


def over_their_share(waiting: frozenset[int], fullness: Mapping[int, float], paused: set[int]) -> set[int]:
    """The partitions to pause because they hold more than their share while a record of theirs waits. Pure.

    A partition that waits would otherwise fill the whole high-water mark, and then no partition is read.

    Args:
        waiting: partitions with a record that cannot be finished now.
        fullness: of each assigned partition, how much of its share it holds; 1 is all of it.
        paused: what this function returned last. A partition stays paused until it holds half of its share.
    """
    over = {partition for partition in waiting if fullness.get(partition, 0.0) > 1.0}
    return over | {partition for partition in paused if fullness.get(partition, 0.0) > RESUME_SHARE}
