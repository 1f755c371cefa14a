"""Prometheus' and Alertmanager's own checking tools."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}
"""The Debian package of each tool."""
_UNPACKED = {"promtool": "prometheus", "amtool": "alertmanager"}
"""The folder of `.cache` into which `sandbox/servers` unpacks each tool's package."""


def tool(name: str) -> Path | None:
    """The tool on PATH, else the one that is unpacked in `.cache`, else None."""
    installed = shutil.which(name)
    if installed is not None:
        return Path(installed)
    unpacked = ROOT / ".cache" / _UNPACKED[name] / "usr" / "bin" / name
    return unpacked if unpacked.exists() else None


def _required(name: str) -> Path:
    found = tool(name)
    if found is None:
        assert "CI" not in os.environ, f"{name} is missing: install the package {PACKAGES[name]}"
        pytest.skip(f"{name} is missing: install the package {PACKAGES[name]}")
    return found


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' tool. Without it the test is skipped, but not in CI."""
    return _required("promtool")


@pytest.fixture(scope="session")
def amtool() -> Path:
    """Alertmanager's tool. Without it the test is skipped, but not in CI."""
    return _required("amtool")
