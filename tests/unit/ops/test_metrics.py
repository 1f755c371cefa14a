"""Metrics: what is not so any more, such as a site that left the sites file, is not shown."""

import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.graph import calendars
from consumer.ops.metrics import ANSWERS, Metrics
from consumer.sync.parking import Parking
from consumer.sync.partition_lag import PartitionLag
from consumer.sync.sweep_state import SweepState

ACME, BETA = (Site(name, name.title(), "UTC", f"tenant-{name}", "app", "secret") for name in ("acme", "beta"))

Say = Callable[[Metrics, str], None]
SAID: dict[str, Say] = {
    "site_up": lambda metrics, site_id: metrics.site_up(site_id, up=True),
    "unsettled": lambda metrics, site_id: metrics.unsettled(site_id, 1),
    "swept": lambda metrics, site_id: metrics.swept(site_id, 1.0),
    "repaired": lambda metrics, site_id: metrics.repaired(site_id, "edited", 1),
    "sweep_states": lambda metrics, site_id: metrics.sweep_states({site_id: SweepState(1.0, 1, 1)}),
    "site_waiting": lambda metrics, site_id: metrics.site_waiting({site_id: 1}),
    "paused": lambda metrics, site_id: metrics.paused([site_id]),
    "dirty": lambda metrics, site_id: metrics.dirty({site_id: 1}),
    "parked": lambda metrics, site_id: metrics.parked([(Mailbox(site_id, "a@x.example"), Parking("x", hourly=False))]),
}


def shown(metrics: Metrics) -> set[str]:
    return set(re.findall(r'\bsite="([^"]+)"', metrics.render().decode()))


@pytest.mark.parametrize("name", SAID)
def test_a_site_is_shown_as_long_as_it_is_in_the_sites_file(name: str) -> None:
    metrics, say = Metrics(), SAID[name]
    metrics.sites({"acme": ACME, "beta": BETA})
    assert shown(metrics) == {"acme", "beta"}, "from the start"
    say(metrics, "beta")
    metrics.sites({"acme": ACME})
    assert shown(metrics) == {"acme"}
    # A sweep or a run that was running ends only now.
    say(metrics, "beta")
    assert shown(metrics) == {"acme"}
    metrics.sites({"acme": ACME, "beta": BETA})
    say(metrics, "beta")
    assert shown(metrics) == {"acme", "beta"}


def test_what_sweeps_found_is_shown_by_the_replica_that_sweeps_the_site() -> None:
    metrics = Metrics()
    metrics.sites({"acme": ACME, "beta": BETA})
    for say in SAID.values():
        say(metrics, "acme")
    metrics.sweep_states({"beta": SweepState()})
    for name in (
        "calsync_sweep_last_success_timestamp_seconds",
        "calsync_sweep_held_deletions",
        "calsync_mailboxes_unavailable",
    ):
        assert samples(metrics, name) == {'site="beta"': 0.0}, "it was never swept, and an alert must see that"
    assert samples(metrics, "calsync_sweep_seconds_count")['site="acme"'] == 1.0, "what was counted stays"


def samples(metrics: Metrics, name: str) -> dict[str, float]:
    """The labels of each series of this metric, with its value."""
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", metrics.render().decode(), re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def test_of_several_waits_for_one_cause_the_longest_is_shown() -> None:
    metrics, name = Metrics("t"), "calsync_kafka_waiting_seconds"
    metrics.waiting([(0, "schema", 90.0), (0, "schema", 5.0), (0, "store", 1.0)])
    assert samples(metrics, name) == {
        'cause="schema",partition="0",topic="t"': 90.0,
        'cause="store",partition="0",topic="t"': 1.0,
    }
    metrics.waiting([])
    assert samples(metrics, name) == {}


def test_partitions_that_were_revoked_or_unblocked_are_not_shown() -> None:
    metrics = Metrics("t")
    metrics.lag({0: PartitionLag(5, 40, time.time() - 60), 1: PartitionLag(7, 50)})
    metrics.blocked([0, 1], [0, 1])
    assert samples(metrics, "calsync_kafka_lag") == {'partition="0",topic="t"': 5.0, 'partition="1",topic="t"': 7.0}
    ages = samples(metrics, "calsync_kafka_lag_seconds")
    assert ages['partition="0",topic="t"'] == pytest.approx(60.0, abs=5.0)
    assert ages['partition="1",topic="t"'] == 0.0, "nothing waits"
    metrics.lag({1: PartitionLag(7, 50, time.time() + 60)})
    metrics.blocked([0, 1], [1])
    assert samples(metrics, "calsync_kafka_lag") == {'partition="1",topic="t"': 7.0}
    assert samples(metrics, "calsync_kafka_committed_offset") == {'partition="1",topic="t"': 50.0}
    assert samples(metrics, "calsync_kafka_blocked") == {'partition="0",topic="t"': 0.0, 'partition="1",topic="t"': 1.0}
    assert samples(metrics, "calsync_kafka_lag_seconds") == {'partition="1",topic="t"': 0.0}, "a clock that is ahead"


def test_records_of_unknown_age_are_not_shown_as_new() -> None:
    metrics = Metrics("t")
    metrics.lag({0: PartitionLag(5, 40, None, is_age_known=False), 1: PartitionLag(5, 40)})
    assert samples(metrics, "calsync_kafka_lag_seconds") == {'partition="1",topic="t"': 0.0}


def test_a_client_secret_expires_at_the_beginning_of_its_day_in_utc() -> None:
    metrics, name = Metrics(), "calsync_client_secret_expiry_timestamp_seconds"
    metrics.sites({"acme": replace(ACME, client_secret_expires=date(2027, 1, 2)), "beta": BETA})
    midnight = datetime(2027, 1, 2, tzinfo=UTC).timestamp()
    assert samples(metrics, name) == {'site="acme"': midnight, 'site="beta"': math.inf}
    metrics.sites({"acme": ACME})
    assert samples(metrics, name) == {'site="acme"': math.inf}


def test_the_heartbeat_is_zero_before_the_first() -> None:
    metrics, name = Metrics(), "calsync_cdc_heartbeat_timestamp_seconds"
    assert samples(metrics, name)[""] == 0.0
    metrics.heartbeat(1000.0)
    assert samples(metrics, name)[""] == 1000.0


def test_the_latency_of_a_commit_time_in_the_future_is_zero() -> None:
    metrics = Metrics()
    metrics.accepted(time.time() + 60)
    assert samples(metrics, "calsync_event_latency_seconds_sum") == {"": 0.0}
    metrics.accepted(time.time() - 60)
    assert samples(metrics, "calsync_event_latency_seconds_sum")[""] == pytest.approx(60.0, abs=5.0)


def test_a_new_process_shows_every_series_that_an_alert_reads() -> None:
    metrics = Metrics("t")
    metrics.sites({"acme": ACME})
    for name in ("site_up", "site_paused", "site_waiting", "assignments_dirty"):
        assert set(samples(metrics, f"calsync_{name}")) == {'site="acme"'}
    assert samples(metrics, "calsync_kafka_records_lost_total") == {'topic="t"': 0.0}
    assert set(samples(metrics, "calsync_foreign_answers_total")) >= {'part="core"', 'part="graph"'}
    requests = samples(metrics, "calsync_graph_requests_total")
    for operation in ("create", "update", "delete", "view", "batch"):
        for status in ("429", "503", "none"):
            assert requests[f'operation="{operation}",status="{status}"'] == 0.0
    assert math.isnan(samples(metrics, "calsync_core_up")[""]), "nobody has asked Core"
    for name in ("kafka_up", "redis_up", "redis_writable", "cdc_heartbeat_timestamp_seconds"):
        assert samples(metrics, f"calsync_{name}") == {"": 0.0}
    assert set(samples(metrics, "calsync_build_info").values()) == {1.0}
    assert samples(metrics, "process_start_time_seconds")[""] > 0


def test_each_dependency_is_shown_as_it_answers() -> None:
    metrics = Metrics("t")
    metrics.redis(up=True, writable=False)
    metrics.core_up(False)
    metrics.kafka_up(up=True)
    metrics.records_lost(3)
    metrics.watch_sites_file(lambda: 1790000000.0)
    for name, value in {
        "redis_up": 1.0,
        "redis_writable": 0.0,
        "core_up": 0.0,
        "kafka_up": 1.0,
        "sites_file_last_success_timestamp_seconds": 1790000000.0,
    }.items():
        assert samples(metrics, f"calsync_{name}") == {"": value}
    assert samples(metrics, "calsync_kafka_records_lost_total") == {'topic="t"': 3.0}


def test_what_core_answered_is_forgotten_after_two_sweep_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another replica sweeps the sites now, and its Core may be down."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    metrics = Metrics("t", sweep_interval=60)
    metrics.core_up(True)
    now[0] += 120
    assert samples(metrics, "calsync_core_up") == {"": 1.0}
    now[0] += 1
    assert math.isnan(samples(metrics, "calsync_core_up")[""])


def test_the_operations_shown_from_the_start_are_those_of_the_graph_client() -> None:
    source = Path(calendars.__file__).read_text(encoding="utf-8")
    asked = set(re.findall(r'self\._(?:send|read|pages)\(\s*"(\w+)"', source))
    assert asked | {"batch"} == set(ANSWERS)
