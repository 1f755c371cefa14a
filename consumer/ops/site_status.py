"""What Redis holds of each site, put into the metrics: a few hundred sites at a time."""

from collections.abc import Callable, Collection
from typing import Final

from consumer.ops.metrics import Metrics
from consumer.sync.operator_store import StatusStore
from consumer.sync.sweep_state import SweepState

SITES_A_LOOK: Final = 500
"""So a look costs the same with any number of sites; with 10,000, each site is looked at every 100 seconds."""


class SiteStatus:
    """The dirty marks of every site, and what the last sweeps found of those that this replica sweeps.

    Holds one entry for each site of the sites file.
    """

    def __init__(self, store: StatusStore, metrics: Metrics, owns: Callable[[str], bool]) -> None:
        """``owns`` says whether this replica sweeps a site."""
        self._store = store
        self._metrics = metrics
        self._owns = owns
        self._dirty: dict[str, int] = {}
        self._swept: dict[str, SweepState] = {}
        self._last = ""
        """The last site of the look before."""

    async def look(self, site_ids: Collection[str]) -> None:
        """Look at the next sites, and first at those that this replica has just begun to sweep.

        Raises ``StoreUnavailableError``.
        """
        ours = {site_id for site_id in site_ids if self._owns(site_id)}
        new = sorted(ours - self._swept.keys())[:SITES_A_LOOK]
        following = sorted(site_id for site_id in site_ids if site_id > self._last)[: SITES_A_LOOK - len(new)]
        looked_at = [*new, *(site_id for site_id in following if site_id not in new)]
        dirty = await self._store.count_dirty(looked_at)
        swept = await self._store.sweep_states([site_id for site_id in looked_at if site_id in ours])
        self._last = following[-1] if following and following[-1] != max(site_ids) else ""
        self._dirty = {site_id: count for site_id, count in (self._dirty | dirty).items() if site_id in site_ids}
        self._swept = {site_id: state for site_id, state in (self._swept | swept).items() if site_id in ours}
        self._metrics.dirty(self._dirty)
        self._metrics.sweep_states(self._swept)
