"""Fixtures: settings loaded from an environment that is complete but for what a test changes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.settings import Settings, load

Load = Callable[..., Settings]


SECRET = "s3cret"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    for name in list(os.environ):
        if name.upper().startswith("CALSYNC_"):
            monkeypatch.delenv(name)
    (tmp_path / "sites.toml").touch()
    return {
        "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
        "CALSYNC_REDIS_URL": "redis://redis:6379/0",
        "CALSYNC_CORE_API_URL": "https://core.example",
        "CALSYNC_CORE_API_TOKEN": SECRET,
        "CALSYNC_SITES_FILE": str(tmp_path / "sites.toml"),
    }


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Load:
    def of(**changes: str) -> Settings:
        for name, value in (environment | changes).items():
            monkeypatch.setenv(name, value)
        return load()

    return of
