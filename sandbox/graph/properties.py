"""Single-value extended properties: their ids (docs/facts/graph.md, part 3)."""

import re
from functools import lru_cache

from sandbox.graph.errors import GraphError

_GUID = r"\{([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}"
_NAMED = re.compile(rf"(\w+)\s+{_GUID}\s+Name\s+(\S.*)", re.DOTALL)
_NUMBERED = re.compile(rf"(\w+)\s+{_GUID}\s+Id\s+(0x[0-9a-fA-F]+)")
_TAGGED = re.compile(r"(\w+)\s+(0x[0-9a-fA-F]+)")
_TYPES = {
    each.lower(): each
    for each in ("String", "Integer", "Boolean", "Double", "Long", "SystemTime", "Binary", "CLSID", "Short")
}


@lru_cache(maxsize=1024)
def property_id(text: str) -> str:
    """Returns the id in a standard spelling. Type and GUID ignore case, the name does not. Raises GraphError (400)."""
    if match := _NAMED.fullmatch(text):
        rest = f"{{{match[2].lower()}}} Name {match[3]}"
    elif match := _NUMBERED.fullmatch(text):
        rest = f"{{{match[2].lower()}}} Id {match[3].lower()}"
    elif match := _TAGGED.fullmatch(text):
        rest = match[2].lower()
    else:
        raise _invalid(text)
    kind = _TYPES.get(match[1].lower())
    if kind is None:
        raise _invalid(text)
    return f"{kind} {rest}"


def _invalid(text: str) -> GraphError:
    return GraphError(400, "ErrorInvalidProperty", f"The property id '{text}' is invalid.")
