"""Commands stop waiting for a schema registry that does not answer; the running service does not."""

import asyncio
import time

import pytest

from consumer.domain.errors import TransientError
from consumer.kafka.decode import Decoder
from consumer.kafka.decode_with_registry import decode
from consumer.kafka.record import Epoch, Record
from consumer.kafka.registry import Registry
from consumer.kafka.waiting import Backoff, Wait

FRAMED = Record("jobs", 0, 0, b"J1", b"\x00\x00\x00\x00\x07rest", [], 0.0, Epoch(0))


class Silent(Registry):
    """A registry that does not answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.asked_often = asyncio.Event()

    def get(self, schema_id: int) -> None:
        return None

    async def fetch(self, schema_id: int) -> None:  # type: ignore[override]
        self.asked += 1
        if self.asked == 5:
            self.asked_often.set()
        raise TransientError("no answer")


async def test_a_command_gives_up_after_its_patience() -> None:
    registry = Silent()
    async with asyncio.timeout(10):
        with pytest.raises(TransientError, match="no answer"):
            await decode(Decoder(registry), registry, FRAMED, patience=0.0)
    assert registry.asked == 1


async def test_the_service_asks_until_it_is_answered() -> None:
    wait = Wait(FRAMED, time.monotonic, Backoff(first=0.0))
    registry = Silent()
    asking = asyncio.create_task(decode(Decoder(registry), registry, FRAMED, wait))
    async with asyncio.timeout(10):
        await registry.asked_often.wait()
    assert not asking.done()
    asking.cancel()
