"""The dashboards and their files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from monitoring.dashboards.graph import graph_api
from monitoring.dashboards.kafka import kafka
from monitoring.dashboards.overview import overview
from monitoring.dashboards.site import site

FOLDER: Final = Path(__file__).resolve().parents[2] / "helm" / "core-calendar-sync" / "files" / "dashboards"
DASHBOARDS: Final[Mapping[str, Callable[[], str]]] = {
    "overview": overview,
    "site": site,
    "kafka": kafka,
    "graph": graph_api,
}
"""By the name of the file: what gives its text."""


def path(name: str) -> Path:
    """Where the dashboard is kept."""
    return FOLDER / f"{name}.json"


def outdated() -> list[Path]:
    """The files that differ from the code, or that no code stands for."""
    kept = {file: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    built = {path(name): build() for name, build in DASHBOARDS.items()}
    return sorted(file for file in kept.keys() | built.keys() if kept.get(file) != built.get(file))


def write() -> list[Path]:
    """Writes the files that differ from the code, and returns them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    changed = outdated()
    for file in changed:
        file.unlink(missing_ok=True)
    for name, build in DASHBOARDS.items():
        if path(name) in changed:
            path(name).write_text(build(), encoding="utf-8")
    return changed
