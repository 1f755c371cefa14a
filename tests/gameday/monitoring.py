"""A real Prometheus and Alertmanager with the shortened rules, and a record of every alert that fired."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import yaml

from sandbox.servers.alertmanager import Alertmanager
from sandbox.servers.process import REPOSITORY
from sandbox.servers.prometheus import Prometheus
from tests.gameday import shortened
from tests.gameday.pager import Alert

RULES: Final = REPOSITORY / "helm/core-calendar-sync/files/rules.yaml"
ALERTMANAGER: Final = REPOSITORY / "monitoring/alertmanager.yaml"
DASHBOARDS: Final = "http://localhost:3000"

_LATENCY_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)
_EVERY_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Sources:
    """The files that the game day tries."""

    rules: Path = RULES
    alertmanager: Path = ALERTMANAGER


@dataclass(slots=True)
class Observed:
    """An alert that was seen. Times are of `time.monotonic`; None: not (yet)."""

    alert: Alert
    pending: float | None = None
    fired: float | None = None
    gone: float | None = None
    inhibited_by: set[str] = field(default_factory=set)

    def told(self, since: float) -> str:
        """Returns a line about it, with times in seconds after `since`."""

        def at(moment: float | None) -> str:
            return "-" if moment is None else f"{moment - since:.0f}"

        severity = self.alert.labels.get("severity", "?")
        by = f", inhibited by {', '.join(sorted(self.inhibited_by))}" if self.inhibited_by else ""
        times = f"pending {at(self.pending)}, fired {at(self.fired)}, gone {at(self.gone)}"
        return f"{severity}: {self.alert}: {times}{by}"


class Monitoring:
    """Runs both servers while its context lasts. `targets` are the replicas' addresses by name."""

    def __init__(
        self, folder: Path, sources: Sources, factor: float, targets: Mapping[str, str], pager_url: str
    ) -> None:
        self.seen: list[Observed] = []
        """Every alert from the start, in the order in which they were first seen."""
        self._factor = factor
        rules = shortened.rules(_load(sources.rules), factor, _LATENCY_BUCKETS)
        self._rules_file = folder / "prometheus" / "rules.yaml"
        self._rules_file.parent.mkdir(parents=True, exist_ok=True)
        self._rules_file.write_text(yaml.safe_dump(rules, sort_keys=False, width=1_000), encoding="utf-8")
        routes = shortened.alertmanager(_load(sources.alertmanager), factor, pager_url)
        self.alertmanager = Alertmanager(folder / "alertmanager", yaml.safe_dump(routes, sort_keys=False))
        self.calsync_url = f"http://{next(iter(targets.values()))}"
        self.prometheus = Prometheus(
            folder / "prometheus", yaml.safe_dump(self._configuration(targets), sort_keys=False)
        )
        self._client = httpx.AsyncClient(timeout=10)
        self._current: dict[frozenset[tuple[str, str]], Observed] = {}
        self._watch: asyncio.Task[None] | None = None

    def _configuration(self, targets: Mapping[str, str]) -> dict[str, Any]:
        return {
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": shortened.INTERVAL,
                "external_labels": {"calsync_url": self.calsync_url, "grafana_url": DASHBOARDS},
            },
            "rule_files": [self._rules_file.name],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [self.alertmanager.url.removeprefix("http://")]}]}],
                # An external label would become a label of each alert.
                "alert_relabel_configs": [{"action": "labeldrop", "regex": "calsync_url|grafana_url"}],
            },
            "scrape_configs": [{"job_name": "calsync", "static_configs": [{"targets": list(targets.values())}]}],
        }

    def shortened(self, expression: str) -> str:
        """Returns an expression with its times divided, as those of the rules are."""
        return shortened.expression(expression, self._factor, _LATENCY_BUCKETS)

    async def query(self, expression: str) -> list[Any]:
        """Returns the samples of an instant query. Raises httpx.HTTPStatusError with Prometheus' answer."""
        answer = await self._client.post(f"{self.prometheus.url}/api/v1/query", data={"query": expression})
        if answer.is_error:
            raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
        data = answer.json()["data"]
        return list(data["result"]) if data["resultType"] in ("vector", "matrix") else [data["result"]]

    def pages_now(self) -> list[Observed]:
        """Returns the alerts of severity `page` that are pending or firing."""
        return [observed for observed in self._current.values() if observed.alert.pages]

    def firing_now(self) -> list[Observed]:
        """Returns all alerts that fire, except those of severity `none`."""
        return [
            observed
            for observed in self._current.values()
            if observed.fired is not None and observed.alert.labels.get("severity") != "none"
        ]

    def since(self, moment: float) -> list[Observed]:
        """Returns the alerts that fired, or were pending, after the moment."""
        return [each for each in self.seen if each.gone is None or each.gone > moment]

    async def _look(self) -> None:
        answer = await self._client.get(f"{self.prometheus.url}/api/v1/alerts")
        moment = time.monotonic()
        there: set[frozenset[tuple[str, str]]] = set()
        for alert in answer.json()["data"]["alerts"]:
            key = frozenset(alert["labels"].items())
            there.add(key)
            observed = self._current.get(key)
            if observed is None:
                observed = self._current[key] = Observed(Alert(alert["labels"], alert["annotations"]))
                self.seen.append(observed)
            if alert["state"] == "pending" and observed.pending is None:
                observed.pending = moment
            if alert["state"] == "firing" and observed.fired is None:
                observed.fired = moment
        for key in self._current.keys() - there:
            self._current.pop(key).gone = moment
        await self._look_at_inhibitions()

    async def _look_at_inhibitions(self) -> None:
        alerts = (await self._client.get(f"{self.alertmanager.url}/api/v2/alerts")).json()
        names = {alert["fingerprint"]: alert["labels"]["alertname"] for alert in alerts}
        for alert in alerts:
            observed = self._current.get(frozenset(alert["labels"].items()))
            if observed is not None:
                observed.inhibited_by |= {names.get(mark, mark) for mark in alert["status"]["inhibitedBy"]}

    async def _keep_looking(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(_EVERY_SECONDS)

    def check(self) -> None:
        """Raises what ended the watch, if it has ended."""
        if self._watch is not None and self._watch.done():
            self._watch.result()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.alertmanager.start)
        await asyncio.to_thread(self.prometheus.start)
        self._watch = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.to_thread(self.prometheus.stop)
        await asyncio.to_thread(self.alertmanager.stop)
        await self._client.aclose()


def _load(file: Path) -> dict[str, Any]:
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise TypeError(f"{file} is not a mapping")
    return document
