"""The picture in docs/architecture.md, drawn from the imports: ``python -m tests.architecture`` draws it again."""

from pathlib import Path
from typing import Final

import grimp

from tests import marked

PAGE: Final = Path(__file__).parents[1] / "docs" / "architecture.md"
PARTS: Final = {
    "wiring": ("cli", "app", "engine", "clock"),
    "kafka": ("kafka",),
    "graph": ("graph",),
    "core": ("core",),
    "store": ("store",),
    "ops": ("ops",),
    "sync": ("sync",),
    "settings": ("settings", "setting_values", "sites", "operator_text"),
    "http": ("http", "proxies", "tls", "retry_after", "foreign", "unusable"),
    "domain": ("domain", "json_reader", "redaction", "repeated", "tracing"),
}
"""What the picture shows as one: the modules and packages of ``consumer/``, each in one part."""
LABELS: Final = {
    "wiring": "cli/ app.py engine.py<br>commands; builds and wires everything",
    "kafka": "kafka/<br>the topic, dead letters",
    "graph": "graph/<br>Entra, calendars, batches",
    "core": "core/<br>Core's API",
    "store": "store/<br>Redis: links, leases, marks",
    "ops": "ops/<br>metrics, health, logs",
    "sync": "sync/<br>lanes, runs, sweeps, ports",
    "settings": "settings.py sites.py<br>environment, sites file",
    "http": "http.py foreign.py unusable.py<br>the HTTP client; what was counted as unusable",
    "domain": "domain/<br>pure: jobs, events, plan, fuse",
}
WRITER: Final = "tests/architecture.py"


def imports() -> set[tuple[str, str]]:
    """Which part imports which, directly. Raises ``KeyError`` for a module that no part names."""
    graph = grimp.build_graph("consumer")
    part_of = {name: part for part, names in PARTS.items() for name in names}
    found = set()
    for module in graph.modules - {"consumer"}:
        for imported in graph.find_modules_directly_imported_by(module) - {"consumer"}:
            found.add((part_of[module.split(".")[1]], part_of[imported.split(".")[1]]))
    return {(one, other) for one, other in found if one != other}


def _reached(start: str, edges: set[tuple[str, str]]) -> set[str]:
    found: set[str] = set()
    fresh = {start}
    while fresh:
        fresh = {other for one, other in edges if one in fresh} - found
        found |= fresh
    return found


def picture() -> str:
    """A Mermaid flow chart. An arrow leads from a part to one that it imports, unless a longer way leads there too."""
    edges = imports()
    drawn = sorted(
        (one, other)
        for one, other in edges
        if not any(between != other and other in _reached(between, edges) for start, between in edges if start == one)
    )
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'    {part}["{LABELS[part]}"]' for part in PARTS]
    lines += [f"    {one} --> {other}" for one, other in drawn]
    return "\n".join([*lines, "```", ""])


def main() -> None:
    marked.write(PAGE, WRITER, picture())


if __name__ == "__main__":
    main()
