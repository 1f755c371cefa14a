"""Metrics: what is not so any more, such as a site that left the sites file, is not shown."""

import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.ops.metrics import Metrics
from consumer.sync.parking import Parking

ACME, BETA = (Site(name, name.title(), "UTC", f"tenant-{name}", "app", "secret") for name in ("acme", "beta"))

Say = Callable[[Metrics, str], None]
SAID: dict[str, Say] = {
    "site_up": lambda metrics, site_id: metrics.site_up(site_id, up=True),
    "unsettled": lambda metrics, site_id: metrics.unsettled(site_id, 1),
    "swept": lambda metrics, site_id: metrics.swept(site_id, 1.0, whole=True),
    "repaired": lambda metrics, site_id: metrics.repaired(site_id, "edited", 1),
    "unavailable": lambda metrics, site_id: metrics.unavailable(site_id, 1),
    "held": lambda metrics, site_id: metrics.held(site_id, 1),
    "dirty": lambda metrics, site_id: metrics.dirty(site_id, 1),
    "parked": lambda metrics, site_id: metrics.parked([(Mailbox(site_id, "a@x.example"), Parking("x", hourly=False))]),
}


def shown(metrics: Metrics) -> set[str]:
    return set(re.findall(r'\bsite="([^"]+)"', metrics.render().decode()))


@pytest.mark.parametrize("name", SAID)
def test_a_site_is_shown_as_long_as_it_is_in_the_sites_file(name: str) -> None:
    metrics, say = Metrics(), SAID[name]
    metrics.sites({"acme": ACME, "beta": BETA})
    say(metrics, "beta")
    assert shown(metrics) == {"beta"}
    metrics.sites({"acme": ACME})
    assert shown(metrics) == set()
    # A sweep or a run that was running ends only now.
    say(metrics, "beta")
    assert shown(metrics) == set()
    metrics.sites({"acme": ACME, "beta": BETA})
    say(metrics, "beta")
    assert shown(metrics) == {"beta"}


def test_what_the_last_sweep_found_is_forgotten_and_what_was_counted_stays() -> None:
    metrics = Metrics()
    metrics.sites({"acme": ACME})
    for say in SAID.values():
        say(metrics, "acme")
    metrics.forget_sweeps("acme")
    left = set(re.findall(r'^(\w+)\{[^}]*site="acme"', metrics.render().decode(), re.MULTILINE))
    assert not left & {
        "calsync_sweep_last_success_timestamp_seconds",
        "calsync_sweep_held_deletions",
        "calsync_mailboxes_unavailable",
    }
    assert left >= {"calsync_sweep_repairs_total", "calsync_sweep_seconds_count", "calsync_site_up"}


def samples(metrics: Metrics, name: str) -> dict[str, float]:
    """The labels of each series of this metric, with its value."""
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", metrics.render().decode(), re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def test_of_several_waits_for_one_cause_the_longest_is_shown() -> None:
    metrics, name = Metrics(), "calsync_kafka_waiting_seconds"
    metrics.waiting("t", [(0, "schema", 90.0), (0, "schema", 5.0), (0, "store", 1.0)])
    assert samples(metrics, name) == {
        'cause="schema",partition="0",topic="t"': 90.0,
        'cause="store",partition="0",topic="t"': 1.0,
    }
    metrics.waiting("t", [])
    assert samples(metrics, name) == {}


def test_partitions_that_were_revoked_or_unblocked_are_not_shown() -> None:
    metrics = Metrics()
    metrics.lag("t", {0: 5, 1: 7}, {0: time.time() - 60, 1: None})
    metrics.blocked("t", [0, 1])
    assert samples(metrics, "calsync_kafka_lag") == {'partition="0",topic="t"': 5.0, 'partition="1",topic="t"': 7.0}
    ages = samples(metrics, "calsync_kafka_lag_seconds")
    assert ages['partition="0",topic="t"'] == pytest.approx(60.0, abs=5.0)
    assert ages['partition="1",topic="t"'] == 0.0, "nothing waits"
    metrics.lag("t", {1: 7}, {1: time.time() + 60})
    metrics.blocked("t", [1])
    assert samples(metrics, "calsync_kafka_lag") == {'partition="1",topic="t"': 7.0}
    assert samples(metrics, "calsync_kafka_blocked") == {'partition="1",topic="t"': 1.0}
    assert samples(metrics, "calsync_kafka_lag_seconds") == {'partition="1",topic="t"': 0.0}, "a clock that is ahead"


def test_a_client_secret_expires_at_the_beginning_of_its_day_in_utc() -> None:
    metrics, name = Metrics(), "calsync_client_secret_expiry_timestamp_seconds"
    metrics.sites({"acme": replace(ACME, client_secret_expires=date(2027, 1, 2)), "beta": BETA})
    assert samples(metrics, name) == {'site="acme"': datetime(2027, 1, 2, tzinfo=UTC).timestamp()}
    metrics.sites({"acme": ACME})
    assert samples(metrics, name) == {}


def test_the_heartbeat_is_not_a_number_before_the_first() -> None:
    metrics, name = Metrics(), "calsync_cdc_heartbeat_timestamp_seconds"
    assert math.isnan(samples(metrics, name)[""])
    metrics.heartbeat(1000.0)
    assert samples(metrics, name) == {"": 1000.0}


@pytest.mark.parametrize(
    ("count", "name", "labels"),
    [
        (lambda metrics: metrics.event("stale"), "calsync_events_total", 'result="stale"'),
        (lambda metrics: metrics.dead_letter("invalid"), "calsync_dead_letters_total", 'reason="invalid"'),
        (lambda metrics: metrics.foreign_answer("graph"), "calsync_foreign_answers_total", 'part="graph"'),
        (lambda metrics: metrics.unusable("row"), "calsync_unusable_total", 'kind="row"'),
        (lambda metrics: metrics.throttled(), "calsync_graph_throttled_total", ""),
    ],
)
def test_a_counter_is_zero_before_its_first_count(count: Callable[[Metrics], None], name: str, labels: str) -> None:
    """Prometheus's increase() misses a series that begins with 1."""
    metrics = Metrics()
    assert samples(metrics, name)[labels] == 0.0
    count(metrics)
    assert samples(metrics, name)[labels] == 1.0


def test_the_latency_of_a_commit_time_in_the_future_is_zero() -> None:
    metrics = Metrics()
    metrics.accepted(time.time() + 60)
    assert samples(metrics, "calsync_event_latency_seconds_sum") == {"": 0.0}
    metrics.accepted(time.time() - 60)
    assert samples(metrics, "calsync_event_latency_seconds_sum")[""] == pytest.approx(60.0, abs=5.0)
