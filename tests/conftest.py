"""Fixtures for every test: the embedded servers, one of each for a whole run.

They are shared: a test keeps to topics, groups and key prefixes of its own.
"""

from collections.abc import Iterator

import pytest

from sandbox.servers.embedded import embedded_broker, embedded_valkey


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded broker's bootstrap address."""
    with embedded_broker(tmp_path_factory.mktemp("broker")) as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded Valkey."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url
