"""The service's metrics as Prometheus reads them. :mod:`consumer.ops.metric_catalogue` has what each means.

The series of a site exist as long as it is in the sites file: :meth:`Metrics.sites`. Those of its sweeps are shown by
the replica that sweeps it: :meth:`Metrics.sweep_states`.

Labels whose values come from outside are cleaned when their series is made. The page as a whole is not cleaned: a
secret that is an ordinary word must not take the names of metrics apart.
"""

import collections
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from consumer import __version__, redaction
from consumer.domain.compare import COUNTED_CAUSES, CountedCause
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.ops.metric_catalogue import BY_NAME
from consumer.sync.parking import Parking
from consumer.sync.partition_lag import PartitionLag
from consumer.sync.receipts import RESULTS
from consumer.sync.sweep_state import SweepState
from consumer.unusable import KINDS

PARTS: Final = ("core", "registry", "graph", "entra")
"""The services whose answers can be foreign."""
_DEAD_LETTER_REASONS: Final = ("undecodable", "invalid", "refused")
ANSWERS: Final = {
    "create": "201",
    "update": "200",
    "delete": "204",
    "get": "200",
    "find": "200",
    "view": "200",
    "tagged": "200",
    "timezone": "200",
    "probe": "200",
    "batch": "200",
}
"""The operations on Graph, each with the status of success."""
_FAULTS: Final = ("429", "503", "none")
_FROM_OUTSIDE: Final = frozenset({"topic", "site", "reason"})
"""Labels of levels whose values come from outside; ``reason`` is Graph's code."""
_MOST_LABELS: Final = 65_536
"""How many cleaned values of labels are remembered."""

Clean = Callable[[str], str]


class _Levels:
    """A gauge that shows exactly the series that were last given. Only those that have changed are written."""

    def __init__(self, gauge: Gauge, clean: Sequence[Clean]) -> None:
        """``clean`` makes what is shown of each label's value."""
        self._gauge = gauge
        self._clean = clean
        self._values: dict[tuple[str, ...], float] = {}

    def show(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show these values, by their labels, and no others."""
        for labels in self._values.keys() - values.keys():
            self._gauge.remove(*self._shown(labels))
        for labels, value in values.items():
            if self._values.get(labels) != value:
                self._gauge.labels(*self._shown(labels)).set(value)
        self._values = dict(values)

    def _shown(self, labels: tuple[str, ...]) -> list[str]:
        return [clean(label) for clean, label in zip(self._clean, labels, strict=True)]

    def keep_sites(self, site_ids: Iterable[str], absent: float | None = None) -> None:
        """Show no other sites. ``absent`` is the value of those that were not given yet; ``None`` leaves them out."""
        kept = set(site_ids)
        values = {labels: value for labels, value in self._values.items() if labels[0] in kept}
        if absent is not None:
            values = {(site_id,): absent for site_id in kept} | values
        self.show(values)


class Metrics:
    """The service's metrics, in a registry of their own. Every series that an alert reads exists from the start."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, topic: str = "", *, sweep_interval: float = 300.0) -> None:
        """``topic`` is the one that the service reads; a command reads none. ``sweep_interval`` is in seconds."""
        # Otherwise each counter has a second series.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._clean: Clean = lru_cache(_MOST_LABELS)(redaction.text)
        self._topic = topic
        self._site_ids: frozenset[str] = frozenset()
        """The sites of the sites file. A run or a sweep of another one may still end, and is not shown."""
        self._events = self._counter("events_total")
        self._latency = self._histogram("event_latency_seconds")
        self._busy = self._gauge("lanes_busy")
        self._waiting = self._gauge("lanes_waiting")
        self._dead_letters = self._counter("dead_letters_total")
        self._unusable = self._counter("unusable_total")
        self._kafka_up = self._gauge("kafka_up")
        self._lag = self._levels("kafka_lag")
        self._lag_seconds = self._levels("kafka_lag_seconds")
        self._committed = self._levels("kafka_committed_offset")
        self._blocked = self._levels("kafka_blocked")
        self._kafka_waiting = self._levels("kafka_waiting_seconds")
        self._lost = self._counter("kafka_records_lost_total")
        self._heartbeat = self._gauge("cdc_heartbeat_timestamp_seconds")
        self._requests = self._counter("graph_requests_total")
        self._exchanges = self._histogram("graph_request_seconds")
        self._throttled = self._counter("graph_throttled_total")
        self._sweep_seconds = self._histogram("sweep_seconds")
        self._sweep_success = self._levels("sweep_last_success_timestamp_seconds")
        self._repairs = self._counter("sweep_repairs_total")
        self._held = self._levels("sweep_held_deletions")
        self._unavailable = self._levels("mailboxes_unavailable")
        self._dirty = self._levels("assignments_dirty")
        self._site_up = self._gauge("site_up")
        self._site_paused = self._levels("site_paused")
        self._site_waiting = self._levels("site_waiting")
        self._parked = self._levels("mailboxes_parked")
        self._secret_expiry = self._levels("client_secret_expiry_timestamp_seconds")
        self._sites_file = self._gauge("sites_file_last_success_timestamp_seconds")
        self._redis_up = self._gauge("redis_up")
        self._redis_writable = self._gauge("redis_writable")
        self._core_answer = (math.nan, -math.inf)
        """Whether Core's last answer was usable (1 or 0), and when it came, on the monotonic clock."""
        self._core_silence = 2 * sweep_interval
        self._gauge("core_up").set_function(self._core_up)
        self._foreign = self._counter("foreign_answers_total")
        build = self._gauge("build_info")
        build.labels(__version__, platform.python_version()).set(1)
        ProcessCollector(registry=self._registry)
        self._start()

    def _start(self) -> None:
        """Create the series whose labels are known: a counter that appears with its first event shows no increase."""
        for result in RESULTS:
            self._events.labels(result)
        for reason in _DEAD_LETTER_REASONS:
            self._dead_letters.labels(reason)
        for kind in KINDS:
            self._unusable.labels(kind)
        for part in PARTS:
            self._foreign.labels(part)
        for operation, success in ANSWERS.items():
            for status in (success, *_FAULTS):
                self._requests.labels(operation, status)
        if self._topic:
            self._lost.labels(self._clean(self._topic))

    def _counter(self, name: str) -> Counter:
        metric = BY_NAME[name]
        return Counter(metric.name, metric.meaning, metric.labels, registry=self._registry)

    def _gauge(self, name: str) -> Gauge:
        metric = BY_NAME[name]
        return Gauge(metric.name, metric.meaning, metric.labels, registry=self._registry)

    def _levels(self, name: str) -> _Levels:
        labels = BY_NAME[name].labels
        return _Levels(self._gauge(name), [self._clean if label in _FROM_OUTSIDE else str for label in labels])

    def _histogram(self, name: str) -> Histogram:
        metric = BY_NAME[name]
        return Histogram(metric.name, metric.meaning, metric.labels, registry=self._registry, buckets=metric.buckets)

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
            self._site_up.labels(self._clean(site_id)).set(up)

    def unsettled(self, site_id: str, count: int) -> None:
        """See the meter port."""
        self.repaired(site_id, "unsettled", count)

    def swept(self, site_id: str, seconds: float) -> None:
        """See the sweep's meter."""
        if site_id in self._site_ids:
            self._sweep_seconds.labels(self._clean(site_id)).observe(seconds)

    def repaired(self, site_id: str, cause: CountedCause, count: int) -> None:
        """See the sweep's meter."""
        if site_id in self._site_ids:
            self._repairs.labels(self._clean(site_id), cause).inc(count)

    def sweep_states(self, states: Mapping[str, SweepState]) -> None:
        """What the last sweeps found, of each site that this replica sweeps; the series of the others are removed.

        What is counted stays: a counter that stands still is not out of date.
        """
        ours = {site_id: state for site_id, state in states.items() if site_id in self._site_ids}
        self._sweep_success.show({(site_id,): state.succeeded_at or 0.0 for site_id, state in ours.items()})
        self._held.show({(site_id,): state.held or 0 for site_id, state in ours.items()})
        self._unavailable.show({(site_id,): state.unavailable or 0 for site_id, state in ours.items()})

    def dirty(self, counts: Mapping[str, int]) -> None:
        """Assignments that wait for a sweep now, of each site."""
        self._dirty.show({(site_id,): counts.get(site_id, 0) for site_id in self._site_ids})

    def site_waiting(self, counts: Mapping[str, int]) -> None:
        """Mailboxes with work that waits, of each site that has any."""
        self._site_waiting.show({(site_id,): counts.get(site_id, 0) for site_id in self._site_ids})

    def paused(self, site_ids: Iterable[str]) -> None:
        """The sites that are paused now."""
        paused = frozenset(site_ids)
        self._site_paused.show({(site_id,): site_id in paused for site_id in self._site_ids})

    def parked(self, mailboxes: Sequence[tuple[Mailbox, Parking]]) -> None:
        """Every parked mailbox as of now."""
        ours = [(mailbox.site, parking.code) for mailbox, parking in mailboxes if mailbox.site in self._site_ids]
        self._parked.show(collections.Counter(ours))

    def request(self, operation: str, status: str) -> None:
        """See the dispatcher's meter."""
        self._requests.labels(operation, self._clean(status)).inc()

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
        """The sites file as it is now: its sites' series are created, and those of sites that left it are removed."""
        for site_id in self._site_ids - sites.keys():
            self._site_up.remove(self._clean(site_id))
            self._sweep_seconds.remove(self._clean(site_id))
            for cause in COUNTED_CAUSES:
                self._repairs.remove(self._clean(site_id), cause)
        for site_id in sites.keys() - self._site_ids:
            self._site_up.labels(self._clean(site_id)).set(1)
        self._site_ids = frozenset(sites)
        for levels in (self._sweep_success, self._held, self._unavailable, self._parked):
            levels.keep_sites(sites)
        for levels in (self._dirty, self._site_paused, self._site_waiting):
            levels.keep_sites(sites, absent=0)
        self._secret_expiry.show({(site_id,): _expiry(site) for site_id, site in sites.items()})

    def watch_sites_file(self, last_success: Callable[[], float]) -> None:
        """Where the time of the sites file's last good reading comes from."""
        self._sites_file.set_function(last_success)

    def redis(self, *, up: bool, writable: bool) -> None:
        """Whether Redis answered, and took a write."""
        self._redis_up.set(up)
        self._redis_writable.set(writable)

    def core_up(self, up: bool) -> None:
        """Whether Core's answer was usable."""
        self._core_answer = (float(up), time.monotonic())

    def _core_up(self) -> float:
        """NaN if nothing was asked for two sweep intervals: another replica may know better."""
        up, at = self._core_answer
        return up if time.monotonic() - at <= self._core_silence else math.nan

    def kafka_up(self, *, up: bool) -> None:
        """Whether Kafka answered."""
        self._kafka_up.set(up)

    def records_lost(self, count: int) -> None:
        """Records that the broker deleted before they were read."""
        self._lost.labels(self._clean(self._topic)).inc(count)

    def blocked(self, held: Iterable[int], blocked: Iterable[int]) -> None:
        """The partitions that are blocked now, and those that this replica holds."""
        stopped = set(blocked)
        self._blocked.show({(self._topic, str(number)): number in stopped for number in {*held, *stopped}})

    def waiting(self, waits: Sequence[tuple[int, str, float]]) -> None:
        """The partitions that wait now: each with what it waits for, and for how many seconds; the longest counts."""
        longest = sorted(waits, key=lambda wait: wait[2])
        self._kafka_waiting.show({(self._topic, str(number), cause): seconds for number, cause, seconds in longest})

    def heartbeat(self, unix_time: float) -> None:
        """Debezium's newest heartbeat."""
        self._heartbeat.set(unix_time)

    def lag(self, partitions: Mapping[int, PartitionLag]) -> None:
        """The partitions that this replica holds now."""
        now = time.time()
        of: dict[tuple[str, ...], PartitionLag] = {
            (self._topic, str(partition)): lag for partition, lag in partitions.items()
        }
        self._lag.show({labels: lag.records for labels, lag in of.items()})
        self._committed.show({labels: lag.committed for labels, lag in of.items()})
        # Records of unknown age must not look new: the rules bridge the gap with the last value.
        known = {labels: lag for labels, lag in of.items() if lag.is_age_known}
        ages = {labels: 0.0 if lag.oldest is None else max(0.0, now - lag.oldest) for labels, lag in known.items()}
        self._lag_seconds.show(ages)


def _expiry(site: Site) -> float:
    """Unix time at which the site's client secret expires: the beginning of that day in UTC; +Inf without a date."""
    if site.client_secret_expires is None:
        return math.inf
    return datetime.combine(site.client_secret_expires, datetime.min.time(), UTC).timestamp()
