"""Every metric of the service as data: name, labels, meaning, and what to do about it.

:mod:`consumer.ops.metrics` builds them from here; ``docs/metrics.md`` is written from here by
``python -m tests.metrics_page``. No label ever names a mailbox, a worker or a job.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Area = Literal["changes", "Kafka", "Graph", "sweeps", "sites", "dependencies", "process"]

PREFIX: Final = "calsync_"
_TOPIC: Final = ("topic", "partition")
_SITE: Final = ("site",)
_LATENCY_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)
_SWEEP_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_REQUEST_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    area: Area
    kind: Kind
    short_name: str
    """Its name without the prefix."""
    meaning: str
    """What it shows; Prometheus gets it as the help text."""
    action: str
    """What to do when it is not as it should be; empty if there is nothing to do."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram."""

    @property
    def name(self) -> str:
        """Its name in Prometheus."""
        return PREFIX + self.short_name


METRICS: Final = (
    Metric(
        "changes",
        "counter",
        "events_total",
        "Records of the topic that are done, each once, by result.",
        "If it stops while kafka_lag is above 0, the consumer is stuck. Many handed_over: see assignments_dirty.",
        ("result",),
    ),
    Metric(
        "changes",
        "histogram",
        "event_latency_seconds",
        "Time from the commit in Core's database to Graph's acceptance; snapshots are left out.",
        "The objective is 60 s for 99 % of the changes. If missed, see kafka_lag_seconds and graph_request_seconds.",
        buckets=_LATENCY_BUCKETS,
    ),
    Metric(
        "changes",
        "gauge",
        "lanes_busy",
        "Mailboxes that this replica works on now.",
        "",
    ),
    Metric(
        "changes",
        "gauge",
        "lanes_waiting",
        "Mailboxes with work that waits in this replica.",
        "If it grows: site_waiting shows for which sites, graph_throttled_total whether Graph slows us down.",
    ),
    Metric(
        "changes",
        "counter",
        "dead_letters_total",
        "Records that were dead-lettered, by reason.",
        "List them with `calsync dead-letters list`; when the cause is repaired, `calsync dead-letters replay`.",
        ("reason",),
    ),
    Metric(
        "changes",
        "counter",
        "unusable_total",
        "Rows, workers and addresses of Core that are left out each time they are read.",
        "The log line `unusable input of Core` names site and job. Core's team must correct the row.",
        ("kind",),
    ),
    Metric(
        "Kafka",
        "gauge",
        "kafka_up",
        "1 if Kafka answered when it was last asked (every 5 s), otherwise 0.",
        "If it is 0 on every replica, the brokers or the network are down; on one, that replica's network.",
    ),
    Metric(
        "Kafka",
        "gauge",
        "kafka_lag",
        "Records between the committed offset and the end of the partition; if Kafka does not answer, the last value.",
        "Compare with kafka_committed_offset: if that moves, the consumer is behind; otherwise it is stuck.",
        _TOPIC,
    ),
    Metric(
        "Kafka",
        "gauge",
        "kafka_lag_seconds",
        "Age of the oldest record of the partition that is not done, whether it was read or not; 0 if all are done.",
        "This is how late a worker's calendar is. kafka_waiting_seconds and kafka_blocked may name the cause.",
        _TOPIC,
    ),
    Metric(
        "Kafka",
        "gauge",
        "kafka_committed_offset",
        "The offset that the consumer group has committed.",
        "If it does not move while kafka_lag is above 0, the partition is stuck.",
        _TOPIC,
    ),
    Metric(
        "Kafka",
        "gauge",
        "kafka_blocked",
        "1 if the partition is not read any further because too many records in a row were unreadable, otherwise 0.",
        "See the records with `calsync dead-letters list`, have the feed repaired, then `calsync dead-letters resume`.",
        _TOPIC,
    ),
    Metric(
        "Kafka",
        "gauge",
        "kafka_waiting_seconds",
        "How long a partition has waited for a record that cannot be finished, by what it waits for.",
        "dead_letter: the dead-letter topic; schema: the schema registry; store: Redis. Repair that; nothing is lost.",
        (*_TOPIC, "cause"),
    ),
    Metric(
        "Kafka",
        "counter",
        "kafka_records_lost_total",
        "Records that the broker deleted before they were read.",
        "Raise the topic's retention. The sweep repairs what these records would have changed.",
        ("topic",),
    ),
    Metric(
        "Kafka",
        "gauge",
        "cdc_heartbeat_timestamp_seconds",
        "Unix time of Debezium's newest heartbeat; 0 before the first.",
        "If it is old, the feed is dead: look at the connector, not at this service.",
    ),
    Metric(
        "Graph",
        "counter",
        "graph_requests_total",
        "Requests to Graph, those inside batches too, by HTTP status; status `none` if there was no answer.",
        "Many 5xx or none: Graph or the way to it is down. 403: see site_up and mailboxes_parked.",
        ("operation", "status"),
    ),
    Metric(
        "Graph",
        "histogram",
        "graph_request_seconds",
        "Duration of HTTP exchanges with Graph; a batch is one exchange.",
        "If it grows, Graph is slow; the service waits and loses nothing.",
        ("operation",),
        _REQUEST_BUCKETS,
    ),
    Metric(
        "Graph",
        "counter",
        "graph_throttled_total",
        "Answers of Graph with status 429.",
        "The service waits as Graph asks. If it lasts, look for other apps that use the same mailboxes.",
    ),
    Metric(
        "sweeps",
        "histogram",
        "sweep_seconds",
        "Duration of a site's sweep, complete or not.",
        "If it comes near the interval, the site is too large for one replica's share, or Graph is slow.",
        _SITE,
        _SWEEP_BUCKETS,
    ),
    Metric(
        "sweeps",
        "gauge",
        "sweep_last_success_timestamp_seconds",
        "Unix time of the site's last complete sweep with nothing held; 0 if there was none. Shown by the replica that "
        "sweeps the site.",
        "If it is old: `calsync sweep --site S` shows why; the log line `sweep failed` has the reason.",
        _SITE,
    ),
    Metric(
        "sweeps",
        "counter",
        "sweep_repairs_total",
        "Events that sweeps put right, by cause; `unsettled` ones were left as Graph shows them.",
        "Many `missed`: changes do not arrive by the topic. Many `edited`: people or another tool change our events.",
        ("site", "cause"),
    ),
    Metric(
        "sweeps",
        "gauge",
        "sweep_held_deletions",
        "Deletions that the fuse holds back, because too many jobs vanished at once. Shown by the replica that sweeps "
        "the site.",
        "Ask Core's team whether the jobs are really gone; then `calsync sweep --site S --allow-mass-delete`.",
        _SITE,
    ),
    Metric(
        "sweeps",
        "gauge",
        "mailboxes_unavailable",
        "Mailboxes that could not be read in three sweeps in a row or more, while others of the site could. Shown by "
        "the replica that sweeps the site.",
        "`calsync sweep --site S` lists them with the reason.",
        _SITE,
    ),
    Metric(
        "sweeps",
        "gauge",
        "assignments_dirty",
        "Assignments that were handed over and wait for a sweep.",
        "They are done by the site's next complete sweep. If they stay, look at that sweep.",
        _SITE,
    ),
    Metric(
        "sites",
        "gauge",
        "site_up",
        "1 while the site is served; 0 while it is suspended because Entra or Graph refuses the app.",
        "The log line `site suspended` has the reason and the next step for the site's administrator.",
        _SITE,
    ),
    Metric(
        "sites",
        "gauge",
        "site_paused",
        "1 while an operator has paused the site, otherwise 0.",
        "`calsync site resume S` ends it. Alerts leave paused sites out.",
        _SITE,
    ),
    Metric(
        "sites",
        "gauge",
        "site_waiting",
        "Mailboxes of the site with work that waits in this replica.",
        "If one site's grows and others' do not, its tenant is slow or throttled.",
        _SITE,
    ),
    Metric(
        "sites",
        "gauge",
        "mailboxes_parked",
        "Mailboxes that are not tried, by Graph's code or `parked by hand`.",
        "`calsync mailbox list` names them; `calsync mailbox enable ADDRESS` when the cause is repaired.",
        ("site", "reason"),
    ),
    Metric(
        "sites",
        "gauge",
        "client_secret_expiry_timestamp_seconds",
        "Unix time at which the site's client secret expires, as the sites file states it; +Inf if it states no date.",
        "The site's administrator creates a new secret in Entra; put it and its date into the sites file.",
        _SITE,
    ),
    Metric(
        "sites",
        "gauge",
        "sites_file_last_success_timestamp_seconds",
        "Unix time at which the sites file was last found readable and valid; it is looked at every second.",
        "If it is old, the file is invalid and the last good one is in use. The log names the problem.",
    ),
    Metric(
        "dependencies",
        "gauge",
        "redis_up",
        "1 if Redis answered when it was last asked (every 5 s), otherwise 0.",
        "Without Redis, consumption and sweeps wait; nothing is lost.",
    ),
    Metric(
        "dependencies",
        "gauge",
        "redis_writable",
        "1 if Redis accepted a write when it was last asked, otherwise 0.",
        "If redis_up is 1 and this is 0: Redis is full, is a replica, or cannot save. Nothing is lost meanwhile.",
    ),
    Metric(
        "dependencies",
        "gauge",
        "core_up",
        "1 if Core's last answer was usable, otherwise 0; NaN if this replica has not asked for two sweep intervals.",
        "The log line `sweep failed` has the reason. While it lasts, nothing is deleted and changes still arrive.",
    ),
    Metric(
        "dependencies",
        "counter",
        "foreign_answers_total",
        "Answers that are not in the protocol of the service that was asked: pages of a proxy or an ingress.",
        "The log line `foreign answer` has host, status and content type. Look at the proxy between us and that host.",
        ("part",),
    ),
    Metric(
        "process",
        "gauge",
        "build_info",
        "Always 1; its labels name the version of the service and of Python.",
        "",
        ("version", "python"),
    ),
)
"""All metrics, in the order of the page. The ``process_*`` metrics of prometheus_client come in addition."""

BY_NAME: Final = {metric.short_name: metric for metric in METRICS}
