"""The metrics that the service exports: from its catalogue, or as agreed on while there is no catalogue yet."""

from importlib import import_module
from importlib.util import find_spec
from typing import Final

CATALOGUE: Final = "consumer.ops.metric_catalogue"
AGREED: Final = frozenset(
    {
        "calsync_assignments_dirty",
        "calsync_build_info",
        "calsync_cdc_heartbeat_timestamp_seconds",
        "calsync_client_secret_expiry_timestamp_seconds",
        "calsync_core_up",
        "calsync_dead_letters_total",
        "calsync_event_latency_seconds",
        "calsync_events_total",
        "calsync_foreign_answers_total",
        "calsync_graph_request_seconds",
        "calsync_graph_requests_total",
        "calsync_graph_throttled_total",
        "calsync_kafka_blocked",
        "calsync_kafka_committed_offset",
        "calsync_kafka_lag",
        "calsync_kafka_lag_seconds",
        "calsync_kafka_records_lost_total",
        "calsync_kafka_up",
        "calsync_kafka_waiting_seconds",
        "calsync_lanes_busy",
        "calsync_lanes_waiting",
        "calsync_mailboxes_parked",
        "calsync_mailboxes_unavailable",
        "calsync_redis_up",
        "calsync_redis_writable",
        "calsync_site_paused",
        "calsync_site_up",
        "calsync_site_waiting",
        "calsync_sites_file_last_success_timestamp_seconds",
        "calsync_sweep_held_deletions",
        "calsync_sweep_last_success_timestamp_seconds",
        "calsync_sweep_repairs_total",
        "calsync_sweep_seconds",
        "calsync_unusable_total",
    }
)
PROCESS: Final = frozenset(
    {
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    }
)
"""prometheus_client's own."""
PROMETHEUS: Final = frozenset({"ALERTS", "up"})
"""Series that Prometheus itself makes."""


def exported() -> frozenset[str]:
    """The names of the service's metrics, each with its prefix; of a histogram without ``_bucket`` and its like."""
    if find_spec(CATALOGUE) is None:
        return AGREED
    names = {str(metric.name) for metric in import_module(CATALOGUE).METRICS}
    return frozenset(name if name.startswith(("calsync_", "process_")) else f"calsync_{name}" for name in names)


def is_known(series: str, recorded: set[str]) -> bool:
    """Whether a series is exported, recorded by a rule, or made by Prometheus."""
    known = exported() | PROCESS | PROMETHEUS | recorded
    bases = {series, *(series.removesuffix(suffix) for suffix in ("_bucket", "_count", "_sum", "_total"))}
    return bool(bases & known)
