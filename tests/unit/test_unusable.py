"""Unusable input of Core: each is counted, and the log has one line a minute for each site and kind."""

from typing import Any

import pytest

import consumer.unusable
from consumer.ops.metrics import Metrics
from consumer.unusable import Unusable


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    logged: list[dict[str, Any]] = []

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            logged.append({"event": event, **fields})

    monkeypatch.setattr(consumer.unusable, "log", Log())
    return logged


def test_each_is_counted_and_logged_once_a_minute_for_each_site_and_kind(lines: list[dict[str, Any]]) -> None:
    now, metrics = [0.0], Metrics()
    unusable = Unusable(metrics.unusable, lambda: now[0])
    for _ in range(3):
        unusable.found("acme", "row", "notes is not text", job="J-1")
        unusable.found("acme", "address", "no mailbox can have this calendar_email", worker="w")
        unusable.found("beta", "row", "notes is not text", job="J-2")
    assert [(line["site"], line["what"], line["count"]) for line in lines] == [
        ("acme", "row", 1),
        ("acme", "address", 1),
        ("beta", "row", 1),
    ]
    now[0] = 60.0
    unusable.found("acme", "row", "notes is not text", job="J-9")
    assert (lines[-1]["count"], lines[-1]["job"]) == (3, "J-9")
    rendered = metrics.render().decode()
    assert 'calsync_unusable_total{kind="row"} 7.0' in rendered
    assert 'calsync_unusable_total{kind="address"} 3.0' in rendered
    assert 'calsync_unusable_total{kind="worker"} 0.0' in rendered


def test_records_with_unknown_sites_use_bounded_memory(lines: list[dict[str, Any]]) -> None:
    unusable = Unusable(lambda _kind: None, lambda: 0.0)
    for number in range(20_000):
        unusable.found(f"site-{number}", "address", "blank")
    assert len(unusable._logged_at) <= 3000
