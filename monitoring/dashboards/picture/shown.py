"""How Grafana shows a value: its unit, the texts that stand for numbers, and its colour."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

_TIMES: Final = ((86400.0 * 365, "years"), (86400.0 * 7, "weeks"), (86400.0, "days"), (3600.0, "hours"), (60.0, "mins"))
_BYTES: Final = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
_THOUSANDS: Final = ((1e9, "Bil"), (1e6, "Mil"), (1e3, "K"))
_SUFFIXES: Final = {"cps": " c/s", "reqps": " req/s"}


class Shown(NamedTuple):
    """A value as a reader sees it."""

    text: str
    colour: str


def text_of(value: float, unit: str, decimals: int | None = None) -> str:
    """The number with its unit."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "percentunit":
        return f"{_rounded(value * 100, decimals)}%"
    if unit == "s":
        return _seconds(value, decimals)
    if unit == "bytes":
        return _scaled(value, _BYTES, "B", decimals)
    if unit in _SUFFIXES:
        return f"{_rounded(value, decimals)}{_SUFFIXES[unit]}"
    if unit == "short":
        return _scaled(value, _THOUSANDS, "", decimals)
    return _rounded(value, decimals)


def _rounded(value: float, decimals: int | None) -> str:
    if decimals is not None and value != round(value):
        return f"{value:.{decimals}f}"
    size = abs(value)
    places = 0 if size >= 100 or value == round(value) else 1 if size >= 10 else 2 if size >= 0.095 else 3
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: float, scales: Sequence[tuple[float, str]], small: str, decimals: int | None) -> str:
    for size, name in scales:
        if abs(value) >= size:
            return f"{_rounded(value / size, decimals)} {name}"
    return f"{_rounded(value, decimals)} {small}".strip()


def _seconds(value: float, decimals: int | None) -> str:
    size = abs(value)
    if 0 < size < 1:
        return f"{_rounded(value * 1000, decimals)} ms"
    for length, name in _TIMES:
        if size >= length:
            return f"{_rounded(round(value / length, 1), decimals)} {name}"
    return f"{_rounded(round(value, 1), decimals)} s"


def shown(value: float, field: Mapping[str, Any]) -> Shown:
    """A value under a field's configuration: `unit`, `decimals`, `mappings`, `thresholds`."""
    for mapping in field.get("mappings", ()):
        result = _mapped(value, mapping)
        if result is not None:
            return Shown(result["text"], result["color"])
    if math.isnan(value):
        return Shown(field.get("noValue", "no data"), "grey")
    return Shown(text_of(value, field.get("unit", "none"), field.get("decimals")), colour_of(value, field))


def colour_of(value: float, field: Mapping[str, Any]) -> str:
    """The colour of the last step that the value reaches."""
    steps = field.get("thresholds", {}).get("steps", ())
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return reached[-1] if reached else "text"


def _mapped(value: float, mapping: Mapping[str, Any]) -> Mapping[str, str] | None:
    options = mapping["options"]
    if mapping["type"] == "special":
        return options["result"] if math.isnan(value) and "nan" in options["match"] else None
    if math.isnan(value):
        return None
    if mapping["type"] == "range":
        low, high = (options.get(key) for key in ("from", "to"))
        inside = (low is None or value >= low) and (high is None or value <= high)
        return options["result"] if inside else None
    return options.get(f"{value:g}")  # type: ignore[no-any-return]


def ticks(highest: float, unit: str, *, whole: bool = False, wanted: int = 4) -> list[float]:
    """Round numbers from 0 up to at least ``highest``; only whole ones if all values are ``whole``."""
    bases: Sequence[float] = (1, 2, 5, 10)
    if unit == "s" and highest > 60:
        bases, scale = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440), 60.0
    elif unit == "bytes":
        bases, scale = (1, 2, 4, 8), float(2 ** math.floor(math.log2(highest / wanted)))
    else:
        scale = 10.0 ** math.floor(math.log10(highest / wanted))
    if whole and unit in {"none", "short"}:
        scale = max(scale, 1.0)
    step = next((base * scale for base in bases if base * scale * wanted >= highest * 0.999), bases[-1] * scale)
    return [step * index for index in range(math.ceil(round(highest / step, 6)) + 1)]
