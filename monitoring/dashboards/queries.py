"""The queries of the dashboards, with the values that Grafana would fill in: to run them against a Prometheus."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from monitoring.dashboards.files import DASHBOARDS

_VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")


class Query(NamedTuple):
    """One query of one panel."""

    dashboard: str
    """The dashboard's uid."""
    panel: str
    panel_id: int
    kind: Literal["stat", "timeseries", "table"]
    ref: str
    legend: str
    """With ``{{label}}`` for the labels of the series; empty for a table."""
    expression: str
    """PromQL without variables."""

    def __str__(self) -> str:
        return f"{self.dashboard}, {self.panel!r} {self.ref}: {self.expression}"


def values(
    *, site: str, job: str = ".+", instance: str = ".+", rate_interval: str = "1m", shown: str = "15m"
) -> dict[str, str]:
    """What the variables of the dashboards stand for: ``shown`` is the time range, as in ``15m``."""
    return {"site": site, "job": job, "instance": instance, "__rate_interval": rate_interval, "__range": shown}


def filled(expression: str, variables: Mapping[str, str]) -> str:
    """``expression`` without variables. Raises KeyError if it has one that has no value."""
    return _VARIABLE.sub(lambda match: variables[match[1]], expression)


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The panels of a dashboard's JSON, without the headings of rows. Those inside collapsed rows too."""
    for panel in dashboard.get("panels", ()):
        if panel["type"] == "row":
            yield from panels(panel)
        else:
            yield panel


def queries_of(dashboard: Mapping[str, Any], variables: Mapping[str, str]) -> list[Query]:
    """Every query of one dashboard's JSON."""
    return [
        Query(
            dashboard["uid"],
            panel["title"],
            panel["id"],
            panel["type"],
            target["refId"],
            target.get("legendFormat", ""),
            filled(target["expr"], variables),
        )
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    ]


def all_queries(variables: Mapping[str, str]) -> list[Query]:
    """Every query of every panel of all dashboards.

    A panel shows data if :func:`shows` is true for one of its queries: some queries give none while nothing is wrong,
    for example the reasons of parked mailboxes.
    """
    return [query for build in DASHBOARDS.values() for query in queries_of(json.loads(build()), variables)]


def shows(answer: Mapping[str, Any]) -> bool:
    """Whether Prometheus's answer to an instant query has a number: NaN stands for no data."""
    return any(not math.isnan(float(series["value"][1])) for series in answer["data"]["result"])
