"""Each caller of the store gets an answer, even after an unexpected error."""

import asyncio
from typing import Any

import pytest

from consumer.domain.errors import StoreUnavailableError
from consumer.store.pipeline import Pipeline


class Broken:
    """A client that raises an unexpected error."""

    def pipeline(self, *, transaction: bool) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'is_connected'")


async def test_an_unexpected_error_leaves_no_caller_waiting() -> None:
    pipeline = Pipeline(Broken(), [])  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await pipeline.call("PING")
