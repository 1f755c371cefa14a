"""A proxy's pages instead of Graph's answers, in simulated time: work waits or is handed over, never dead-lettered."""

import asyncio
from collections.abc import Callable

import pytest

from consumer.domain.errors import TransientError
from consumer.domain.mailbox import Mailbox
from consumer.sync.foreign import FOREIGN_CODE, FOREIGN_SECONDS, FOREIGN_TRIES
from tests.simulation.loop import simulate
from tests.simulation.test_fairness import Answer, Tenants

PAGE = TransientError("HTTP 404 text/html, which is not an answer of graph", foreign=True)
SWEEP_SECONDS = 300.0
BOX = Mailbox("acme", "worker-0@acme.example")


def answers(is_foreign: Callable[[Mailbox], bool], tries: list[float]) -> Answer:
    """Pages of a proxy for some mailboxes; ``tries`` records when the first one was asked."""

    async def answer(mailbox: Mailbox) -> None:
        await asyncio.sleep(0.1)
        if mailbox == BOX:
            tries.append(asyncio.get_running_loop().time())
        if is_foreign(mailbox):
            raise PAGE

    return answer


async def sweep_until(tenants: Tenants, seconds: float) -> None:
    """Changes for three mailboxes, and an inspection of each, every five minutes."""
    loop = asyncio.get_running_loop()
    while loop.time() < seconds and not tenants.store.parked:
        tenants.add("acme", 3)
        boxes = [Mailbox("acme", f"worker-{number}@acme.example") for number in range(3)]
        await asyncio.gather(*(tenants.lanes.inspect(box, overdue_at=loop.time()) for box in boxes))
        await asyncio.sleep(SWEEP_SECONDS)


def test_a_mailbox_with_foreign_answers_is_parked_hourly_after_an_hour_and_twenty_tries() -> None:
    async def story() -> None:
        tries: list[float] = []
        tenants = Tenants(answers(lambda mailbox: mailbox == BOX, tries), "acme")
        await sweep_until(tenants, 3 * FOREIGN_SECONDS)
        [(mailbox, (parking, _))] = tenants.store.parked.items()
        assert (mailbox, parking.code, parking.hourly) == (BOX, FOREIGN_CODE, True)
        assert parking.since - tries[0] >= FOREIGN_SECONDS
        assert len(tries) >= FOREIGN_TRIES
        assert tenants.results["acme"].keys() == {"applied", "handed_over"}

    simulate(story())


@pytest.mark.parametrize("mailboxes", [1, 3])
def test_foreign_answers_for_every_mailbox_park_none(mailboxes: int) -> None:
    """The same holds for a single mailbox: no other mailbox shows that Graph can be reached."""

    async def story() -> None:
        tries: list[float] = []
        tenants = Tenants(answers(lambda _: True, tries), "acme")
        loop = asyncio.get_running_loop()
        while loop.time() < 3 * FOREIGN_SECONDS:
            tenants.add("acme", mailboxes)
            await asyncio.sleep(SWEEP_SECONDS)
        assert tenants.store.parked == {}
        assert len(tries) >= FOREIGN_TRIES
        assert tenants.results["acme"].keys() <= {"superseded"}

    simulate(story())


def test_a_mailbox_that_answers_now_and_then_is_not_parked() -> None:
    async def story() -> None:
        tries: list[float] = []
        tenants = Tenants(answers(lambda mailbox: mailbox == BOX and len(tries) % 8 != 0, tries), "acme")
        await sweep_until(tenants, 3 * FOREIGN_SECONDS)
        assert tenants.store.parked == {}
        assert len(tries) >= FOREIGN_TRIES

    simulate(story())
