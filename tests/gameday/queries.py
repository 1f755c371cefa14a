"""The queries of the runbooks and of the dashboards: each must return data at some time of the game day."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx

from monitoring.dashboards.queries import all_queries, values
from sandbox.servers.process import REPOSITORY
from tests.gameday.monitoring import Monitoring

RUNBOOKS: Final = REPOSITORY / "consumer/ops/runbooks"

_BLOCK: Final = re.compile(r"^ {0,3}```promql\n(.*?)^ {0,3}```", re.MULTILINE | re.DOTALL)


@dataclass(slots=True)
class Queries:
    """Queries by where they are from. A place needs data from one of its queries: a panel may have several."""

    places: Mapping[str, Sequence[str]]
    empty: dict[str, str] = field(default_factory=dict)
    """The places that have shown no data yet, with the reason."""

    @classmethod
    def of_this_repository(cls, site: str) -> Self:
        """Returns the queries of every runbook and every panel. `site` is the one that a dashboard shows."""
        places: dict[str, Sequence[str]] = {}
        for file in sorted(RUNBOOKS.glob("*.md")):
            for query in of_runbook(file):
                places[f"{file.name}: {' '.join(query.split())}"] = [query]
        places |= _of_dashboards(site)
        return cls(places, dict.fromkeys(places, "no data"))

    async def try_all(self, monitoring: Monitoring) -> None:
        """Runs the queries of each place that has shown no data yet."""
        for place in list(self.empty):
            try:
                if await _has_data(self.places[place], monitoring):
                    del self.empty[place]
            except httpx.HTTPStatusError as error:
                self.empty[place] = str(error)

    def problems(self) -> list[str]:
        """Returns a line for each place that never showed data."""
        return [f"{reason}: {place}" for place, reason in self.empty.items()]


def of_runbook(file: Path) -> list[str]:
    """Returns the queries of a runbook: its blocks of promql. An empty line separates two queries."""
    blocks = _BLOCK.findall(file.read_text(encoding="utf-8"))
    return [query.strip() for block in blocks for query in re.split(r"\n\s*\n", block) if query.strip()]


def _of_dashboards(site: str) -> dict[str, list[str]]:
    """Returns the queries of each panel, with values in place of Grafana's variables."""
    panels: dict[str, list[str]] = defaultdict(list)
    for query in all_queries(values(site=site)):
        panels[f"dashboard {query.dashboard}, panel {query.panel!r}"].append(query.expression)
    return panels


async def _has_data(queries: Sequence[str], monitoring: Monitoring) -> bool:
    for query in queries:
        if any(_is_number(sample) for sample in await monitoring.query(monitoring.shortened(query))):
            return True
    return False


def _is_number(sample: Any) -> bool:
    """Returns whether a sample has a number. NaN stands for no data."""
    value = sample["value"][1] if isinstance(sample, dict) else sample[1]
    return not math.isnan(float(value))
