"""Every metric, with what it means. No label ever names a mailbox, a worker or a job.

The series of a site are removed when it leaves the sites file: :meth:`Metrics.sites`. What its last sweep found is also
removed when another replica sweeps it: :meth:`Metrics.forget_sweeps`.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from consumer.domain.compare import COUNTED_CAUSES, CountedCause
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.sync.parking import Parking
from consumer.sync.receipts import RESULTS
from consumer.unusable import KINDS

_LATENCY_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)
_SWEEP_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_REQUEST_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
PARTS: Final = ("core", "registry", "graph", "entra")
"""The services whose answers can be foreign."""
_DEAD_LETTER_REASONS: Final = ("undecodable", "invalid", "refused")


class Metrics:
    """The service's metrics, in a registry of their own."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._site_ids: frozenset[str] = frozenset()
        """The sites of the sites file. A run or a sweep of another one may still end, and is not shown."""
        self._parkings: Sequence[tuple[Mailbox, Parking]] = ()
        self._events = counter("calsync_events_total", "Records done, each once, by what became of them.", ["result"])
        self._latency = histogram(
            "calsync_event_latency_seconds",
            "From the commit in Core's database to Graph's acceptance; snapshots left out.",
            buckets=_LATENCY_BUCKETS,
        )
        self._lag = gauge("calsync_kafka_lag", "Records behind the end of the partition.", ["topic", "partition"])
        self._lag_seconds = gauge(
            "calsync_kafka_lag_seconds", "Age of the oldest record not yet done.", ["topic", "partition"]
        )
        self._requests = counter(
            "calsync_graph_requests_total",
            "Requests to Graph, the inner ones of batches too; status 'none' when no answer came.",
            ["operation", "status"],
        )
        self._exchanges = histogram(
            "calsync_graph_request_seconds",
            "Duration of HTTP exchanges with Graph; a batch is one.",
            ["operation"],
            buckets=_REQUEST_BUCKETS,
        )
        self._throttled = counter("calsync_graph_throttled_total", "Answers of 429.")
        self._site_up = gauge("calsync_site_up", "1 while the site is served; 0 while it is suspended.", ["site"])
        self._secret_expiry = gauge(
            "calsync_client_secret_expiry_timestamp_seconds",
            "When the site's client secret expires, as the sites file says.",
            ["site"],
        )
        self._dead_letters = counter(
            "calsync_dead_letters_total", "Records dead-lettered, by kind of fault.", ["reason"]
        )
        self._busy = gauge("calsync_lanes_busy", "Mailboxes being worked on.")
        self._waiting = gauge("calsync_lanes_waiting", "Mailboxes with work that waits.")
        self._sweep_seconds = histogram(
            "calsync_sweep_seconds", "Duration of a site's sweep.", ["site"], buckets=_SWEEP_BUCKETS
        )
        self._sweep_success = gauge(
            "calsync_sweep_last_success_timestamp_seconds",
            "When the site was last swept whole: every mailbox was read, is parked or unavailable, and nothing held.",
            ["site"],
        )
        self._repairs = counter(
            "calsync_sweep_repairs_total",
            "Events put right by sweeps, by cause; 'unsettled' ones were left as Graph shows them.",
            ["site", "cause"],
        )
        self._held = gauge(
            "calsync_sweep_held_deletions",
            "Deletions that the fuse holds back: more jobs vanished at once than is plausible.",
            ["site"],
        )
        self._unavailable = gauge(
            "calsync_mailboxes_unavailable",
            "Mailboxes that could not be read in three sweeps in a row or more, while others of the site could.",
            ["site"],
        )
        self._dirty = gauge("calsync_assignments_dirty", "Assignments handed over that wait for a sweep.", ["site"])
        self._parked = gauge("calsync_mailboxes_parked", "Mailboxes that are not tried.", ["site", "reason"])
        self._blocked = gauge(
            "calsync_kafka_blocked",
            "1 for a partition that is not read any further: too many unreadable records in a row.",
            ["topic", "partition"],
        )
        self._kafka_waiting = gauge(
            "calsync_kafka_waiting_seconds",
            "How long a partition has waited for a record that cannot be finished, by what it waits for.",
            ["topic", "partition", "cause"],
        )
        self._heartbeat = gauge(
            "calsync_cdc_heartbeat_timestamp_seconds",
            "Of Debezium's newest heartbeat: if it is old, the feed is dead. NaN before the first.",
        )
        self._heartbeat.set(math.nan)
        self._foreign = counter(
            "calsync_foreign_answers_total",
            "Answers outside the protocol of the service that was asked: pages of a proxy or an ingress.",
            ["part"],
        )
        self._unusable = counter(
            "calsync_unusable_total",
            "Rows, workers and addresses of Core that are left out each time they are read.",
            ["kind"],
        )
        for kind in KINDS:
            self._unusable.labels(kind)
        for part in PARTS:
            self._foreign.labels(part)
        for result in RESULTS:
            self._events.labels(result)
        for reason in _DEAD_LETTER_REASONS:
            self._dead_letters.labels(reason)

    def render(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self._registry)

    def watch_lanes(self, busy: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Where the lanes' gauges come from."""
        self._busy.set_function(busy)
        self._waiting.set_function(waiting)

    def event(self, result: str) -> None:
        """See the meter port."""
        self._events.labels(result).inc()

    def accepted(self, committed_at: float) -> None:
        """See the meter port."""
        self._latency.observe(max(0.0, time.time() - committed_at))

    def site_up(self, site_id: str, *, up: bool) -> None:
        """See the meter port."""
        if site_id in self._site_ids:
            self._site_up.labels(site_id).set(up)

    def unsettled(self, site_id: str, count: int) -> None:
        """See the meter port."""
        self.repaired(site_id, "unsettled", count)

    def swept(self, site_id: str, seconds: float, *, whole: bool) -> None:
        """See the sweep's meter."""
        if site_id in self._site_ids:
            self._sweep_seconds.labels(site_id).observe(seconds)
            if whole:
                self._sweep_success.labels(site_id).set(time.time())

    def repaired(self, site_id: str, cause: CountedCause, count: int) -> None:
        """See the sweep's meter."""
        if site_id in self._site_ids:
            self._repairs.labels(site_id, cause).inc(count)

    def unavailable(self, site_id: str, count: int) -> None:
        """See the sweep's meter."""
        if site_id in self._site_ids:
            self._unavailable.labels(site_id).set(count)

    def held(self, site_id: str, count: int) -> None:
        """See the sweep's meter."""
        if site_id in self._site_ids:
            self._held.labels(site_id).set(count)

    def forget_sweeps(self, site_id: str) -> None:
        """See the sweep's meter. What is counted stays: a counter that stands still is not out of date."""
        for gauge in (self._sweep_success, self._held, self._unavailable):
            gauge.remove(site_id)

    def dirty(self, site_id: str, count: int) -> None:
        """Assignments of the site that wait for a sweep now."""
        if site_id in self._site_ids:
            self._dirty.labels(site_id).set(count)

    def parked(self, mailboxes: Sequence[tuple[Mailbox, Parking]]) -> None:
        """Every parked mailbox as of now."""
        self._parkings = mailboxes
        self._parked.clear()
        for mailbox, parking in mailboxes:
            if mailbox.site in self._site_ids:
                self._parked.labels(mailbox.site, parking.code).inc()

    def request(self, operation: str, status: str) -> None:
        """See the dispatcher's meter."""
        self._requests.labels(operation, status).inc()

    def exchange(self, operation: str, seconds: float) -> None:
        """See the dispatcher's meter."""
        self._exchanges.labels(operation).observe(seconds)

    def throttled(self) -> None:
        """See the dispatcher's meter."""
        self._throttled.inc()

    def dead_letter(self, reason: str) -> None:
        """A record was dead-lettered."""
        self._dead_letters.labels(reason).inc()

    def foreign_answer(self, part: str) -> None:
        """An answer that was not in the protocol of ``part``."""
        self._foreign.labels(part).inc()

    def unusable(self, kind: str) -> None:
        """A row, worker or address of Core that is left out."""
        self._unusable.labels(kind).inc()

    def sites(self, sites: Mapping[str, Site]) -> None:
        """The sites file as it is now. The series of sites that left it are removed."""
        for site_id in self._site_ids - sites.keys():
            self.forget_sweeps(site_id)
            self._sweep_seconds.remove(site_id)
            self._dirty.remove(site_id)
            for cause in COUNTED_CAUSES:
                self._repairs.remove(site_id, cause)
        self._site_ids = frozenset(sites)
        self.parked(self._parkings)
        self._secret_expiry.clear()
        self._site_up.clear()
        for site in sites.values():
            if site.client_secret_expires is not None:
                expiry = datetime.combine(site.client_secret_expires, datetime.min.time(), UTC)
                self._secret_expiry.labels(site.site_id).set(expiry.timestamp())

    def blocked(self, topic: str, partitions: Sequence[int]) -> None:
        """The partitions that are blocked now."""
        self._blocked.clear()
        for partition in partitions:
            self._blocked.labels(topic, partition).set(1)

    def waiting(self, topic: str, waits: Sequence[tuple[int, str, float]]) -> None:
        """The partitions that wait now: each with what it waits for, and for how many seconds; the longest counts."""
        self._kafka_waiting.clear()
        for partition, cause, seconds in sorted(waits, key=lambda wait: wait[2]):
            self._kafka_waiting.labels(topic, partition, cause).set(seconds)

    def heartbeat(self, unix_time: float) -> None:
        """Debezium's newest heartbeat."""
        self._heartbeat.set(unix_time)

    def lag(self, topic: str, records: Mapping[int, int], oldest: Mapping[int, float | None]) -> None:
        """The partitions held now: records behind, and Unix time of the oldest record not yet done."""
        self._lag.clear()
        self._lag_seconds.clear()
        now = time.time()
        for partition, behind in records.items():
            self._lag.labels(topic, partition).set(behind)
        for partition, timestamp in oldest.items():
            self._lag_seconds.labels(topic, partition).set(0.0 if timestamp is None else max(0.0, now - timestamp))
