"""The rules of Grafana's dashboard-linter (https://github.com/grafana/dashboard-linter), over a dashboard's JSON.

Its three stricter places: `increase` may only look back as far as `$__rate_interval`, the time range shown, or a round
number of hours; every type of panel is checked, not only those that the linter lists; a unit must be one that the
dashboards use. LogQL has no parser in Python: its two rules look only at the form of a query.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import promql_parser as promql

Dashboard = Mapping[str, Any]
Rule = Callable[[Dashboard], Iterator[str]]

RATE_INTERVAL: Final = timedelta(seconds=11277964)
SHOWN: Final = timedelta(seconds=11277965)
"""What `$__rate_interval` and `$__range` stand for while a query is parsed: durations that nobody writes."""
UNITS: Final = {"none", "short", "s", "percentunit", "cps", "reqps", "bytes"}
"""Those of Grafana's units that the dashboards use."""
_VARIABLE: Final = re.compile(r'(?<!")\$\{?(\w+)\}?')
_LABEL_QUERY: Final = re.compile(r"(?:label_names|label_values|metrics|query_result)\((.+?)(?:,\s*\w+)?\)")


# Looking into dashboards and queries


def variables(dashboard: Dashboard, kind: str) -> list[dict[str, Any]]:
    return [variable for variable in dashboard["templating"]["list"] if variable["type"] == kind]


def panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panels(panel)
        else:
            yield panel


def targets(dashboard: Dashboard, language: str = "prometheus") -> Iterator[tuple[str, dict[str, Any]]]:
    """The queries in a language, each with where it stands."""
    [kind] = {variable["query"] for variable in variables(dashboard, "datasource")} or {""}
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            if target.get("datasource", {}).get("type", kind) == language:
                yield f"{panel.get('title')} {target['refId']}", target


def parsed(expression: str) -> promql.Expr:
    """A query, with durations instead of Grafana's variables. Variables inside strings stay. Raises ValueError."""
    durations = {"__rate_interval": RATE_INTERVAL, "__range": SHOWN}
    filled = _VARIABLE.sub(lambda match: f"{durations[match[1]].total_seconds():.0f}s", expression)
    return promql.parse(filled)


def nodes(expression: promql.Expr, *above: promql.Expr) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every part of a query, with the parts that contain it: the nearest one last."""
    yield expression, above
    below = [getattr(expression, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for part in (*below, *(getattr(expression, "args", None) or ())):
        if isinstance(part, promql.Expr):
            yield from nodes(part, *above, expression)


def queries(dashboard: Dashboard) -> Iterator[tuple[str, promql.Expr]]:
    """The queries that can be parsed. That the others cannot is a rule of its own."""
    for place, target in targets(dashboard):
        try:
            yield place, parsed(target["expr"])
        except (ValueError, KeyError):
            continue


# The rules


def template_datasource(dashboard: Dashboard) -> Iterator[str]:
    found = variables(dashboard, "datasource")
    if not found:
        yield "no variable for the data source"
    for variable in found:
        if variable["name"] not in {"datasource", f"{variable['query']}_datasource"}:
            yield f"the data source's variable is named {variable['name']}"
        if variable.get("label") not in {"Data source", f"{variable['query'].title()} data source"}:
            yield f"the data source's variable is labelled {variable.get('label')}"


def _template(dashboard: Dashboard, name: str) -> Iterator[str]:
    found = next((each for each in dashboard["templating"]["list"] if each["name"] == name), None)
    if found is None:
        yield f"no variable {name}"
        return
    expected = {
        "type": "query",
        "label": name.title(),
        "multi": True,
        "allValue": ".+",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
    }
    for key, value in expected.items():
        if found.get(key) != value:
            yield f"{name}: {key} is {found.get(key)!r}, not {value!r}"


def template_job(dashboard: Dashboard) -> Iterator[str]:
    yield from _template(dashboard, "job")


def template_instance(dashboard: Dashboard) -> Iterator[str]:
    yield from _template(dashboard, "instance")


def template_label_promql(dashboard: Dashboard) -> Iterator[str]:
    for variable in variables(dashboard, "query"):
        match = _LABEL_QUERY.fullmatch(variable["query"])
        if match is None:
            yield f"{variable['name']}: not a query for labels: {variable['query']}"
            continue
        try:
            parsed(match[1])
        except ValueError as error:
            yield f"{variable['name']}: {error}"


def template_on_time_change_reload(dashboard: Dashboard) -> Iterator[str]:
    for variable in variables(dashboard, "query"):
        if variable.get("refresh") != 2:
            yield f"{variable['name']} is not read again when the time range changes"


def panel_datasource(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        own = [part["datasource"]["uid"] for part in panel.get("targets", ()) if "datasource" in part]
        uids = {panel.get("datasource", {}).get("uid"), *own}
        if uids != {"${datasource}"}:
            yield f"{panel.get('title')}: data source {uids}"


def panel_title_description(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel.get("title") or not panel.get("description"):
            yield f"panel {panel.get('id')} has no title or no description"


def panel_units(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        field = panel["fieldConfig"]
        units = [prop["value"] for each in field["overrides"] for prop in each["properties"] if prop["id"] == "unit"]
        for unit in (field["defaults"].get("unit"), *units):
            if unit not in UNITS:
                yield f"{panel.get('title')}: unit {unit}"


def panel_no_targets(dashboard: Dashboard) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel.get("targets"):
            yield f"{panel.get('title')} has no query"


def target_logql(dashboard: Dashboard) -> Iterator[str]:
    for place, target in targets(dashboard, "loki"):
        expression = target["expr"]
        pairs = [expression.count(left) == expression.count(right) for left, right in ("{}", "()", "[]")]
        if not all(pairs) or not re.search(r'\{\s*\w+\s*(?:=~?|!=|!~)\s*["`]', expression):
            yield f"{place}: not LogQL: {expression}"


def target_logql_auto(dashboard: Dashboard) -> Iterator[str]:
    for place, target in targets(dashboard, "loki"):
        if any(duration != "$__auto" for duration in re.findall(r"\[([^\]]+)\]", target["expr"])):
            yield f"{place}: a range that is not $__auto: {target['expr']}"


def target_promql(dashboard: Dashboard) -> Iterator[str]:
    for place, target in targets(dashboard):
        try:
            parsed(target["expr"])
        except (ValueError, KeyError) as error:
            yield f"{place}: {error}"


def target_rate_interval(dashboard: Dashboard) -> Iterator[str]:
    for place, query in queries(dashboard):
        for node, above in nodes(query):
            if isinstance(node, promql.MatrixSelector) and above and isinstance(above[-1], promql.Call):
                function, window = above[-1].func.name, node.range
                hours = not window % timedelta(hours=1)
                if window != RATE_INTERVAL and (
                    function in {"rate", "irate"} or (function == "increase" and window != SHOWN and not hours)
                ):
                    yield f"{place}: {function} over {window}"


def _matcher(dashboard: Dashboard, label: str) -> Iterator[str]:
    for place, query in queries(dashboard):
        for node, _ in nodes(query):
            if isinstance(node, promql.VectorSelector):
                own = [(each.op, each.value) for each in node.matchers.matchers if each.name == label]
                if own != [(promql.MatchOp.Re, f"${label}")]:
                    yield f"{place}: {node.prettify()} does not match {label}"


def target_job(dashboard: Dashboard) -> Iterator[str]:
    yield from _matcher(dashboard, "job")


def target_instance(dashboard: Dashboard) -> Iterator[str]:
    yield from _matcher(dashboard, "instance")


def target_counter_agg(dashboard: Dashboard) -> Iterator[str]:
    for place, query in queries(dashboard):
        for node, above in nodes(query):
            if isinstance(node, promql.VectorSelector) and (node.name or "").endswith("_total"):
                calls = [part for part in above[-2:-1] if isinstance(part, promql.Call)]
                if [call.func.name for call in calls] not in (["rate"], ["irate"], ["increase"]):
                    yield f"{place}: {node.name} is a counter, and is not read by rate, irate or increase"


def uneditable_dashboard(dashboard: Dashboard) -> Iterator[str]:
    if dashboard.get("editable") is not False:
        yield "the dashboard can be edited"


RULES: Final[Mapping[str, Rule]] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_job,
    "template-instance-rule": template_instance,
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-logql-rule": target_logql,
    "target-logql-auto-rule": target_logql_auto,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_job,
    "target-instance-rule": target_instance,
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard-rule": uneditable_dashboard,
}
