"""Fixtures for every test: the embedded servers, one of each for a whole run.

They are shared: a test keeps to topics, groups and key prefixes of its own.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sandbox.servers.embedded import embedded_broker, embedded_valkey
from tests.warm import Warm
from tests.warm import warm as warmed


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded broker's bootstrap address."""
    with embedded_broker(tmp_path_factory.mktemp("broker")) as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Starts the service, its commands and the stand-ins for the price of a fork."""
    with warmed(tmp_path_factory.mktemp("warm")) as ready:
        yield ready


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded Valkey."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture(scope="session")
def foreign_valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded Valkey whose Lua compares strings as English does, not as bytes.

    Without the locale's sources (Debian's package `locales`) the test is skipped, but not in CI.
    """
    folder = tmp_path_factory.mktemp("foreign-valkey")
    environment = _english(folder)
    if environment is None:
        assert "CI" not in os.environ, "the locale en_US cannot be made: install the package locales"
        pytest.skip("the locale en_US cannot be made here")
    with embedded_valkey(folder, environment=environment) as valkey:
        with redis.Redis.from_url(valkey.url) as client:
            # Where the server does not find the locale, it silently keeps the order of bytes.
            assert client.eval("return 'a' < 'B' and 1 or 0", 0) == 1
        yield valkey.url


def _english(folder: Path) -> dict[str, str] | None:
    """The environment of a process that is to run in en_US.UTF-8; `None` if that locale cannot be made."""
    if shutil.which("localedef") is None:
        return None
    made = subprocess.run(
        ["localedef", "-i", "en_US", "-f", "UTF-8", folder / "en_US.UTF-8"], capture_output=True, check=False
    )
    if not (folder / "en_US.UTF-8" / "LC_COLLATE").exists():
        return None
    assert made.returncode in (0, 1), made.stderr  # 1: made, with warnings
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.UTF-8", "LANG": "en_US.UTF-8"}
