"""Query options: $select, $expand, $filter, $orderby, $top, $skip (docs/facts/graph.md 1.6, part 3)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl

from sandbox.graph.errors import GraphError
from sandbox.graph.properties import property_id
from sandbox.graph.world import Event

_OPTIONS = {"$select", "$expand", "$filter", "$orderby", "$top", "$skip", "$count"}
_EXPAND = re.compile(r"singleValueExtendedProperties\s*(?:\((.*)\))?", re.DOTALL)
_NAMED = re.compile(r"(?:^|\sor\s+)\s*id\s+eq\s+'((?:[^']|'')*)'\s*", re.DOTALL)
_ANY = re.compile(r"singleValueExtendedProperties/any\(\s*(\w+)\s*:\s*(.*)\)", re.IGNORECASE | re.DOTALL)
_ORDER = re.compile(r"(start/dateTime|end/dateTime|subject|createdDateTime)(?:\s+(asc|desc))?")
_TEXT = r"'((?:[^']|'')*)'"

Test = Callable[[Event], bool]


@dataclass(frozen=True, slots=True)
class Query:
    """The query options of one request. `window` contains calendarView's two parameters as sent."""

    select: str | None = None
    expand: str | None = None
    filter: str | None = None
    order: str | None = None
    top: int | None = None
    skip: int = 0
    window: tuple[str | None, str | None] = (None, None)
    pairs: tuple[tuple[str, str], ...] = ()


def query(text: str) -> Query:
    """Reads a query string. Raises GraphError (400) for an unknown option or a value that is not a number."""
    if not text:
        return Query()
    pairs = tuple(parse_qsl(text, keep_blank_values=True))
    given = dict(pairs)
    for name in given:
        if name.startswith("$") and name not in _OPTIONS:
            raise bad_query(f"The query parameter '{name}' is not supported.")
    lower = {name.lower(): value for name, value in given.items()}
    return Query(
        select=given.get("$select"),
        expand=given.get("$expand"),
        filter=given.get("$filter"),
        order=given.get("$orderby"),
        top=_number("$top", given.get("$top"), 1),
        skip=_number("$skip", given.get("$skip"), 0) or 0,
        window=(lower.get("startdatetime"), lower.get("enddatetime")),
        pairs=pairs,
    )


def bad_query(message: str) -> GraphError:
    return GraphError(400, "RequestBroker--ParseUri", message)


@lru_cache(maxsize=1024)
def expanded(expand: str) -> tuple[str, ...]:
    """Returns the extended properties that $expand names: none without a filter by id (msgraph-docs#21314)."""
    match = _EXPAND.fullmatch(expand.strip())
    if match is None:
        raise bad_query(f"Parsing OData Select and Expand failed: '{expand}'.")
    inner = (match[1] or "").strip()
    if not inner:
        return ()
    condition = inner.removeprefix("$filter=")
    names = _NAMED.findall(condition)
    if condition is inner or _NAMED.sub("", condition).strip():
        raise bad_query(f"Parsing OData Select and Expand failed: '{expand}'.")
    return tuple(property_id(name.replace("''", "'")) for name in names)


@lru_cache(maxsize=1024)
def condition(text: str) -> Test:
    """Returns the test of a $filter by one extended property. Names are case-sensitive, values are not.

    Raises GraphError (400) for any other filter.
    """
    match = _ANY.fullmatch(text.strip())
    if match is None:
        raise GraphError(400, "ErrorInvalidUrlQueryFilter", f"The filter '{text}' is not supported.")
    variable, clause = re.escape(match[1]), match[2].strip()
    wanted = re.fullmatch(rf"{variable}/id\s+eq\s+{_TEXT}\s+and\s+(.*)", clause, re.DOTALL)
    if wanted is None:
        raise GraphError(400, "ErrorInvalidUrlQueryFilter", f"The filter '{text}' is not supported.")
    key, rest = property_id(wanted[1].replace("''", "'")), wanted[2]
    if compared := re.fullmatch(rf"{variable}/value\s+(eq|ne)\s+{_TEXT}", rest, re.DOTALL):
        operator, value = compared[1], compared[2]
    elif called := re.fullmatch(rf"(contains|startswith)\(\s*{variable}/value\s*,\s*{_TEXT}\s*\)", rest, re.DOTALL):
        operator, value = called[1], called[2]
    else:
        raise GraphError(400, "ErrorInvalidUrlQueryFilter", f"The filter '{text}' is not supported.")
    value = value.replace("''", "'").lower()
    compare = _OPERATORS[operator]

    def test(event: Event) -> bool:
        held = event.properties.get(key)
        return held is not None and compare(held.lower(), value)

    return test


def filters_properties(text: str) -> bool:
    """Returns whether a filter is on extended properties, which calendarView answers with 500 (sdk-dotnet#2375)."""
    return "extendedproperties" in text.lower() or "extensions" in text.lower()


def ordered(events: list[Event], order: str | None) -> list[Event]:
    """Orders events. Without $orderby, single instances come first, then those of series (ms-365-mcp-server#367)."""
    if order is None:
        return sorted(events, key=lambda event: event.master is not None)
    match = _ORDER.fullmatch(order.strip())
    if match is None:
        raise bad_query(f"The $orderby expression '{order}' is not supported.")
    return sorted(events, key=_KEYS[match[1]], reverse=match[2] == "desc")


def _number(name: str, text: str | None, least: int) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < least:
        raise bad_query(f"Invalid value '{text}' for {name} query option found.")
    return int(text)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__,
    "ne": str.__ne__,
    "contains": str.__contains__,
    "startswith": lambda held, value: held.startswith(value),
}
_KEYS: dict[str, Callable[[Event], str]] = {
    "start/dateTime": lambda event: event.start.isoformat(),
    "end/dateTime": lambda event: event.end.isoformat(),
    "subject": lambda event: event.subject.lower(),
    "createdDateTime": lambda event: event.created,
}
