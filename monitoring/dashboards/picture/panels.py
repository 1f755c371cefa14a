"""Draws one panel: a number, lines over time, or a table."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

from monitoring.dashboards.picture import svg
from monitoring.dashboards.picture.answers import Answers, Series, Span
from monitoring.dashboards.picture.shown import shown, text_of, ticks

Points: TypeAlias = Sequence[tuple[float, float]]
"""Times and values, or coordinates."""
_STEPS: Final = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds between two marks of the time."""

_NO_VALUE: Final = {"noValue": "–"}


class Box(NamedTuple):
    """Where something is drawn."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.y + self.height


def panel(configuration: Mapping[str, Any], box: Box, answers: Answers) -> str:
    """The panel, with the answers to its queries."""
    draw = {"stat": _number, "timeseries": _graph, "table": _table}[configuration["type"]]
    return draw(configuration, box, answers)


# A number


def _number(configuration: Mapping[str, Any], box: Box, answers: Answers) -> str:
    [target] = configuration["targets"]
    found = answers.lines(target)
    series = found[0] if found else Series("", {}, [], math.nan)
    text, colour = shown(series.last, configuration["fieldConfig"]["defaults"])
    if not found:
        text, colour = "no data", "grey"
    size = next((size for size in (30, 26, 22, 18, 15) if svg.width_of(text, size) <= box.width - 24), 13)
    parts = [
        svg.element(
            "rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=6, fill=svg.TILES.get(colour, colour)
        ),
        _sparkline(series, box, answers.span),
        svg.label(box.x + 12, box.y + 24, configuration["title"], 12, box.width - 20, fill="#fff", fill_opacity=0.88),
        svg.label(
            box.x + 12, box.y + 30 + (box.height - 30) * 0.55, text, size, box.width - 20, fill="#fff", font_weight=600
        ),
    ]
    return "".join(parts)


def _sparkline(series: Series, box: Box, span: Span) -> str:
    values = [value for _, value in series.points if math.isfinite(value)] or [0.0]
    low, high = min(values), max(values)
    if low == high:
        return ""
    area = Box(box.x, box.bottom - 30, box.width, 26)
    points = [
        (_across(at, span, area), area.bottom - (area.height * (min(value, high) - low) / (high - low)))
        for at, value in series.points
    ]
    outline = _path(points)
    closed = f"{outline}V{svg.number(box.bottom)}H{svg.number(points[0][0])}Z"
    return svg.element("path", d=closed, fill="#fff", fill_opacity=0.14) + svg.element(
        "path", d=outline, fill="none", stroke="#fff", stroke_opacity=0.45
    )


# Lines over time


def _graph(configuration: Mapping[str, Any], box: Box, answers: Answers) -> str:
    defaults = configuration["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    series = [line for target in configuration["targets"] for line in answers.lines(target) if line.points]
    area = Box(box.x + 62, box.y + 40, box.width - 78, box.height - 96)
    parts = [_frame(configuration["title"], box)]
    if not series:
        return "".join([*parts, _no_data(box)])
    drawn = _stacked(series) if stacked else [line.points for line in series]
    values = [value for points in drawn for _, value in points if math.isfinite(value)]
    whole = all(value == round(value) for value in values)
    highest = max(custom.get("axisSoftMax", 0.0), max(values, default=0.0) * (1.0 if whole else 1.05)) or 1.0
    marks = ticks(highest, defaults["unit"], whole=whole)
    parts.append(_axes(area, marks, defaults["unit"], answers.span))
    scale = Scale(area, answers.span, marks[-1])
    quiet = [not any(value for _, value in line.points) for line in series]
    floor: Points = ()
    for index, points in enumerate(drawn):
        if stacked and quiet[index]:
            continue  # it would hide the line below it
        parts.append(_line(points, floor, scale, svg.LINES[index % len(svg.LINES)], 0.45 if stacked else 0.08))
        floor = points if stacked else ()
    if "thresholdsStyle" in custom:
        parts += [_threshold(step, area, marks[-1]) for step in defaults["thresholds"]["steps"]]
    entries = [(line.legend, svg.LINES[index % len(svg.LINES)]) for index, line in enumerate(series)]
    order = sorted(range(len(series)), key=lambda index: quiet[index])  # what is 0 may lack room
    parts.append(_legend([entries[index] for index in order], Box(box.x + 14, box.bottom - 24, box.width - 28, 20)))
    return "".join(parts)


def _stacked(series: Sequence[Series]) -> list[Points]:
    """The sums of each line and the lines below it."""
    times = sorted({at for line in series for at, _ in line.points})
    values = [dict(line.points) for line in series]
    sums = [list(accumulate(each.get(at, 0.0) for each in values)) for at in times]
    return [[(at, row[index]) for at, row in zip(times, sums, strict=True)] for index in range(len(series))]


class Scale(NamedTuple):
    """Where times and values are in an area."""

    area: Box
    span: Span
    top: float

    def at(self, points: Points) -> Points:
        """The coordinates of the points. A point on the straight line between its neighbours is left out."""
        found: list[tuple[float, float]] = []
        for time, value in points:
            spot = (_across(time, self.span, self.area), round(_up(value, self.top, self.area), 1))
            if len(found) > 1 and found[-2][1] == found[-1][1] == spot[1]:
                found.pop()
            found.append(spot)
        return found


def _across(at: float, span: Span, area: Box) -> float:
    return area.x + area.width * (at - span.start) / (span.end - span.start)


def _up(value: float, top: float, area: Box) -> float:
    return area.bottom - area.height * min(value, top) / top


def _path(points: Points) -> str:
    return "M" + "L".join(f"{svg.number(x)} {svg.number(y)}" for x, y in points)


def _line(points: Points, floor: Points, scale: Scale, colour: str, opacity: float) -> str:
    """A line, and the ground between it and the ``floor``. Where points are missing, it has a gap."""
    runs: list[list[tuple[float, float]]] = []
    before = -math.inf
    for at, value in points:
        if at - before > scale.span.step * 1.5:
            runs.append([])
        runs[-1].append((at, value))
        before = at
    parts = []
    for run in runs:
        spots = scale.at(run)
        below = scale.at([each for each in floor if run[0][0] <= each[0] <= run[-1][0]])
        base = _path(below[::-1]).replace("M", "L", 1) if below else ""
        closed = base or f"V{svg.number(scale.area.bottom)}H{svg.number(spots[0][0])}"
        parts.append(svg.element("path", d=f"{_path(spots)}{closed}Z", fill=colour, fill_opacity=opacity))
        parts.append(svg.element("path", d=_path(spots), fill="none", stroke=colour, stroke_width=1.5))
    return "".join(parts)


def _axes(area: Box, marks: Sequence[float], unit: str, span: Span) -> str:
    parts = []
    for mark in marks:
        y = _up(mark, marks[-1], area)
        parts.append(
            svg.element("path", d=f"M{svg.number(area.x)} {svg.number(y)}H{svg.number(area.right)}", class_="s-grid")
        )
        parts.append(svg.label(area.x - 8, y + 4, text_of(mark, unit), 11, 60, class_="f-muted", text_anchor="end"))
    for at in _clock(span, int(area.width / 56)):
        x = _across(at, span, area)
        if area.x + 14 <= x <= area.right - 10:
            clock = datetime.fromtimestamp(at, UTC).strftime("%H:%M" if at % 60 == 0 else "%H:%M:%S")
            parts.append(svg.label(x, area.bottom + 17, clock, 11, 60, class_="f-muted", text_anchor="middle"))
    return "".join(parts)


def _clock(span: Span, most: int) -> list[float]:
    """Round times within the span, at most ``most`` of them."""
    step = next((step for step in _STEPS if (span.end - span.start) / step <= most), _STEPS[-1])
    return [float(at) for at in range(math.ceil(span.start / step) * step, math.floor(span.end) + 1, step)]


def _threshold(step: Mapping[str, Any], area: Box, top: float) -> str:
    if step["value"] is None or not 0 < step["value"] <= top:
        return ""
    y = svg.number(_up(step["value"], top, area))
    course = f"M{svg.number(area.x)} {y}H{svg.number(area.right)}"
    return svg.element("path", d=course, class_=f"s-{step['color']}", stroke_width=1.5, stroke_dasharray="6 4")


def _legend(entries: Sequence[tuple[str, str]], box: Box) -> str:
    """The names of the lines beside their colours, as many as there is room for."""
    parts = []
    x = box.x
    for index, (name, colour) in enumerate(entries):
        text = svg.cut(name, 11, 150)
        needed = 18 + svg.width_of(text, 11) + 14
        room = box.right + 14 - x - (0 if index == len(entries) - 1 else 34)
        if needed > room:
            parts.append(svg.label(x, box.y + 9, f"+ {len(entries) - index}", 11, 60, class_="f-muted"))
            break
        parts.append(svg.element("rect", x=x, y=box.y + 3, width=12, height=4, rx=2, fill=colour))
        parts.append(svg.label(x + 18, box.y + 9, text, 11, 200, class_="f-muted"))
        x += needed
    return "".join(parts)


# A table


def _table(configuration: Mapping[str, Any], box: Box, answers: Answers) -> str:
    names = next(each for each in configuration["transformations"] if each["id"] == "organize")["options"][
        "renameByName"
    ]
    fields = {
        each["matcher"]["options"]: {prop["id"]: prop.get("value") for prop in each["properties"]}
        for each in configuration["fieldConfig"]["overrides"]
    }
    [key] = [name for name in names if not name.startswith("Value #")]
    cells: dict[str, dict[str, float]] = {}
    for target in configuration["targets"]:
        for found in answers.now(target):
            cells.setdefault(found.labels.get(key, ""), {})[f"Value #{target['refId']}"] = found.last
    parts = [_frame(configuration["title"], box)]
    if not cells:
        return "".join([*parts, _no_data(box)])
    widths = [svg.width_of(title, 12) + 26 for title in names.values()]
    widths[0] = max(widths[0], *(min(svg.width_of(name, 13) + 26, 240) for name in cells))
    spare = (box.width - 28 - sum(widths)) / len(widths)
    widths = [width + spare for width in widths]
    lefts = list(accumulate(widths, initial=box.x + 14))
    for x, width, title in zip(lefts, widths, names.values(), strict=False):
        parts.append(svg.label(x, box.y + 50, title, 12, width, class_="f-muted", font_weight=600))
    for row, (name, values) in enumerate(sorted(cells.items())):
        y = box.y + 78 + row * 28
        if y > box.bottom - 8:
            break
        line = f"M{svg.number(box.x + 14)} {svg.number(y - 19)}H{svg.number(box.right - 14)}"
        parts.append(svg.element("path", d=line, class_="s-grid"))
        for x, width, (ref, title) in zip(lefts, widths, names.items(), strict=False):
            is_name = ref == key
            text, colour = (name, "blue") if is_name else shown(values.get(ref, math.nan), fields[title] | _NO_VALUE)
            weight = 600 if colour in {"red", "orange", "yellow"} else 400
            parts.append(svg.label(x, y, text, 13, width - 8, class_=f"f-{colour}", font_weight=weight))
    return "".join(parts)


# Parts of all


def _frame(title: str, box: Box) -> str:
    ground = svg.element("rect", x=box.x, y=box.y, width=box.width, height=box.height, rx=6, class_="f-panel s-border")
    return ground + svg.label(box.x + 14, box.y + 24, title, 13, box.width - 28, class_="f-text", font_weight=600)


def _no_data(box: Box) -> str:
    middle = (box.x + box.width / 2, box.y + box.height / 2 + 8)
    return svg.label(*middle, "no data", 13, box.width, class_="f-muted", text_anchor="middle")
