"""A stop waits for the running runs, and starts no other."""

import asyncio
from random import Random
from typing import Any

from consumer.domain.job import Deletion
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.sync.change import Change
from consumer.sync.lanes import Lanes
from consumer.sync.receipts import Receipt
from consumer.sync.run_context import RunResult

ANNA, BEN = Mailbox("acme", "anna@acme.example"), Mailbox("acme", "ben@acme.example")


class World:
    """A reconciler that ends when the test allows it, and the other objects that lanes need."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun: list[Mailbox] = []
        self.back: list[str] = []
        part: Any = self
        self.lanes = Lanes(part, part, part, part, Random(1), part, runs_at_once=1)

    async def run(self, _site: Site, mailbox: Mailbox, changes: dict[str, Change]) -> RunResult:
        self.begun.append(mailbox)
        await self.may_end.wait()
        return RunResult(dict.fromkeys(changes, "applied"))

    def get(self, _site_id: str) -> Site:
        return Site("acme", "Acme", "UTC", "tenant", "client", "secret")

    def is_served(self, _site_id: str) -> bool:
        return True

    def __getattr__(self, _name: str) -> Any:
        """Accepts the reports of a run that ends well, and serves as the clock."""
        return lambda *_: 0.0

    def add(self, mailbox: Mailbox) -> None:
        receipt = Receipt(None, lambda _receipt, result: self.back.append(result), lambda: True)
        self.lanes.add(mailbox, Change("J", Deletion("J", 1), receipt))


async def test_a_drain_waits_for_the_run_under_way_and_starts_no_other() -> None:
    world = World()
    world.add(ANNA)
    world.add(BEN)
    await asyncio.sleep(0)
    drained = asyncio.create_task(world.lanes.drain(60.0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not drained.done()
    world.may_end.set()
    async with asyncio.timeout(5):
        await drained
    assert world.back == ["applied"]
    assert world.begun == [ANNA]


async def test_a_drain_ends_at_its_deadline() -> None:
    world = World()
    world.add(ANNA)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await world.lanes.drain(0.01)
    assert world.back == []
    world.may_end.set()
