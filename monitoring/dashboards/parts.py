"""The parts that all dashboards are made of. Queries are written without `job` and `instance`: the parts add them."""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final, NamedTuple, TypeAlias, TypeVar

from grafana_foundation_sdk.builders import common, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TableCellDisplayMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLink,
    DashboardLinkType,
    DashboardRangeMapOptions,
    DashboardSpecialValueMapOptions,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    RangeMap,
    SpecialValueMap,
    SpecialValueMatch,
    Threshold,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.dashboards.limits import LONG_AGO, NEUTRAL, Steps

DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
TITLES: Final = {
    "calsync-overview": "Core Calendar Sync: overview",
    "calsync-site": "Core Calendar Sync: one site",
    "calsync-kafka": "Core Calendar Sync: Kafka",
    "calsync-graph": "Core Calendar Sync: Graph",
}
"""By uid. Alerts link to these uids, so they must not change."""
_METRIC: Final = re.compile(r"\b((?:calsync|process)_\w+)(?:\{([^}]*)\})?")
_HEIGHT: Final = {"stat": 4, "graph": 8}
_GREY: Final = "#6b7280"

Panel: TypeAlias = stat.Panel | timeseries.Panel | table.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, table.Panel)


class Row(NamedTuple):
    """Panels below a heading."""

    title: str
    panels: Sequence[Panel]


def selected(expression: str) -> str:
    """``expression`` for the jobs and instances that are selected: every metric gets these two matchers.

    >>> selected('max(calsync_site_up{site="x"})')
    'max(calsync_site_up{job=~"$job",instance=~"$instance",site="x"})'
    """

    def with_matchers(match: re.Match[str]) -> str:
        own = f",{match[2]}" if match[2] else ""
        return f'{match[1]}{{job=~"$job",instance=~"$instance"{own}}}'

    return _METRIC.sub(with_matchers, expression)


# Texts instead of numbers


def words(texts: Mapping[float, tuple[str, str]]) -> list[ValueMapping]:
    """Shows a value as a text and a colour."""
    options = {f"{value:g}": _text(*shown, index=index) for index, (value, shown) in enumerate(texts.items())}
    return [ValueMap(options=options)]


def never(text: str = "never") -> list[ValueMapping]:
    """Shows the age of a timestamp that is 0 as a text."""
    return [RangeMap(options=DashboardRangeMapOptions(from_val=LONG_AGO, result=_text(text, "red")))]


def no_date() -> list[ValueMapping]:
    """Shows the time until a date that is unknown as a text."""
    return [RangeMap(options=DashboardRangeMapOptions(from_val=LONG_AGO, result=_text("no date", "blue")))]


def _text(text: str, colour: str, index: int = 0) -> ValueMappingResult:
    return ValueMappingResult(text=text, color=colour, index=index)


UP: Final = words({0: ("down", "red"), 1: ("up", "green")})


# Panels


def number(
    title: str,
    query: str,
    *,
    means: str,
    act: str,
    unit: str = "none",
    steps: Steps = NEUTRAL,
    mappings: Sequence[ValueMapping] = (),
    empty: str = "no data",
    link: str | None = None,
    width: int = 3,
    decimals: int | None = None,
) -> stat.Panel:
    """One number on a ground whose colour says whether it is good, with its course behind it.

    Args:
        title: what it is.
        query: PromQL that gives one value.
        means: what the number means.
        act: what to do when its colour is bad.
        unit: Grafana's name of the unit.
        steps: where the colour changes.
        mappings: texts instead of numbers.
        empty: the text for no value or NaN.
        link: uid of the dashboard that shows more.
        width: in 24ths of the dashboard.
        decimals: places after the point; chosen by Grafana if None.
    """
    # Without an end of NaN, Grafana would go on to show the last value of a series that ended: green while all is down.
    lasting = f"({query}) or vector(NaN)"
    match = SpecialValueMatch.NULL_AND_NAN
    nothing = SpecialValueMap(options=DashboardSpecialValueMapOptions(match=match, result=_text(empty, _GREY)))
    panel = (
        _described(stat.Panel(), title, means, act, link)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .mappings([*mappings, nothing])
        .no_value("no data")
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["last"]))
        .height(_HEIGHT["stat"])
        .span(width)
        .with_target(_target("A", lasting, title))
    )
    return panel if decimals is None else panel.decimals(decimals)


def graph(
    title: str,
    queries: Mapping[str, str],
    *,
    means: str,
    act: str,
    unit: str = "none",
    steps: Steps | None = None,
    stacked: bool = False,
    link: str | None = None,
    width: int = 8,
    highest: float | None = None,
) -> timeseries.Panel:
    """Lines over time.

    Args:
        title: what it shows.
        queries: by the legend of their lines, for example ``{"{{site}}": "max by (site) (…)"}``.
        means: what the lines mean.
        act: what to do when they look bad.
        unit: Grafana's name of the unit.
        steps: drawn as dashed lines.
        stacked: draw the lines on top of each other.
        link: uid of the dashboard that shows more.
        width: in 24ths of the dashboard.
        highest: the axis reaches at least this.
    """
    panel = (
        _described(timeseries.Panel(), title, means, act, link)
        .unit(unit)
        .min(0)
        .no_value("no data")
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .height(_HEIGHT["graph"])
        .span(width)
        .targets([_target(_ref(index), query, legend) for index, (legend, query) in enumerate(queries.items())])
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if highest is not None:
        panel = panel.axis_soft_max(highest)
    if steps is not None:
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED)
        )
    return panel


class Column(NamedTuple):
    """A column of a table, with PromQL that gives one value for each row."""

    title: str
    query: str
    unit: str = "none"
    steps: Steps | None = None
    mappings: Sequence[ValueMapping] = ()


def rows_by(
    label: str, title: str, columns: Sequence[Column], *, means: str, act: str, url: str = "", height: int = 7
) -> table.Panel:
    """A table with one row for each value of ``label``, which links to ``url``."""
    refs = {f"Value #{_ref(index)}": column for index, column in enumerate(columns)}
    heading = label.capitalize()
    panel = (
        _described(table.Panel(), title, means, act)
        .unit("none")
        .no_value("–")
        .height(height)
        .span(24)
        .targets([_instant(_ref(index), column.query) for index, column in enumerate(columns)])
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "renameByName": {label: heading} | {ref: column.title for ref, column in refs.items()},
                },
            )
        )
    )
    if url:
        link = {"title": "Show it", "url": url}
        panel = panel.override_by_name(heading, [DynamicConfigValue(id_val="links", value=[link])])
    for column in columns:
        properties = [DynamicConfigValue(id_val="unit", value=column.unit)]
        if column.mappings:
            properties.append(DynamicConfigValue(id_val="mappings", value=list(column.mappings)))
        if column.steps is not None:
            cell = {"type": TableCellDisplayMode.COLOR_TEXT.value}
            properties.append(DynamicConfigValue(id_val="thresholds", value=_thresholds(column.steps).build()))
            properties.append(DynamicConfigValue(id_val="custom.cellOptions", value=cell))
        panel = panel.override_by_name(column.title, properties)
    return panel


def _described(panel: P, title: str, means: str, act: str, link: str | None = None) -> P:
    panel = panel.title(title).description(f"{means}\n\n**What to do:** {act}").datasource(DATASOURCE)
    return panel if link is None else panel.links([_link(link)])


def _ref(index: int) -> str:
    return chr(ord("A") + index)


def _target(ref: str, query: str, legend: str) -> Dataquery:
    return Dataquery().ref_id(ref).expr(selected(query)).legend_format(legend).range()


def _instant(ref: str, query: str) -> Dataquery:
    return Dataquery().ref_id(ref).expr(selected(query)).format(PromQueryFormat.TABLE).instant()


def _thresholds(steps: Steps) -> grafana.ThresholdsConfig:
    return grafana.ThresholdsConfig().steps([Threshold(value=step.value, color=step.colour) for step in steps])


# Dashboards


def board(uid: str, about: str, rows: Sequence[Row], variables: Sequence[grafana.QueryVariable] = ()) -> str:
    """The JSON of the dashboard ``uid`` of :data:`TITLES`, with its variables and links to the other dashboards."""
    others = [_link(other) for other in TITLES if other != uid]
    built = (
        grafana.Dashboard(TITLES[uid])
        .uid(uid)
        .description(about)
        .tags(["calsync"])
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .variables([grafana.DatasourceVariable("datasource").label("Data source").type("prometheus")])
        .with_variable(_many("job", "label_values(calsync_build_info, job)"))
        .with_variable(_many("instance", 'label_values(calsync_build_info{job=~"$job"}, instance)'))
        .links(others)
    )
    for variable in variables:
        built = built.with_variable(variable)
    ids = count(1)  # stable, so that a link to one panel stays right
    for row in rows:
        built = built.with_row(grafana.Row(row.title).id(next(ids)))
        for panel in row.panels:
            built = built.with_panel(panel.id(next(ids)))
    return JSONEncoder(indent=2, ensure_ascii=False).encode(built.build()) + "\n"


def one(name: str, query: str) -> grafana.QueryVariable:
    """A variable of which one value is chosen."""
    return _variable(name, query).multi(False).include_all(False)


def _many(name: str, query: str) -> grafana.QueryVariable:
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return _variable(name, query).multi(True).include_all(True).all_value(".+").current(everything)


def _variable(name: str, query: str) -> grafana.QueryVariable:
    return (
        grafana.QueryVariable(name)
        .label(name.capitalize())
        .query(query)
        .datasource(DATASOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _link(uid: str) -> Builder[DashboardLink]:
    return (
        grafana.DashboardLink(TITLES[uid].partition(": ")[2].capitalize())
        .type(DashboardLinkType.LINK)
        .icon("dashboard")
        .url(f"/d/{uid}")
        .include_vars(True)
        .keep_time(True)
    )
