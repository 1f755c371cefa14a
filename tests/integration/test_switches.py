"""Unconfirmed behaviour of Graph: the calendars are exact with either behaviour."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import pytest_asyncio

from sandbox.core.rows import Change, Job, Worker
from tests.company import Company, eventually, found_company, now
from tests.warm import Warm

ONE_LOOP: Final = "module"
"""One world for all switches: each has workers and jobs of its own."""
UNCONFIRMED: list[tuple[str, Any]] = [
    ("transaction_status", 409),
    ("transaction_annotation", False),
    ("transaction_after_delete", "same"),
    ("transaction_after_delete", "error"),
    ("transaction_after_edit", "error"),
    ("transaction_same", "times"),
    ("transaction_same", "nothing"),
    ("transaction_memory_seconds", 0.0),
    ("page_cap", 2),
    ("deleted_items_by_id", True),
    ("copy_carries_tag", False),
    ("occurrences_carry_tag", True),
    ("iana_in_bodies", "none"),
    ("iana_in_bodies", "all"),
    ("default_reminder_minutes", 0),
    ("batch_prefer", "first"),
    ("throttled_batch_status", 424),
]
OF_TOKENS_WITHOUT_ROLES = {"no_roles_code", "no_roles_status"}
"""Tested in test_sites.py: such a site is not served at all."""


def test_every_unconfirmed_behaviour_of_graph_is_tested() -> None:
    document = Path(__file__).parents[2] / "docs" / "sandbox-graph.md"
    marked = re.findall(r"^\| `(\w+)` \|.*\[U\] \|$", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in UNCONFIRMED} | OF_TOKENS_WITHOUT_ROLES == set(marked)


@pytest_asyncio.fixture(scope="module", loop_scope=ONE_LOOP)
async def world(
    tmp_path_factory: pytest.TempPathFactory, broker: str, warm: Warm, valkey_url: str
) -> AsyncIterator[Company]:
    """A running service that sweeps every second."""
    async with found_company(
        tmp_path_factory.mktemp("switches"),
        broker,
        valkey_url,
        name=f"switches-{uuid4().hex[:8]}",
        kafka_properties={"fetch.wait.max.ms": "10"},
        warm=warm,
    ) as company:
        company.publish(company.generate(workers=2, jobs=2))
        await company.open_mailboxes()
        await company.give_core_the_schedule()
        await company.start(CALSYNC_SWEEP_INTERVAL_SECONDS="1")
        await company.equal()
        yield company


@dataclass
class Desk:
    """A worker for one story, with the actions of planners and of the worker."""

    company: Company
    name: str
    jobs: int = 0

    @property
    def address(self) -> str:
        return f"{self.name}@site-1.example"

    async def open(self) -> None:
        self.company.schedule.put_worker(Worker(self.name, "site-1", self.address))
        await self.company.graph.set_mailbox(self.company.sites[0].tenant_id, self.address, time_zone="UTC")

    async def plan(self, count: int = 1) -> list[str]:
        """New jobs in Core; their ids."""
        ids = [f"{self.name}-{self.jobs + number}" for number in range(count)]
        changes: list[Change] = []
        for job_id in ids:
            self.jobs += 1
            start = now() + timedelta(days=self.jobs)
            job = Job(job_id=job_id, site_id="site-1", starts_at=start, ends_at=start + timedelta(hours=1))
            changes += self.company.schedule.add_job(job, [self.name])
        await self.publish(changes)
        return ids

    async def publish(self, changes: list[Change]) -> None:
        """Puts the change into Core's API and on the topic."""
        await self.company.give_core_the_schedule()
        self.company.publish(changes)

    async def events(self) -> list[dict[str, Any]]:
        held = (await self.company.graph.events(self.address))[self.address]
        return [event for event in held if event["tag"] and not event["in_deleted_items"]]

    async def there(self, count: int = 1) -> None:
        async def are_there() -> bool:
            return len(await self.events()) == count

        await eventually(are_there, f"{self.name} has {count} events")

    async def right(self) -> None:
        async def is_right() -> bool:
            return not [wrong for wrong in await self.company.differences() if wrong.startswith(self.address)]

        await eventually(is_right, f"{self.name}'s calendar equals the schedule")


async def changes_and_hand_edits(desk: Desk) -> None:
    ids = await desk.plan(5)
    await desk.right()
    schedule, graph = desk.company.schedule, desk.company.graph
    later = now() + timedelta(days=18)
    await desk.publish(
        [
            *schedule.change_job(ids[0], notes="Bring a ladder."),
            *schedule.reschedule(ids[1], later, later + timedelta(hours=2)),
            *schedule.cancel(ids[2]),
        ]
    )
    await desk.right()
    await graph.user_edit(desk.address, {"subject": "Mine now"}, tag=f"site-1/{ids[0]}")
    await graph.user_delete(desk.address, tag=f"site-1/{ids[1]}")
    await graph.user_copy(desk.address, tag=f"site-1/{ids[3]}")
    await graph.user_make_series(desk.address, tag=f"site-1/{ids[4]}")
    await desk.right()


async def a_lost_answer(desk: Desk) -> None:
    await desk.company.graph.set_fault(
        "gateway-timeout", when="after", mailbox=desk.address, operation="create", times=2
    )
    await desk.plan(3)
    await desk.right()


async def a_lost_answer_and_a_person_who_deletes_the_event_at_once(desk: Desk) -> None:
    graph = desk.company.graph
    fault = await graph.set_fault(
        "gateway-timeout", when="after", mailbox=desk.address, operation="create", times=1, retry_after=1
    )
    [job_id] = await desk.plan()
    await graph.wait_for_fault(fault)
    await graph.user_delete(desk.address, tag=f"site-1/{job_id}")
    await desk.right()


async def a_create_that_lands_late(desk: Desk, *, changed: bool = False, edited: bool = False) -> None:
    """The late create is looked up and not found; it lands just before the slow one, which has its transactionId."""
    graph = desk.company.graph
    match: dict[str, Any] = {"mailbox": desk.address, "operation": "create", "times": 1, "hold_seconds": 60}
    late = await graph.set_fault("late", retry_after=1, **match)
    slow = await graph.set_fault("slow", **match)
    [job_id] = await desk.plan()
    await graph.wait_for_fault(late)
    if changed:
        await desk.publish(desk.company.schedule.change_job(job_id, notes="Bring a ladder."))
    await graph.wait_for_fault(slow)
    await graph.release(late)
    await desk.there()
    if edited:
        await graph.user_edit(desk.address, {"subject": "Mine now"}, tag=f"site-1/{job_id}")
    await graph.release(slow)
    await desk.right()


async def a_throttled_batch(desk: Desk) -> None:
    await desk.company.graph.set_fault("throttled", mailbox=desk.address, operation="create", skip=3, times=2)
    await desk.plan(8)
    await desk.right()


@pytest.mark.asyncio(loop_scope=ONE_LOOP)
@pytest.mark.parametrize(("switch", "value"), UNCONFIRMED)
async def test_the_calendars_are_exact_with_either_behaviour_of_graph(world: Company, switch: str, value: Any) -> None:
    default = (await world.graph.switches())[switch]["default"]
    assert value != default
    await world.graph.reset_stats()
    await world.graph.set_switches(**{switch: value})
    desks = {name: Desk(world, f"{switch}-{value}-{name}".lower().replace("_", "-")) for name in "abcdefg"}
    for desk in desks.values():
        await desk.open()
    stories: list[Awaitable[None]] = [
        changes_and_hand_edits(desks["a"]),
        a_lost_answer(desks["b"]),
        a_lost_answer_and_a_person_who_deletes_the_event_at_once(desks["c"]),
        a_create_that_lands_late(desks["d"]),
        a_create_that_lands_late(desks["e"], changed=True),
        a_create_that_lands_late(desks["f"], edited=True),
        a_throttled_batch(desks["g"]),
    ]
    try:
        await asyncio.gather(*stories)
        await world.equal()
    finally:
        await world.graph.clear_faults()
        await world.graph.set_switches(**{switch: default})
    duplicates = {duplicate["mailbox"] for duplicate in (await world.graph.stats())["duplicates"]}
    if switch == "transaction_memory_seconds":
        # Without any memory of transactionIds, a create that lands late makes a second event. The sweep deletes it.
        duplicates -= {desks[name].address for name in "def"}
    assert duplicates == set()
