"""What Prometheus answers to a panel's queries."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import httpx

from monitoring.dashboards.queries import filled

POINTS: Final = 120
"""How many points a line has."""


class Span(NamedTuple):
    """The time that is shown, in Unix seconds."""

    start: float
    end: float

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return max(1.0, (self.end - self.start) / POINTS)


class Series(NamedTuple):
    """A line."""

    legend: str
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Unix time and value; without values that are NaN."""
    last: float
    """The last value, which may be NaN."""


class Answers:
    """Asks one Prometheus for one span of time."""

    def __init__(self, client: httpx.Client, span: Span, variables: Mapping[str, str]) -> None:
        self.span = span
        self._client = client
        self._variables = variables

    def lines(self, target: Mapping[str, Any]) -> list[Series]:
        """The lines of a query over time."""
        start, end = self.span
        found = self._ask("query_range", target, start=start, end=end, step=self.span.step)
        return [_series(target, each["metric"], each["values"]) for each in found]

    def now(self, target: Mapping[str, Any]) -> list[Series]:
        """The values of a query at the end of the span."""
        found = self._ask("query", target, time=self.span.end)
        return [_series(target, each["metric"], [each["value"]]) for each in found]

    def _ask(self, endpoint: str, target: Mapping[str, Any], **parameters: float) -> list[dict[str, Any]]:
        query = filled(target["expr"], self._variables)
        answer = self._client.post(f"/api/v1/{endpoint}", data={"query": query, **parameters})
        body = answer.json()
        if body["status"] != "success":
            raise ValueError(f"{query}: {body['error']}")
        found: list[dict[str, Any]] = body["data"]["result"]
        return found


def _series(target: Mapping[str, Any], labels: Mapping[str, str], values: Sequence[tuple[float, str]]) -> Series:
    legend = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), target.get("legendFormat", ""))
    points = [(float(at), float(value)) for at, value in values]
    numbers = [(at, value) for at, value in points if not math.isnan(value)]
    return Series(legend, labels, numbers, points[-1][1])
