"""Metrics of sites: a site that is not in the sites file is not shown."""

import re
from collections.abc import Callable

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
