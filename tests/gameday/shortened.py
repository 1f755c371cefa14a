"""Shortens the times of rules and of an Alertmanager's configuration by a factor, and changes nothing else.

No clause, label or text is changed. Shortened are: `for` and `keep_firing_for`; ranges, subqueries and offsets;
thresholds that are compared with an age (`time() - …`, or a gauge whose name ends in `_seconds`); the bucket of a
latency; in the Alertmanager, the waits and intervals of its routes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Document = dict[str, Any]

INTERVAL: Final = "1s"
"""How often the rules are evaluated."""

_UNITS: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_DURATION: Final = r"(?:\d+(?:ms|[smhdwy]))+"
_RANGE: Final = re.compile(rf"\[\s*({_DURATION})\s*(?::\s*({_DURATION})?\s*)?\]")
_OFFSET: Final = re.compile(rf"\boffset(\s+-?\s*)({_DURATION})")
_COMPARISON: Final = re.compile(r"(?<![=!~])(?:>=|<=|>|<)\s*(?:bool\s+)?(\d+(?:\.\d+)?)(?![\d.]*\s*[*/])")
_BUCKET: Final = re.compile(r"""\ble\s*=(~?)\s*(["'])([^"']*)\2""")
_AGE: Final = re.compile(r"\btime\(\)|_seconds\b")
_NO_AGE: Final = re.compile(
    r"\b(?:rate|irate|increase|histogram_quantile|count|count_over_time|changes|deriv)\b[^_]*?\("
)
_ENDS_OPERAND: Final = re.compile(r"\b(?:and|or|unless)\b(?:\s*(?:on|ignoring)\s*\([^()]*\))?|==|!=|>=|<=|>|<|,")
_ROUTE_TIMES: Final = ("group_wait", "group_interval", "repeat_interval")


def duration(text: str, factor: float) -> str:
    """Returns a duration, such as `1h30m`, divided by the factor."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    milliseconds = max(1, round(sum(int(count) * _UNITS[unit] for count, unit in parts) / factor))
    return f"{milliseconds}ms" if milliseconds % 1_000 else f"{milliseconds // 1_000}s"


def expression(text: str, factor: float, buckets: Sequence[float]) -> str:
    """Returns a PromQL expression with its times divided. `buckets` are the bounds of the latency's histogram."""
    text = _shortened_thresholds(text, factor)
    text = _BUCKET.sub(lambda found: _bucket(found, factor, buckets), text)
    text = _OFFSET.sub(lambda found: f"offset{found[1]}{duration(found[2], factor)}", text)

    def shorter(found: re.Match[str]) -> str:
        window = duration(found[1], factor)
        if ":" not in found[0]:
            return f"[{window}]"
        return f"[{window}:{INTERVAL if found[2] is None else duration(found[2], factor)}]"

    return _RANGE.sub(shorter, text)


def rules(document: Document, factor: float, buckets: Sequence[float]) -> Document:
    """Returns a file of rules, as it was parsed from YAML, with its times divided."""
    return {
        "groups": [
            {**group, "interval": INTERVAL, "rules": [_rule(rule, factor, buckets) for rule in group["rules"]]}
            for group in document["groups"]
        ]
    }


def alertmanager(document: Document, factor: float, pager: str) -> Document:
    """Returns an Alertmanager's configuration with its times divided.

    Every receiver that sends anything sends it to the webhook `{pager}/{its name}`, resolved alerts too.
    """
    return {
        **{key: value for key, value in document.items() if key != "global"},
        "route": _route(document["route"], factor),
        "receivers": [_receiver(receiver, pager) for receiver in document["receivers"]],
    }


def _rule(rule: Document, factor: float, buckets: Sequence[float]) -> Document:
    times: Document = {key: duration(rule[key], factor) for key in ("for", "keep_firing_for") if key in rule}
    return {**rule, **times, "expr": expression(rule["expr"], factor, buckets)}


def _route(route: Document, factor: float) -> Document:
    times: Document = {key: duration(route[key], factor) for key in _ROUTE_TIMES if key in route}
    routes = {"routes": [_route(child, factor) for child in route["routes"]]} if "routes" in route else {}
    return {**route, **times, **routes}


def _receiver(receiver: Mapping[str, Any], pager: str) -> Document:
    name = receiver["name"]
    if receiver.keys() == {"name"}:
        return {"name": name}
    return {"name": name, "webhook_configs": [{"url": f"{pager}/{name}", "send_resolved": True}]}


def _shortened_thresholds(text: str, factor: float) -> str:
    done, position = "", 0
    for found in _COMPARISON.finditer(text):
        if not _is_age(_operand_before(text, found.start())):
            continue
        done += text[position : found.start(1)] + f"{float(found[1]) / factor:.10g}"
        position = found.end(1)
    return done + text[position:]


def _operand_before(text: str, end: int) -> str:
    """Returns the left operand of the comparison at `end`."""
    depth, start = 0, 0
    for index in range(end - 1, -1, -1):
        depth += (text[index] in ")]}") - (text[index] in "([{")
        if depth < 0:
            start = index + 1
            break
    # What is in parentheses cannot end the operand.
    flat, depth = "", 0
    for character in text[start:end]:
        depth += character in "([{"
        flat += character if depth == 0 else " "
        depth -= character in ")]}"
    ends = [found.end() for found in _ENDS_OPERAND.finditer(flat)]
    return text[start + (ends[-1] if ends else 0) : end]


def _is_age(operand: str) -> bool:
    return _AGE.search(operand) is not None and _NO_AGE.search(operand) is None


def _bucket(found: re.Match[str], factor: float, buckets: Sequence[float]) -> str:
    number = re.match(r"\d+(?:\.\d+)?", found[3])
    if number is None:
        return found[0]  # +Inf
    wanted = float(number[0]) / factor
    bound = next((bucket for bucket in buckets if bucket >= wanted), buckets[-1])
    return f'le=~"{bound:g}|{float(bound)}"'
