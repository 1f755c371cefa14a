"""Queries, columns and panels that stand on more than one dashboard."""

from typing import Final

from grafana_foundation_sdk.builders import stat, timeseries

from monitoring.dashboards.limits import SECRET, page_above, page_below, pages, ticket_above, tickets
from monitoring.dashboards.parts import UP, Column, graph, never, no_date, number, words

PAUSED: Final = "max by (site) (calsync_site_paused) == 1"
DOWN: Final = "min by (site) (calsync_site_up) == 0"
NONE: Final = "0 * max(calsync_site_up)"
"""0, but nothing at all if no replica answers."""
OLDEST: Final = "max by (topic, partition) (last_over_time(calsync_kafka_lag_seconds[2m]))"
"""A rebalance leaves gaps of some seconds, because a partition has no holder then."""
REQUESTS: Final = "sum(rate(calsync_graph_requests_total[$__rate_interval]))"
FAILED: Final = 'sum(rate(calsync_graph_requests_total{status=~"5..|none"}[$__rate_interval]))'
THROTTLED: Final = 'sum(rate(calsync_graph_requests_total{status="429"}[$__rate_interval]))'
NO_REQUESTS: Final = "no requests"

SITE_URL: Final = "/d/calsync-site?var-site=${__value.raw}&${__url_time_range}&${datasource:queryparam}"
SERVED: Final = Column(
    "Served",
    "min by (site) (calsync_site_up)",
    steps=page_below(1),
    mappings=words({0: ("down", "red"), 1: ("yes", "green")}),
)
WAITING: Final = Column("Waiting mailboxes", "sum by (site) (calsync_site_waiting)")
PARKED: Final = Column(
    "Parked mailboxes",
    "sum by (site) (max by (site, reason) (calsync_mailboxes_parked)) or max by (site) (calsync_site_up) * 0",
    steps=ticket_above(1),
)
SECRET_VALID: Final = Column(
    "Secret valid for",
    "min by (site) (calsync_client_secret_expiry_timestamp_seconds) - time()",
    "s",
    SECRET,
    no_date(),
)


def feed_age(link: str | None = None) -> stat.Panel:
    """The age of the newest heartbeat."""
    return number(
        "Feed age",
        "time() - max(calsync_cdc_heartbeat_timestamp_seconds)",
        means="Age of Debezium's newest heartbeat. Heartbeats arrive even when no job changes, so an old one "
        "means that the change feed is dead. Alert: CalsyncFeedDead.",
        act="If Kafka is up, ask Core's team to look at the Debezium connector. No change is lost: sweeps still "
        "repair the calendars.",
        unit="s",
        steps=pages("CalsyncFeedDead"),
        mappings=never("never seen"),
        link=link,
    )


def oldest_record(link: str | None = None) -> stat.Panel:
    """The age of the oldest record."""
    return number(
        "Oldest record",
        f"max({OLDEST})",
        means="Age of the oldest change that is not in the calendars yet. Alert: CalsyncTooOld.",
        act="See on the Kafka dashboard: one partition or all, one replica or all, blocked, waiting or only slow?",
        unit="s",
        steps=pages("CalsyncTooOld"),
        link=link,
    )


def sites_down(link: str | None = None) -> stat.Panel:
    """The number of suspended sites."""
    return number(
        "Sites down",
        f"count(({DOWN}) unless on (site) {PAUSED}) or {NONE}",
        means="Sites that are suspended because Entra or Graph rejects their credentials or access. Paused sites "
        "are left out. Alert: CalsyncSiteDown.",
        act="Run `calsync site list`. It names the reason and what the site's administrator must do.",
        steps=page_above(1),
        link=link,
    )


def kafka_up(link: str | None = None) -> stat.Panel:
    """Whether the brokers answer."""
    return number(
        "Kafka",
        "max(calsync_kafka_up)",
        means="Whether the brokers answer at least one replica. Alert: CalsyncKafkaUnavailable.",
        act="Ask the owners of Kafka. Changes wait in Kafka; nothing is lost.",
        steps=page_below(1),
        mappings=UP,
        link=link,
    )


def graph_fails(link: str | None = None) -> stat.Panel:
    """The share of requests that fail now."""
    return number(
        "Graph fails",
        f"{FAILED} / {REQUESTS}",
        means="Share of requests to Graph that got a 5xx answer or none. Alert: CalsyncGraphUnavailable.",
        act="Look at Microsoft's service health. The service tries again by itself.",
        unit="percentunit",
        steps=pages("CalsyncGraphUnavailable"),
        empty=NO_REQUESTS,
        link=link,
    )


def blocked_partitions(link: str | None = None) -> stat.Panel:
    """The number of blocked partitions."""
    return number(
        "Blocked partitions",
        "sum(max by (topic, partition) (calsync_kafka_blocked))",
        means="Partitions that are not read any further, because 50 records in a row were unreadable. Alert: "
        "CalsyncPartitionBlocked.",
        act="Ask Core's team what changed in the records or their schema. docs/bad-input.md says how to go on.",
        steps=page_above(1),
        link=link,
    )


def records_lost(link: str | None = None) -> stat.Panel:
    """The records that were deleted unread."""
    return number(
        "Records lost",
        "sum(increase(calsync_kafka_records_lost_total[$__range]))",
        means="Records that the broker deleted before they were read, in the time shown. Alert: CalsyncRecordsLost.",
        act="The next sweep repairs the calendars. Ask the owners of Kafka for a longer retention.",
        steps=page_above(1),
        link=link,
    )


def records_done(link: str | None = None, *, width: int = 8) -> timeseries.Panel:
    """Records finished, by result."""
    return graph(
        "Records done",
        {"{{result}}": "sum by (result) (rate(calsync_events_total[$__rate_interval]))"},
        means="Records finished each second, by result. docs/metrics.md explains the results.",
        act="If nothing is done although the oldest record gets older, the consumer is stuck: look at the Kafka "
        "dashboard. If many are handed over, a site or its mailboxes cannot be written.",
        unit="cps",
        stacked=True,
        link=link,
        width=width,
    )


def oldest_by_replica(link: str | None = None, *, width: int = 8) -> timeseries.Panel:
    """Whether one replica is behind, or all."""
    return graph(
        "Oldest record, by replica",
        {"{{instance}}": "max by (instance) (last_over_time(calsync_kafka_lag_seconds[2m]))"},
        means="Age of the oldest record that each replica has not finished. Alerts: CalsyncTooOld, and "
        "CalsyncOneReplicaBehind if only one replica is behind.",
        act="One replica only: restart it. All: see on the overview what they need.",
        unit="s",
        steps=pages("CalsyncTooOld"),
        link=link,
        width=width,
    )


def graph_answers(link: str | None = None, *, width: int = 8) -> timeseries.Panel:
    """Requests, by status."""
    return graph(
        "Graph's answers",
        {"{{status}}": "sum by (status) (rate(calsync_graph_requests_total[$__rate_interval])) > 0"},
        means="Requests to Graph each second, by status. none: no answer came. 404 and 412 are normal in small "
        "numbers.",
        act="429: see throttling. 5xx or none: Graph or the way to it is down. 401 or 403: a site is suspended soon.",
        unit="reqps",
        stacked=True,
        link=link,
        width=width,
    )


def throttled(link: str | None = None, *, width: int = 8) -> timeseries.Panel:
    """The share of requests that are throttled."""
    return graph(
        "Throttled",
        {"share of requests": f"{THROTTLED} / {REQUESTS}"},
        means="Share of requests that Graph answers with 429. The service waits as long as Graph asks. Alert: "
        "CalsyncGraphThrottled.",
        act="If it stays high, look for another program that uses the same app registration.",
        unit="percentunit",
        steps=tickets("CalsyncGraphThrottled"),
        link=link,
        width=width,
    )


def mailboxes_with_work(*, width: int = 8) -> timeseries.Panel:
    """Mailboxes worked on, and waiting ones."""
    return graph(
        "Mailboxes with work",
        {"being worked on": "sum(calsync_lanes_busy)", "waiting": "sum(calsync_lanes_waiting)"},
        means="Mailboxes that are being worked on, and mailboxes whose work waits for a turn, for another run's "
        "lease or for a retry.",
        act="If many wait and few are worked on, look at throttling, at Redis and at the table of sites.",
        unit="short",
        width=width,
    )
