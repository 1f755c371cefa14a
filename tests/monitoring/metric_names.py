"""The metrics of the service with their labels, for tests that read queries."""

from typing import Final

LABELS: Final[dict[str, set[str]]] = {
    "calsync_assignments_dirty": {"site"},
    "calsync_build_info": {"version", "python"},
    "calsync_cdc_heartbeat_timestamp_seconds": set(),
    "calsync_client_secret_expiry_timestamp_seconds": {"site"},
    "calsync_core_up": set(),
    "calsync_dead_letters_total": {"reason"},
    "calsync_event_latency_seconds": set(),
    "calsync_events_total": {"result"},
    "calsync_foreign_answers_total": {"part"},
    "calsync_graph_request_seconds": {"operation"},
    "calsync_graph_requests_total": {"operation", "status"},
    "calsync_graph_throttled_total": set(),
    "calsync_kafka_blocked": {"topic", "partition"},
    "calsync_kafka_committed_offset": {"topic", "partition"},
    "calsync_kafka_lag": {"topic", "partition"},
    "calsync_kafka_lag_seconds": {"topic", "partition"},
    "calsync_kafka_records_lost_total": {"topic"},
    "calsync_kafka_up": set(),
    "calsync_kafka_waiting_seconds": {"topic", "partition", "cause"},
    "calsync_lanes_busy": set(),
    "calsync_lanes_waiting": set(),
    "calsync_mailboxes_parked": {"site", "reason"},
    "calsync_mailboxes_unavailable": {"site"},
    "calsync_redis_up": set(),
    "calsync_redis_writable": set(),
    "calsync_site_paused": {"site"},
    "calsync_site_up": {"site"},
    "calsync_site_waiting": {"site"},
    "calsync_sites_file_last_success_timestamp_seconds": set(),
    "calsync_sweep_held_deletions": {"site"},
    "calsync_sweep_last_success_timestamp_seconds": {"site"},
    "calsync_sweep_repairs_total": {"site", "cause"},
    "calsync_sweep_seconds": {"site"},
    "calsync_unusable_total": {"kind"},
    "process_cpu_seconds_total": set(),
    "process_max_fds": set(),
    "process_open_fds": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
    "process_virtual_memory_bytes": set(),
}
HISTOGRAMS: Final = {"calsync_event_latency_seconds", "calsync_graph_request_seconds", "calsync_sweep_seconds"}


def labels_of(series: str) -> set[str]:
    """The labels of a series by its name, without those that Prometheus adds. Raises KeyError if nobody exports it."""
    for name in HISTOGRAMS:
        if series in {f"{name}_bucket", f"{name}_count", f"{name}_sum"}:
            return LABELS[name] | ({"le"} if series.endswith("_bucket") else set())
    if series in HISTOGRAMS:
        raise KeyError(series)
    return LABELS[series]
