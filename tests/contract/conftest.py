"""The store on the fake and on real Valkeys."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from consumer.clock import SystemClock
from consumer.store.store import RedisStore
from tests.contract.whole_store import Store
from tests.fakes.store import MemoryStore


@pytest.fixture(params=["fake", "valkey_url", "foreign_valkey_url"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield MemoryStore(SystemClock())
        return
    real = RedisStore.connect(request.getfixturevalue(request.param), f"{uuid4()}:", SystemClock())
    yield real
    await real.close()
