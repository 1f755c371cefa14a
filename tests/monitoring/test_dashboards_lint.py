"""The dashboards follow all rules of Grafana's dashboard-linter, and each rule finds what it is for."""

import copy
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from monitoring.dashboards.files import DASHBOARDS
from tests.monitoring.dashboard_linter import RULES, UNITS, panels

BUILT: Final = {name: json.loads(build()) for name, build in DASHBOARDS.items()}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", BUILT)
def test_dashboard_follows_the_rule(name: str, rule: str) -> None:
    assert list(RULES[rule](BUILT[name])) == []


def variable(dashboard: Any, name: str) -> Any:
    return next(each for each in dashboard["templating"]["list"] if each["name"] == name)


def with_variable(name: str, /, **changes: Any) -> Callable[[Any], None]:
    return lambda dashboard: variable(dashboard, name).update(changes)


def without_variable(name: str) -> Callable[[Any], None]:
    return lambda dashboard: dashboard["templating"]["list"].remove(variable(dashboard, name))


def with_panel(**changes: Any) -> Callable[[Any], None]:
    return lambda dashboard: next(panels(dashboard)).update(changes)


def with_query(expression: str, **changes: Any) -> Callable[[Any], None]:
    return lambda dashboard: next(panels(dashboard))["targets"][0].update(expr=expression, **changes)


def with_unit(unit: str | None) -> Callable[[Any], None]:
    return lambda dashboard: next(panels(dashboard))["fieldConfig"]["defaults"].update(unit=unit)


SELECTED: Final = 'job=~"$job",instance=~"$instance"'
LOKI: Final = {"datasource": {"type": "loki", "uid": "${datasource}"}}
BROKEN: Final[list[tuple[str, Callable[[Any], None]]]] = [
    ("template-datasource-rule", without_variable("datasource")),
    ("template-datasource-rule", with_variable("datasource", name="source")),
    ("template-datasource-rule", with_variable("datasource", label="Source")),
    ("template-job-rule", without_variable("job")),
    ("template-job-rule", with_variable("job", multi=False)),
    ("template-job-rule", with_variable("job", allValue=".*")),
    ("template-job-rule", with_variable("job", label="job")),
    ("template-job-rule", with_variable("job", type="custom")),
    ("template-job-rule", with_variable("job", datasource={"type": "prometheus", "uid": "P1809F7CD0C75ACF3"})),
    ("template-instance-rule", without_variable("instance")),
    ("template-instance-rule", with_variable("instance", allValue=None)),
    ("template-label-promql-rule", with_variable("job", query="label_values(calsync_build_info{, job)")),
    ("template-label-promql-rule", with_variable("job", query="labels(calsync_build_info, job)")),
    ("template-on-time-change-reload-rule", with_variable("instance", refresh=1)),
    ("panel-datasource-rule", with_panel(datasource={"type": "prometheus", "uid": "P1809F7CD0C75ACF3"})),
    ("panel-datasource-rule", with_query("up", datasource={"type": "prometheus", "uid": "P1809F7CD0C75ACF3"})),
    ("panel-datasource-rule", lambda dashboard: next(panels(dashboard)).pop("datasource")),
    ("panel-title-description-rule", with_panel(title="")),
    ("panel-title-description-rule", with_panel(description="")),
    ("panel-units-rule", with_unit(None)),
    ("panel-units-rule", with_unit("seconds")),
    ("panel-no-targets-rule", with_panel(targets=[])),
    ("target-logql-rule", with_query("{app=}", **LOKI)),
    ("target-logql-rule", with_query('sum(rate({app="calsync"}[$__auto])', **LOKI)),
    ("target-logql-auto-rule", with_query('sum(rate({app="calsync"}[5m]))', **LOKI)),
    ("target-promql-rule", with_query(f"sum(rate(calsync_events_total{{{SELECTED}}}[$__rate_interval])")),
    ("target-promql-rule", with_query("")),
    ("target-promql-rule", with_query(f"max_over_time(calsync_kafka_lag{{{SELECTED}}}[$window])")),
    ("target-rate-interval-rule", with_query(f"sum(rate(calsync_events_total{{{SELECTED}}}[5m]))")),
    ("target-rate-interval-rule", with_query(f"sum(irate(calsync_events_total{{{SELECTED}}}[$__range]))")),
    ("target-rate-interval-rule", with_query(f"sum(increase(calsync_events_total{{{SELECTED}}}[5m]))")),
    ("target-job-rule", with_query('calsync_lanes_busy{instance=~"$instance"}')),
    ("target-job-rule", with_query('calsync_lanes_busy{job="$job",instance=~"$instance"}')),
    ("target-job-rule", with_query(f'calsync_lanes_busy{{{SELECTED}}} / calsync_lanes_busy{{instance=~"$instance"}}')),
    ("target-instance-rule", with_query('max(max_over_time(calsync_kafka_lag{job=~"$job"}[5m]))')),
    ("target-instance-rule", with_query('max_over_time(max(calsync_kafka_lag{job=~"$job"})[5m:1m])')),
    ("target-counter-agg-rule", with_query(f"calsync_events_total{{{SELECTED}}}")),
    ("target-counter-agg-rule", with_query(f"max_over_time(calsync_events_total{{{SELECTED}}}[5m])")),
    ("target-counter-agg-rule", with_query(f"rate(sum(calsync_events_total{{{SELECTED}}})[5m:1m])")),
    ("uneditable-dashboard-rule", lambda dashboard: dashboard.update(editable=True)),
    ("uneditable-dashboard-rule", lambda dashboard: dashboard.pop("editable")),
]


@pytest.mark.parametrize(("rule", "harm"), BROKEN, ids=[f"{rule}-{index}" for index, (rule, _) in enumerate(BROKEN)])
def test_rule_fails_on_a_broken_dashboard(rule: str, harm: Callable[[Any], None]) -> None:
    dashboard = copy.deepcopy(BUILT["overview"])
    harm(dashboard)
    assert list(RULES[rule](dashboard)) != []


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for rule, _ in BROKEN} == RULES.keys()
    assert len(RULES) == 17


def test_every_unit_that_is_allowed_is_used() -> None:
    used = {panel["fieldConfig"]["defaults"]["unit"] for dashboard in BUILT.values() for panel in panels(dashboard)}
    assert used == UNITS
