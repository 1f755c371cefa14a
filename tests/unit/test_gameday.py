"""The game day's own parts: what it shortens, what it reads, and what it finds wrong."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.servers.process import REPOSITORY
from tests.gameday import shortened
from tests.gameday.day import judge
from tests.gameday.faults import FAULTS, Fault, Page
from tests.gameday.pager import Alert, Notification, read, told
from tests.gameday.queries import of_runbook

BUCKETS = (1, 5, 10, 60)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate(x[5m])", "rate(x[25s])"),
        ("rate(x[90s])", "rate(x[7500ms])"),
        ("max_over_time(x[1h30m:1m])", "max_over_time(x[450s:5s])"),
        ("max_over_time(x[1h:])", "max_over_time(x[300s:1s])"),
        ("x == x offset 5m", "x == x offset 25s"),
        ("x offset -1h > 0", "x offset -300s > 0"),
        ("time() - max(x_timestamp_seconds) > 120", "time() - max(x_timestamp_seconds) > 10"),
        ("time() - (max(x) > 0 or max(x) - Inf) > 120", "time() - (max(x) > 0 or max(x) - Inf) > 10"),
        ("a:lag_seconds:max > 300 and b > 300", "a:lag_seconds:max > 25 and b > 300"),
        ("b > 300 and on (topic) (lag_seconds) >= 60", "b > 300 and on (topic) (lag_seconds) >= 5"),
        ("age_seconds > bool 900", "age_seconds > bool 75"),
        ("rate(x_seconds_count[1m]) > 60", "rate(x_seconds_count[5s]) > 60"),
        ("count by (topic) (lag_seconds > 60) == 1", "count by (topic) (lag_seconds > 5) == 1"),
        ("count by (topic) (lag_seconds) >= 2", "count by (topic) (lag_seconds) >= 2"),
        ("up_seconds == 0", "up_seconds == 0"),
        ("burn > 14.4 * 0.01", "burn > 14.4 * 0.01"),
        ('x_bucket{le=~"60(\\\\.0)?"}', 'x_bucket{le=~"5|5.0"}'),
        ('x_bucket{le="+Inf"}', 'x_bucket{le="+Inf"}'),
    ],
)
def test_an_expression_keeps_its_clauses_and_has_shorter_times(before: str, after: str) -> None:
    assert shortened.expression(before, 12, BUCKETS) == after


def test_rules_keep_everything_but_their_times() -> None:
    rule = {"alert": "Late", "expr": "lag_seconds > 300", "for": "2m", "labels": {"severity": "page"}}
    recorded = {"record": "late", "expr": "rate(x[5m])"}
    document = {"groups": [{"name": "one", "interval": "1m", "rules": [rule, recorded]}]}
    assert shortened.rules(document, 12, BUCKETS) == {
        "groups": [
            {
                "name": "one",
                "interval": "1s",
                "rules": [
                    rule | {"expr": "lag_seconds > 25", "for": "10s"},
                    recorded | {"expr": "rate(x[25s])"},
                ],
            }
        ]
    }


def test_an_alertmanager_keeps_its_routes_and_inhibitions_and_sends_to_the_pager() -> None:
    inhibition = {"source_matchers": ['alertname="A"'], "target_matchers": ['alertname="B"']}
    document: Mapping[str, Any] = {
        "global": {"resolve_timeout": "5m"},
        "route": {
            "receiver": "none",
            "group_wait": "30s",
            "routes": [{"receiver": "pager", "matchers": ['severity="page"'], "repeat_interval": "1h"}],
        },
        "receivers": [{"name": "none"}, {"name": "pager", "pagerduty_configs": [{"routing_key_file": "/key"}]}],
        "inhibit_rules": [inhibition],
    }
    assert shortened.alertmanager(dict(document), 12, "http://pager") == {
        "route": {
            "receiver": "none",
            "group_wait": "2500ms",
            "routes": [{"receiver": "pager", "matchers": ['severity="page"'], "repeat_interval": "300s"}],
        },
        "receivers": [
            {"name": "none"},
            {"name": "pager", "webhook_configs": [{"url": "http://pager/pager", "send_resolved": True}]},
        ],
        "inhibit_rules": [inhibition],
    }


def alert(name: str = "CalsyncSiteDown", **labels: str) -> Alert:
    return Alert(
        {"alertname": name, "severity": "page", "service": "calsync", **labels},
        {
            "summary": "Site acme is not served",
            "runbook_url": f"http://localhost:9464/runbooks/{name}",
            "dashboard_url": "http://localhost:3000/d/calsync-site?var-site=acme",
        },
    )


def sent(*alerts: Alert, status: str = "firing") -> Notification:
    return Notification(0.0, "pager", status, alerts[0].name, alerts)


async def _nothing(_world: object) -> None: ...


SITE_DOWN = Fault("f", "f", _nothing, _nothing, Page("CalsyncSiteDown", {"site": "acme"}, ("ACME",)))


def test_one_right_page_and_its_end_are_as_expected() -> None:
    right = alert(site="acme")
    ticket = replace(alert("CalsyncDeadLetters"), labels={"alertname": "CalsyncDeadLetters", "severity": "ticket"})
    assert judge(SITE_DOWN, [sent(right), sent(ticket), sent(right, status="resolved")]) == []


@pytest.mark.parametrize(
    ("received", "problem"),
    [
        ([], "no page"),
        ([sent(alert(site="acme")), sent(alert("CalsyncTooOld"))], "a further page: CalsyncTooOld"),
        (
            [sent(alert(site="acme")), sent(alert(site="acme"), status="resolved"), sent(alert(site="acme"))],
            "a further page",
        ),
        ([sent(alert(site="acme")), sent(alert(site="acme"), alert(site="other"))], "site is 'other'"),
        ([sent(alert("CalsyncTooOld"))], "not CalsyncSiteDown"),
        ([sent(alert(site="other"))], "site is 'other'"),
        ([sent(replace(alert(site="acme"), annotations={"summary": "Site acme"}))], "runbook_url"),
        ([sent(replace(alert(site="acme"), annotations={"summary": "A site"}))], "does not say 'ACME'"),
        ([sent(replace(alert(site="acme"), annotations={"summary": "<no value> acme"}))], "is not filled in"),
    ],
)
def test_a_wrong_page_is_found(received: list[Notification], problem: str) -> None:
    assert problem in "; ".join(judge(SITE_DOWN, received))


def test_any_page_of_a_harmless_fault_is_wrong_and_its_ticket_must_come() -> None:
    harmless = replace(SITE_DOWN, page=None, ticket="CalsyncGraphThrottled")
    assert judge(harmless, [sent(alert(site="acme"))]) == [
        "no ticket CalsyncGraphThrottled",
        "paged: CalsyncSiteDown{site=acme}",
    ]


def test_a_webhook_document_is_read() -> None:
    document = {
        "status": "firing",
        "groupKey": "{}:{}",
        "alerts": [{"status": "firing", "labels": {"alertname": "A", "severity": "page"}, "annotations": {}}],
    }
    notification = read("pager", document, 1.0)
    assert notification.pages
    assert told(notification.alerts) == "A"


def test_many_alerts_of_one_name_are_counted() -> None:
    many = [alert("CalsyncTooOld", partition=str(number)) for number in range(12)]
    assert told([alert(site="acme"), *many]) == "CalsyncSiteDown{site=acme}, CalsyncTooOld × 12"


def test_a_runbooks_queries_are_read(tmp_path: Path) -> None:
    runbook = tmp_path / "CalsyncX.md"
    runbook.write_text("# X\n\n```promql\nup\n\nsum(\n  x)\n```\n\n```console\n$ calsync doctor\n```\n")
    assert of_runbook(runbook) == ["up", "sum(\n  x)"]


def test_every_fault_has_a_name_of_its_own_and_a_few_are_quick() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert sum(fault.quick for fault in FAULTS) == 4


def test_the_service_has_the_waits_that_are_divided() -> None:
    command = [sys.executable, "-m", "tests.gameday.service", "12", "--version"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("calsync "), done.stderr
