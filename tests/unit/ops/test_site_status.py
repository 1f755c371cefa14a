"""What Redis holds of each site reaches the metrics, with a bounded number of questions in each look."""

import re
from typing import Any

from consumer.domain.site import Site
from consumer.ops import site_status
from consumer.ops.metrics import Metrics
from consumer.ops.site_status import SiteStatus
from consumer.sync.sweep_state import SweepState


class Store:
    """Notes which sites were asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def count_dirty(self, site_ids: list[str]) -> dict[str, int]:
        self.asked += site_ids
        return dict.fromkeys(site_ids, 2)

    async def sweep_states(self, site_ids: list[str]) -> dict[str, SweepState]:
        return dict.fromkeys(site_ids, SweepState(7.0, 1, 0))


def shown(metrics: Metrics, name: str) -> dict[str, float]:
    found = re.findall(rf'^calsync_{name}{{site="([^"]+)"}} (\S+)$', metrics.render().decode(), re.MULTILINE)
    return {site_id: float(value) for site_id, value in found}


def of(site_ids: list[str], owned: set[str]) -> tuple[Store, Metrics, SiteStatus]:
    store: Any = Store()
    metrics = Metrics()
    metrics.sites({site_id: Site(site_id, site_id, "UTC", "t", "a", "s") for site_id in site_ids})
    return store, metrics, SiteStatus(store, metrics, owned.__contains__)


async def test_every_site_is_looked_at_in_turn_and_what_is_known_stays(monkeypatch: Any) -> None:
    monkeypatch.setattr(site_status, "SITES_A_LOOK", 2)
    site_ids = ["a", "b", "c", "d", "e"]
    store, metrics, status = of(site_ids, set())
    looks = []
    for _ in range(4):
        store.asked.clear()
        await status.look(site_ids)
        looks.append(list(store.asked))
    assert looks == [["a", "b"], ["c", "d"], ["e"], ["a", "b"]]
    assert shown(metrics, "assignments_dirty") == dict.fromkeys(site_ids, 2.0)


async def test_a_site_that_this_replica_has_just_begun_to_sweep_is_looked_at_first(monkeypatch: Any) -> None:
    monkeypatch.setattr(site_status, "SITES_A_LOOK", 2)
    owned: set[str] = set()
    store, metrics, status = of(["a", "b", "c", "d"], owned)
    await status.look(["a", "b", "c", "d"])
    assert shown(metrics, "sweep_held_deletions") == {}
    owned.add("a")
    store.asked.clear()
    await status.look(["a", "b", "c", "d"])
    assert store.asked == ["a", "c"]
    assert shown(metrics, "sweep_held_deletions") == {"a": 1.0}
    assert shown(metrics, "sweep_last_success_timestamp_seconds") == {"a": 7.0}
    owned.clear()
    await status.look(["a", "b", "c", "d"])
    assert shown(metrics, "sweep_held_deletions") == {}, "another replica sweeps it now"


async def test_no_site_is_no_question() -> None:
    store, _, status = of([], set())
    await status.look([])
    assert store.asked == []
