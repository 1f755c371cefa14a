"""Java properties: the settings in a file that compose mounts too, and the few that only this launcher knows."""

from collections.abc import Mapping
from pathlib import Path


def properties(settings: Path, more: Mapping[str, str]) -> str:
    """The file's text with further properties below it, which win over those in it."""
    return settings.read_text(encoding="utf-8") + "".join(f"{name}={value}\n" for name, value in more.items())
