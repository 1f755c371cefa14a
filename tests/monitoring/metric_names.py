"""The metrics of the service with their labels, for tests that read queries."""

from typing import Final

from consumer.ops.metric_catalogue import METRICS

_PROCESS: Final = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
"""prometheus_client's own."""
_PROMETHEUS: Final = frozenset({"ALERTS", "up"})
"""Series that Prometheus itself makes."""
LABELS: Final = {metric.name: set(metric.labels) for metric in METRICS} | {name: set[str]() for name in _PROCESS}
_HISTOGRAMS: Final = {metric.name for metric in METRICS if metric.kind == "histogram"}
_PARTS: Final = ("_bucket", "_count", "_sum")


def labels_of(series: str) -> set[str]:
    """The labels of a series by its name, without those that Prometheus adds. Raises KeyError if nobody exports it."""
    for name in _HISTOGRAMS:
        if series in {name + part for part in _PARTS}:
            return LABELS[name] | ({"le"} if series.endswith("_bucket") else set())
    if series in _HISTOGRAMS:
        raise KeyError(series)
    return LABELS[series]


def is_known(series: str, recorded: set[str]) -> bool:
    """Whether a series is exported, recorded by a rule, or made by Prometheus."""
    if series in recorded | _PROMETHEUS:
        return True
    try:
        labels_of(series)
    except KeyError:
        return False
    return True
