"""Builds Java properties from a file, which compose mounts too, and from the few that only this launcher knows."""

from collections.abc import Mapping
from pathlib import Path


def properties(settings: Path, more: Mapping[str, str]) -> str:
    """Returns the file's text with further properties below it. They override those in the file."""
    return settings.read_text(encoding="utf-8") + "".join(f"{name}={value}\n" for name, value in more.items())
