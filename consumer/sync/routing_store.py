"""What routing needs of the store."""

from collections.abc import Sequence
from typing import Protocol

from consumer.sync.dirty_marks import DirtyMarks
from consumer.sync.ranks import RankRequest, Routed


class RoutingStore(DirtyMarks, Protocol):
    """Ranks, holders and the fuse, for routing. Raises ``StoreUnavailableError``."""

    async def route(self, requests: Sequence[RankRequest]) -> list[Routed]:
        """Raise each job's newest known rank, and return who holds the job, in one round trip."""

    async def count_deletions(self, site_id: str, jobs: Sequence[str], seconds: float) -> tuple[int, int]:
        """Add jobs whose rows were deleted, and count those of the site within ``seconds``.

        Returns that number, and the number of the site's jobs that had an event in the window at its last complete
        sweep.
        """

    async def coming(self, site_id: str) -> int:
        """The number of a site's jobs with a linked event that is not over. Slow: it reads every link of the site."""
