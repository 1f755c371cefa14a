"""Commands do not wait for ever for a schema registry that gives no answer; the running service does."""

import asyncio

import pytest

from consumer.domain.errors import TransientError
from consumer.kafka.decode import Decoder
from consumer.kafka.intake import decode
from consumer.kafka.record import Epoch, Record
from consumer.kafka.registry import Registry

FRAMED = Record("jobs", 0, 0, b"J1", b"\x00\x00\x00\x00\x07rest", [], 0.0, Epoch(0))


class Silent(Registry):
    """A registry that gives no answer."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, schema_id: int) -> None:
        return None

    async def fetch(self, schema_id: int) -> None:  # type: ignore[override]
        self.asked += 1
        raise TransientError("no answer")


async def test_a_command_gives_up_when_its_patience_is_over() -> None:
    registry = Silent()
    async with asyncio.timeout(10):
        with pytest.raises(TransientError, match="no answer"):
            await decode(Decoder(registry), registry, FRAMED, patience=0.0)
    assert registry.asked == 1


async def test_the_service_goes_on_asking() -> None:
    registry = Silent()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            await decode(Decoder(registry), registry, FRAMED)
    assert registry.asked >= 2
