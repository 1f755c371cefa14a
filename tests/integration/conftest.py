"""The real service against the embedded servers."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.company import Company, found_company
from tests.warm import Warm


@pytest.fixture
async def company(tmp_path: Path, broker: str, valkey_url: str, warm: Warm) -> AsyncIterator[Company]:
    """A company of two sites."""
    async with found_company(
        tmp_path,
        broker,
        valkey_url,
        name=f"jobs-{uuid4().hex[:8]}",
        site_ids=("site-1", "site-2"),
        # The embedded broker answers a fetch only after this time.
        kafka_properties={"fetch.wait.max.ms": "10"},
        warm=warm,
    ) as founded:
        yield founded
