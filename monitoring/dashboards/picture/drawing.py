"""Draws a dashboard: its panels at their places, headings, and a caption."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from xml.sax.saxutils import escape

from monitoring.dashboards.picture import svg
from monitoring.dashboards.picture.answers import Answers, Span
from monitoring.dashboards.picture.panels import Box, panel

CAPTION: Final = "Drawn from the dashboard's queries; not a Grafana screenshot"
_WIDTH: Final = 1240.0
_MARGIN: Final = 14.0
_TOP: Final = 54.0
_ROW: Final = 29.0
_GAP: Final = 8.0


def drawing(dashboard: Mapping[str, Any], answers: Answers, rows: int | None = None) -> str:
    """The dashboard as SVG; with ``rows``, only that many of its rows."""
    parts = [_heading(dashboard["title"], answers.span)]
    lowest = 0.0
    begun = 0
    for configuration in dashboard["panels"]:
        is_row = configuration["type"] == "row"
        begun += is_row
        if rows is not None and begun > rows:
            break
        box = _box(configuration["gridPos"])
        lowest = max(lowest, box.bottom)
        if is_row:
            parts.append(
                svg.label(box.x + 2, box.bottom - 6, configuration["title"], 14, 600, class_="f-text", font_weight=600)
            )
        else:
            parts.append(panel(configuration, box, answers))
    height = lowest + 34
    parts.append(svg.label(_MARGIN + 2, height - 12, CAPTION, 11, 800, class_="f-muted"))
    ground = svg.element("rect", width=_WIDTH, height=height, rx=8, class_="f-canvas")
    title = svg.element("title", escape(f"{dashboard['title']}. {CAPTION}."))
    return (
        svg.element(
            "svg",
            "\n".join([title, svg.style(), ground, *parts, ""]),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {_WIDTH:g} {height:g}",
            width=_WIDTH,
            height=height,
            role="img",
        )
        + "\n"
    )


def _heading(title: str, span: Span) -> str:
    start, end = (datetime.fromtimestamp(at, UTC) for at in span)
    shown = f"{start:%-d %b %Y, %H:%M} – {end:%H:%M} UTC"
    return svg.label(_MARGIN + 2, 34, title, 18, 800, class_="f-text", font_weight=600) + svg.label(
        _WIDTH - _MARGIN - 2, 33, shown, 12, 400, class_="f-muted", text_anchor="end"
    )


def _box(place: Mapping[str, int]) -> Box:
    column = (_WIDTH - 2 * _MARGIN + _GAP) / 24
    return Box(
        _MARGIN + place["x"] * column,
        _TOP + place["y"] * _ROW,
        place["w"] * column - _GAP,
        place["h"] * _ROW - _GAP,
    )
