"""The alerting rules: promtool's tests of each, and what holds for all of them."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from promql_parser import parse

from tests.monitoring import mutants
from tests.monitoring.metric_names import is_known
from tests.monitoring.rules_file import RULES, UNIT_TESTS, Rule, needed, read, rules, seconds, series

ALL: Final = rules()
ALERTS: Final = [rule for rule in ALL if rule.alerts]
RECORDED: Final = {rule.name for rule in ALL if not rule.alerts}
BASES: Final = {
    "runbook_url": "{{ with $externalLabels.calsync_url }}{{ . }}{{ else }}http://localhost:9464{{ end }}/runbooks/",
    "dashboard_url": "{{ with $externalLabels.grafana_url }}{{ . }}{{ else }}http://localhost:3000{{ end }}/d/calsync-",
}
BOARDS: Final = {"overview", "kafka", "graph", "site?var-site={{ $labels.site }}"}
UNITS: Final = {"s": 1, "second": 1, "minute": 60, "hour": 3600, "day": 86400}

each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule.name)
each_rule = pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)


@pytest.fixture(scope="module")
def bench(promtool: Path) -> mutants.Bench:
    """What runs promtool's tests, with only the rules that they need."""
    return mutants.Bench(promtool)


def test_promtool_accepts_the_rules(promtool: Path) -> None:
    subprocess.run([promtool, "check", "rules", RULES], check=True, capture_output=True)


@pytest.mark.parametrize("tests", sorted(UNIT_TESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_promtools_unit_tests_pass(bench: mutants.Bench, tests: Path) -> None:
    assert not bench.fails(tests.stem, None), bench.said


def test_a_changed_rule_is_noticed_and_one_that_no_test_can_see_is_not(bench: mutants.Bench) -> None:
    """``make test-long`` tries a sample of the changes, ``make alert-mutants`` all of them."""
    by_name = {rule.name: rule for rule in ALL}
    noticed = list(mutants.mutants_of(by_name["CalsyncKafkaUnavailable"]))
    unnoticed = list(mutants.mutants_of(by_name["CalsyncWatchdog"]))
    assert len(noticed) == 6
    assert len(unnoticed) == 2
    assert list(mutants.survivors(bench, [*noticed, *unnoticed], workers=1)) == unnoticed


def test_alert_names_are_unique_and_recorded_names_have_a_level_a_metric_and_operations() -> None:
    names = [rule.name for rule in ALL]
    assert len(names) == len(set(names))
    assert len(ALERTS) == 33
    for name in RECORDED:
        assert re.fullmatch(r"[a-z_]+:calsync_[a-z_]+:[a-z0-9_]+", name), name


@each_rule
def test_every_expression_is_promql_over_series_that_exist(rule: Rule) -> None:
    parse(rule.expr)
    assert [name for name in series(rule.expr) if not is_known(name, RECORDED)] == []


@each_rule
def test_every_alert_that_an_expression_names_exists(rule: Rule) -> None:
    for matcher in re.findall(r'alertname=~?"([^"]+)"', rule.expr):
        assert all(any(re.fullmatch(option, alert.name) for alert in ALERTS) for option in _options(matcher)), matcher


def _options(matcher: str) -> list[str]:
    inside = re.fullmatch(r"(\w*)\(([^)]*)\)", matcher)
    return [f"{inside[1]}{option}" for option in inside[2].split("|")] if inside else [matcher]


@each_alert
def test_every_alert_has_its_labels_texts_and_addresses(alert: Rule) -> None:
    assert alert.labels == {"severity": alert.labels["severity"], "service": "calsync"}
    assert alert.labels["severity"] in {"page", "ticket", "none"}
    texts = alert.annotations
    assert set(texts) - {"threshold"} == {"summary", "description", "runbook_url", "dashboard_url"}
    assert texts["runbook_url"] == BASES["runbook_url"] + alert.name
    assert texts["dashboard_url"].removeprefix(BASES["dashboard_url"]) in BOARDS
    assert "\n" not in texts["summary"] + texts["description"]
    assert len(re.sub(r"{{.*?}}", "", texts["summary"])) < 110
    if alert.name != "CalsyncWatchdog":
        assert "First step: " in texts["description"]


@each_alert
def test_texts_name_every_label_and_the_value(alert: Rule) -> None:
    texts = alert.annotations["summary"] + alert.annotations["description"]
    tests = read(UNIT_TESTS / f"{alert.name}.yaml")["tests"]
    expected = [one for test in tests for check in test["alert_rule_test"] for one in check["exp_alerts"]]
    labels = {label for one in expected for label in one["exp_labels"]} - set(alert.labels)
    assert [label for label in sorted(labels) if f"$labels.{label} " not in texts] == []
    if "threshold" in alert.annotations:
        assert "$value" in texts


@each_alert
def test_a_threshold_stands_once_in_its_expression_after_a_comparison(alert: Rule) -> None:
    threshold = alert.annotations.get("threshold")
    if threshold is None:
        return
    numbers = [piece.text for piece in mutants.tokens(alert.expr) if piece.kind == "number"]
    assert numbers.count(threshold) == 1
    assert re.search(rf"[<>]\s*{re.escape(threshold)}(?![\w.])", alert.expr)


def test_every_alert_with_one_comparison_to_a_number_has_a_threshold() -> None:
    without = {alert.name for alert in ALERTS if "threshold" not in alert.annotations}
    assert without == {
        # These compare with 0 or 1 for yes and no, or with several numbers.
        *("CalsyncNoReplica", "CalsyncKafkaUnavailable", "CalsyncRedisUnavailable", "CalsyncRedisRefusesWrites"),
        *("CalsyncCoreUnavailable", "CalsyncConsumerStuck", "CalsyncPartitionBlocked", "CalsyncRecordsLost"),
        *("CalsyncSiteDown", "CalsyncClientSecretExpired", "CalsyncWatchdog"),
        *("CalsyncChangesLate", "CalsyncChangesLateSlow", "CalsyncSweepsLate", "CalsyncSweepsLateSlow"),
    }


@each_alert
def test_numbers_in_texts_are_those_of_the_expression(alert: Rule) -> None:
    expr = f"{_with_recorded(alert)} {alert.for_ or ''}"
    known = {float(seconds(found)) for found in re.findall(r"\b(?:\d+[smhd])+\b", expr)}
    known |= {float(found) for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*[smhd]\b)", expr)}
    text = re.sub(r"{{.*?}}", " ", f"{alert.annotations['summary']} {alert.annotations['description']}")
    for number, unit in re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)\s*(%|s\b|seconds?|minutes?|hours?|days?)?", text):
        value = float(number) * (0.01 if unit == "%" else UNITS.get(unit.rstrip("s") or unit, 1))
        assert value in known, f"{number} {unit}"


def _with_recorded(alert: Rule) -> str:
    """The expressions of the alert and of the rules that it reads."""
    wanted = needed({alert.name}, ALL)
    return "\n".join(rule.expr for rule in ALL if rule.name in wanted)


@each_alert
def test_every_alert_is_tested_firing_and_silent_and_just_before_it_fires(alert: Rule) -> None:
    tests = read(UNIT_TESTS / f"{alert.name}.yaml")["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"] if check["alertname"] == alert.name]
    assert any(check["exp_alerts"] for check in checks)
    if alert.name == "CalsyncWatchdog":
        return
    assert any(not any(check["exp_alerts"] for check in test["alert_rule_test"]) for test in tests), "no silent test"
    if alert.for_ is not None:
        assert any(
            [bool(check["exp_alerts"]) for check in test["alert_rule_test"]][:2] == [False, True] for test in tests
        ), "no test of the edge"


def test_every_test_file_belongs_to_an_alert_or_to_recorded_rules() -> None:
    others = {path.stem for path in UNIT_TESTS.glob("*.yaml")} - {alert.name for alert in ALERTS}
    assert others == {
        "recorded",
        "outages",
        "objective_changes",
        "objective_changes_long",
        "objective_sweeps",
        "recoveries",
        "CalsyncSweepsLate_long",
        "CalsyncSweepsLateSlow_long",
        "scenarios",
    }
