"""docker-compose.yml as the tests read it."""

from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
FILE: Final = ROOT / "docker-compose.yml"

Service = dict[str, Any]


def compose() -> dict[str, Any]:
    """The file, its anchors and merges resolved."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return document


def services() -> dict[str, Service]:
    """The services by name, in an order in which they can be started."""
    found: dict[str, Service] = compose()["services"]
    ordered: dict[str, Service] = {}
    while len(ordered) < len(found):
        ready = [name for name in found if name not in ordered and set(needs(found[name])) <= ordered.keys()]
        assert ready, f"nothing can be started after {list(ordered)}"
        ordered |= {name: found[name] for name in ready}
    return ordered


def needs(service: Service) -> dict[str, str]:
    """What must have been reached before: a condition by the other service's name."""
    return {name: how["condition"] for name, how in service.get("depends_on", {}).items()}


def steps() -> set[str]:
    """The services that do their work once and end."""
    return {name for name, service in services().items() if service["restart"] == "no"}


def python(service: Service) -> list[str]:
    """The arguments of a command that Python runs; empty if another program does."""
    command = service.get("command", [])
    return command[1:] if command[:1] == ["python"] else []
