"""Fixtures for every test: the embedded servers, one of each for a whole run.

They are shared: a test keeps to topics, groups and key prefixes of its own.
"""

import fcntl
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
    base = tmp_path_factory.getbasetemp()
    # All workers of a run share the locale: it takes more than a second to make.
    environment = _english((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "locale")
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
    made, unmade = folder / "en_US.UTF-8", folder / "unmade"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() and not unmade.exists():
            done = subprocess.run(["localedef", "-i", "en_US", "-f", "UTF-8", made], capture_output=True, check=False)
            if not (made / "LC_COLLATE").exists():
                unmade.touch()
            else:
                assert done.returncode in (0, 1), done.stderr  # 1: made, with warnings
    if unmade.exists():
        return None
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.UTF-8", "LANG": "en_US.UTF-8"}
