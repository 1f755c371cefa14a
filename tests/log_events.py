"""The events that the service logs, as its source has them."""

import ast
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[1] / "consumer"
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
_NOTING: Final = frozenset({"happened", "ended"})
"""Methods of ``Repeated``, whose third argument is the event."""


def events() -> dict[str, set[str]]:
    """Each event with the files that log it. Raises ``ValueError`` for one that is no literal."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        if path.name == "repeated.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for event in _events_of(node, path):
                found.setdefault(event, set()).add(path.relative_to(SOURCE).as_posix())
    return found


def _events_of(node: ast.AST, path: Path) -> list[str]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return []
    called = node.func
    if called.attr in LEVELS and isinstance(called.value, ast.Name) and called.value.id == "log":
        given = node.args[0]
    elif called.attr == "log" and isinstance(called.value, ast.Name) and called.value.id == "log":
        given = node.args[1]
    elif called.attr in _NOTING and len(node.args) == 3:
        given = node.args[2]
    else:
        return []
    texts = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
    if not all(isinstance(text, ast.Constant) and isinstance(text.value, str) for text in texts):
        raise ValueError(f"{path}:{node.lineno}: the event is no literal")
    return [str(text.value) for text in texts if isinstance(text, ast.Constant)]
