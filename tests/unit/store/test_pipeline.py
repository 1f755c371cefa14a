"""Whoever asks the store gets an answer, whatever happens."""

import asyncio
from typing import Any

import pytest

from consumer.domain.errors import StoreUnavailableError
from consumer.store.pipeline import Pipeline


class Broken:
    """A client that fails in a way nobody has thought of."""

    def pipeline(self, *, transaction: bool) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'is_connected'")


async def test_a_fault_nobody_has_thought_of_leaves_nobody_waiting() -> None:
    pipeline = Pipeline(Broken(), [])  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await pipeline.call("PING")
