"""The tables in docs/metrics.md, written from the catalogue: ``python -m tests.metrics_page`` writes them again."""

from itertools import groupby
from pathlib import Path
from typing import Final

from consumer.ops.metric_catalogue import METRICS, Metric
from tests import marked

PAGE: Final = Path(__file__).parents[1] / "docs" / "metrics.md"
WRITER: Final = "tests/metrics_page.py"
_HEAD: Final = "| metric | type | meaning | what to do |\n|---|---|---|---|\n"


def tables() -> str:
    """A table for each area."""
    parts = []
    for area, metrics in groupby(METRICS, key=lambda metric: metric.area):
        parts.append(f"### {area[0].upper()}{area[1:]}\n\n{_HEAD}")
        parts += [f"{_row(metric)}\n" for metric in metrics]
        parts.append("\n")
    return "".join(parts)


def _row(metric: Metric) -> str:
    labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
    return f"| `{metric.name}{labels}` | {metric.kind} | {metric.meaning} | {metric.action} |"


def main() -> None:
    marked.write(PAGE, WRITER, tables())


if __name__ == "__main__":
    main()
