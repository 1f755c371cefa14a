"""The dashboards that are kept are those of the code, and name only what exists."""

import json
import re
from pathlib import Path
from typing import Any, Final

import promql_parser as promql
import pytest
import yaml

from consumer.cli import entry
from monitoring.dashboards import files
from monitoring.dashboards.__main__ import main
from monitoring.dashboards.limits import ALERT_THRESHOLDS
from monitoring.dashboards.parts import TITLES
from monitoring.dashboards.queries import all_queries, filled, queries_of, shows, values
from tests.monitoring.dashboard_linter import nodes, panels
from tests.monitoring.metric_names import LABELS, labels_of

ROOT: Final = Path(__file__).resolve().parents[2]
RULES_FILE: Final = ROOT / "helm" / "core-calendar-sync" / "files" / "rules.yaml"
BUILT: Final = {name: json.loads(build()) for name, build in files.DASHBOARDS.items()}
QUERIES: Final = all_queries(values(site="acme"))
SHOWN_NOWHERE: Final = {"process_max_fds", "process_open_fds", "process_virtual_memory_bytes"}


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def texts() -> list[str]:
    return [panel["description"] for dashboard in BUILT.values() for panel in panels(dashboard)]


# The files


def test_kept_dashboards_equal_the_code() -> None:
    assert files.outdated() == [], "run python -m monitoring.dashboards"


def test_check_reports_what_differs_and_write_repairs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["dashboards"])
    assert main() == 0
    assert {file.stem for file in tmp_path.iterdir()} == files.DASHBOARDS.keys()

    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "site.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["dashboards", "--check"])
    assert main() == 1
    assert re.findall(r"(\w+)\.json differs", capsys.readouterr().err) == ["old", "site"]

    assert [file.name for file in files.write()] == ["old.json", "site.json"]
    assert main() == 0
    assert not (tmp_path / "old.json").exists()


@pytest.mark.parametrize("name", BUILT)
def test_building_twice_gives_the_same_text(name: str) -> None:
    assert files.DASHBOARDS[name]() == files.DASHBOARDS[name]()


@pytest.mark.parametrize("name", BUILT)
def test_dashboard_can_be_imported_anywhere(name: str) -> None:
    dashboard = BUILT[name]
    assert dashboard["uid"] == f"calsync-{name}"
    assert dashboard.get("id") is None  # Grafana's own number, different in each installation
    assert set(re.findall(r'"uid": "([^"]*)"', json.dumps(dashboard))) == {"${datasource}", dashboard["uid"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", BUILT)
def test_panels_fill_their_rows_and_never_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BUILT[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    bottom = max(y for _, y in taken) + 1
    assert len(taken) == 24 * bottom


@pytest.mark.parametrize("name", BUILT)
def test_links_lead_to_dashboards_that_exist(name: str) -> None:
    linked = set(re.findall(r"/d/([\w-]+)", json.dumps(BUILT[name])))
    assert linked == TITLES.keys() - ({BUILT[name]["uid"]} - linked)
    assert {f"/d/{uid}" for uid in TITLES} - {link["url"] for link in BUILT[name]["links"]} == {f"/d/calsync-{name}"}


# What they say


def test_every_query_has_its_variables_filled() -> None:
    assert len(QUERIES) > 100
    assert [str(query) for query in QUERIES if "$" in query.expression] == []
    for query in QUERIES:
        promql.parse(query.expression)


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled("rate(calsync_events_total[$window])", values(site="acme"))


def test_a_number_never_shows_what_it_showed_before_it_ended() -> None:
    """A series that ended has no last point of its own, so Grafana would show an old one."""
    numbers = [panel for dashboard in BUILT.values() for panel in panels(dashboard) if panel["type"] == "stat"]
    assert [panel["options"]["reduceOptions"]["calcs"] for panel in numbers] == [["last"]] * len(numbers)
    assert [
        query for query in QUERIES if query.kind == "stat" and not query.expression.endswith(" or vector(NaN)")
    ] == []
    assert [query for query in QUERIES if "vector(0)" in query.expression and query.panel != "Replicas"] == []


def test_nan_is_no_data() -> None:
    answers = [{"data": {"result": [{"metric": {}, "value": [0, value]}]}} for value in ("NaN", "0", "+Inf")]
    assert [shows(answer) for answer in answers] == [False, True, True]
    assert not shows({"data": {"result": []}})


def test_queries_of_collapsed_rows_are_found_too() -> None:
    dashboard = json.loads(json.dumps(BUILT["kafka"]))
    inner = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    folded = {**dashboard, "panels": [{"type": "row", "panels": inner}]}
    variables = values(site="acme")
    assert queries_of(folded, variables) == queries_of(dashboard, variables)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}-{query.panel_id}-{query.ref}")
def test_query_reads_metrics_and_labels_that_exist(query: Any) -> None:
    expression = promql.parse(query.expression)
    known: set[str] = set()
    for node, _ in nodes(expression):
        if isinstance(node, promql.VectorSelector):
            assert node.name is not None
            labels = labels_of(node.name) | {"job", "instance"}
            assert {matcher.name for matcher in node.matchers.matchers} <= labels
            known |= labels
    for node, _ in nodes(expression):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql.AggregateExpr) and modifier is not None:
            assert set(modifier.labels) <= known
    assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= known


def test_every_metric_is_shown_somewhere() -> None:
    shown = " ".join(query.expression for query in QUERIES)
    assert {name for name in LABELS if not re.search(rf"\b{name}(?:_bucket|_count|_sum)?\b", shown)} == SHOWN_NOWHERE


def test_descriptions_say_what_to_do() -> None:
    assert [text for text in texts() if "\n\n**What to do:** " not in text] == []


def test_descriptions_name_commands_that_exist() -> None:
    commands = {match for text in texts() for match in re.findall(r"`calsync ([^`]+)`", text)}
    assert len(commands) > 5
    for command in commands:
        name, *rest = command.split()
        inner = getattr(entry.load(name), "commands", {})
        if inner:
            assert rest.pop(0) in inner, command
        options = {option for each in entry.load(name).params for option in each.opts}
        assert {word for word in rest if word.startswith("-")} <= options, command


def test_descriptions_name_pages_that_exist() -> None:
    pages = {page for text in texts() for page in re.findall(r"\bdocs/[\w./-]+\.md\b", text)}
    assert [page for page in pages if not (ROOT / page).exists()] == []


# The alerts


def test_descriptions_name_alerts_that_exist() -> None:
    named = {alert for text in texts() for alert in re.findall(r"\bCalsync\w+", text)}
    assert named <= alerts().keys()


@pytest.mark.parametrize("alert", ALERT_THRESHOLDS)
def test_colours_change_where_the_alert_fires(alert: str) -> None:
    rule = alerts()[alert]
    assert float(rule["annotations"]["threshold"]) == ALERT_THRESHOLDS[alert]
