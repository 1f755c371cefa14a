"""The queries of the runbooks and of the dashboards: each must return data at some time of the game day."""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import httpx

from sandbox.servers.process import REPOSITORY
from tests.gameday.monitoring import Monitoring

RUNBOOKS: Final = REPOSITORY / "consumer/ops/runbooks"

_BLOCK: Final = re.compile(r"^ {0,3}```promql\n(.*?)^ {0,3}```", re.MULTILINE | re.DOTALL)
_VARIABLES: Final[Mapping[str, str]] = {
    "__rate_interval": "1m",
    "__interval": "30s",
    "__range": "15m",
    "site": ".*",
    "topic": ".*",
    "partition": ".*",
    "operation": ".*",
}
"""What Grafana puts in place of a variable."""


@dataclass(slots=True)
class Queries:
    """Queries by where they are from, and those that have not returned data yet."""

    queries: Sequence[tuple[str, str]]
    empty: dict[tuple[str, str], str] = field(default_factory=dict)
    """Each with the reason."""

    @classmethod
    def of_this_repository(cls) -> Self:
        """Returns the queries of every runbook and every panel."""
        queries = [(file.name, query) for file in sorted(RUNBOOKS.glob("*.md")) for query in of_runbook(file)]
        queries += _of_dashboards()
        return cls(queries, dict.fromkeys(queries, "no data"))

    async def try_all(self, monitoring: Monitoring) -> None:
        """Runs each query that has not returned data yet."""
        for each in list(self.empty):
            try:
                if await monitoring.query(filled_in(each[1])):
                    del self.empty[each]
            except httpx.HTTPStatusError as error:
                self.empty[each] = str(error)

    def problems(self) -> list[str]:
        """Returns a line for each query that never returned data."""
        return [f"{where}: {reason}: {query}" for (where, query), reason in self.empty.items()]


def of_runbook(file: Path) -> list[str]:
    """Returns the queries of a runbook: its blocks of promql. An empty line separates two queries."""
    blocks = _BLOCK.findall(file.read_text(encoding="utf-8"))
    return [query.strip() for block in blocks for query in re.split(r"\n\s*\n", block) if query.strip()]


def filled_in(query: str) -> str:
    """Returns a query with values in place of Grafana's variables."""
    return re.sub(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)", lambda found: _VARIABLES.get(found[1] or found[2], ".*"), query)


def _of_dashboards() -> list[tuple[str, str]]:
    """Returns where each panel's query is, and the query. Nothing if there are no dashboards in this repository."""
    if not (REPOSITORY / "monitoring/dashboards").exists():
        return []
    return list(importlib.import_module("monitoring.dashboards").queries())
