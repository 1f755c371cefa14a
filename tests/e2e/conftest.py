"""The real servers, one of each for a whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.chain import Chain, found_chain
from sandbox.servers.kafka import Kafka
from sandbox.servers.redis import debian_redis


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A real Kafka, running. A test that stops it starts it again."""
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis with an append-only file."""
    with debian_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """Core's feed on servers of its own. Nothing is captured yet."""
    with found_chain(tmp_path) as servers:
        yield servers
