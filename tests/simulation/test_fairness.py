"""Many tenants in simulated time: one that is slow, fails or meets an unexpected error costs the others nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import cast

import pytest

from consumer.domain.compare import MailboxSnapshot, Unread
from consumer.domain.errors import TransientError
from consumer.domain.job import Deletion
from consumer.domain.mailbox import Mailbox
from consumer.domain.site import Site
from consumer.domain.timezones import UTC_ZONE
from consumer.sync.after_run import HAND_OVER_SECONDS
from consumer.sync.change import Change
from consumer.sync.lanes import OVERDUE_SHARE, RELIEVE_AT_ONCE, Lanes
from consumer.sync.receipts import Receipt
from consumer.sync.run_context import RunResult
from consumer.sync.site_registry import SiteRegistry
from tests.fakes.calendars import MemoryOutlook
from tests.fakes.store import MemoryStore
from tests.simulation.loop import SimulatedClock, SimulatedLoop, simulate
from tests.simulation.world import Counts

DOWN = TransientError("no answer within 30 s")
Answer = Callable[[Mailbox], Awaitable[None]]


class Calendars:
    """Stands in for the reconciler: each run takes as long as ``answer``, and fails as it does."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.runs: Counter[str] = Counter()

    async def run(self, site: Site, mailbox: Mailbox, changes: Mapping[str, Change]) -> RunResult:
        self.runs[site.site_id] += 1
        try:
            await self.answer(mailbox)
        except TransientError as trouble:
            return RunResult(trouble=trouble)
        return RunResult(results=dict.fromkeys(changes, "applied"))

    async def inspect(self, site: Site, mailbox: Mailbox) -> MailboxSnapshot | RunResult:
        try:
            await self.answer(mailbox)
        except TransientError as trouble:
            return RunResult(trouble=trouble)
        return MailboxSnapshot(UTC_ZONE, {}, ())


class Tenants:
    """Lanes over many sites, each with an app of its own."""

    def __init__(self, answer: Answer, *site_ids: str, runs_at_once: int | None = None) -> None:
        clock = SimulatedClock()
        self.store = MemoryStore(clock)
        self.results: dict[str, Counter[str]] = {site_id: Counter() for site_id in site_ids}
        self.order: list[str] = []
        """Jobs, in the order in which they were given back."""
        outlook = MemoryOutlook(clock, Random(1))
        sites = SiteRegistry(outlook, Counts(), on_resumed=lambda _: None)
        sites.replace({site_id: Site(site_id, "", "UTC", f"tenant-{site_id}", "app", "secret") for site_id in site_ids})
        self.calendars = Calendars(answer)
        options = {} if runs_at_once is None else {"runs_at_once": runs_at_once}
        self.lanes = Lanes(
            self.calendars,  # type: ignore[arg-type]
            self.store,
            sites,
            clock,
            Random(1),
            self,
            **options,
        )
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        loop.stops.append(self._stop)

    def _stop(self) -> None:
        self.lanes._stopping = True

    def add(self, site_id: str, mailboxes: int, jobs: int = 1) -> None:
        for number in range(mailboxes):
            for job in range(jobs):
                mailbox = Mailbox(site_id, f"worker-{number}@{site_id}.example")
                job_id = f"{site_id}-{number}-{job}"
                receipt = Receipt((site_id, job_id), self._done, lambda: True)
                self.lanes.add(mailbox, Change(job_id, Deletion(job_id, 1), receipt))

    async def refuse(self, change: Change, refusal: Exception) -> None:
        raise AssertionError("nothing here is malformed")

    def _done(self, receipt: Receipt, result: str) -> None:
        site_id, job_id = cast("tuple[str, str]", receipt.record)
        self.results[site_id][result] += 1
        self.order.append(job_id)


async def finished(tenants: Tenants, site_id: str, count: int) -> float:
    """When this many records of a site were done."""
    while tenants.results[site_id].total() < count:  # noqa: ASYNC110 (simulated time costs nothing)
        await asyncio.sleep(0.05)
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("fails", [True, False], ids=["requests that fail after 30 s", "answers after 30 s"])
@pytest.mark.parametrize("count", [5, 40])
def test_slow_tenants_do_not_starve_a_healthy_one(fails: bool, count: int) -> None:
    slow = [f"slow-{number}" for number in range(count)]

    async def answer(mailbox: Mailbox) -> None:
        await asyncio.sleep(30.0 if mailbox.site in slow else 0.1)
        if fails and mailbox.site in slow:
            raise DOWN

    async def story() -> None:
        tenants = Tenants(answer, *slow, "well")
        for site_id in slow:
            tenants.add(site_id, 500)
        await asyncio.sleep(100.0)
        began = asyncio.get_running_loop().time()
        tenants.add("well", 200)
        assert await finished(tenants, "well", 200) - began < 10.0

    simulate(story())


def test_slow_tenants_are_still_processed() -> None:
    async def answer(_mailbox: Mailbox) -> None:
        await asyncio.sleep(30.0)

    async def story() -> None:
        tenants = Tenants(answer, "a", "b", "c")
        for site_id in ("a", "b", "c"):
            tenants.add(site_id, 500)
        for site_id in ("a", "b", "c"):
            await finished(tenants, site_id, 500)
        # If each had a third of all runs from the start, it would take 90 s.
        assert asyncio.get_running_loop().time() < 200.0

    simulate(story())


def test_an_overdue_inspection_gets_its_share_while_changes_wait() -> None:
    async def answer(_mailbox: Mailbox) -> None:
        await asyncio.sleep(1.0)

    async def story() -> None:
        tenants = Tenants(answer, "busy", "swept", runs_at_once=1)
        tenants.add("busy", 10 * OVERDUE_SHARE)
        inspection = tenants.lanes.inspect(Mailbox("swept", "ann@example.com"), overdue_at=0.0)
        await asyncio.wait_for(inspection, 2 * OVERDUE_SHARE)

    simulate(story())


def test_under_pressure_the_oldest_work_of_a_failing_tenant_is_handed_over_while_another_is_served() -> None:
    async def answer(mailbox: Mailbox) -> None:
        await asyncio.sleep(0.1)
        if mailbox.site == "sick":
            raise DOWN

    async def story() -> None:
        tenants = Tenants(answer, "sick", "well")
        tenants.add("sick", 3 * RELIEVE_AT_ONCE)
        for _ in range(30):
            tenants.add("well", 1)
            await asyncio.sleep(1.0)
        assert tenants.results["sick"] == {}
        await tenants.lanes.relieve()
        handed_over = tenants.results["sick"]["handed_over"]
        assert 0.9 * RELIEVE_AT_ONCE <= handed_over <= RELIEVE_AT_ONCE
        assert {job_id for _, job_id in tenants.store.marks} == set(tenants.order) - {"well-0-0"}
        oldest = {f"sick-{number}-0" for number in range(RELIEVE_AT_ONCE + 100)}
        assert {job_id for _, job_id in tenants.store.marks} <= oldest
        for _ in range(3):
            await asyncio.sleep(1.0)
            await tenants.lanes.relieve()
        # A running run may still have a few.
        assert tenants.results["sick"]["handed_over"] >= 3 * RELIEVE_AT_ONCE - 50
        assert tenants.results["well"] == {"applied": 30}

    simulate(story())


@pytest.mark.parametrize("well_for", [0.0, 3.0], ids=["never served", "served until a moment after"])
def test_nothing_is_handed_over_while_no_tenant_is_served(well_for: float) -> None:
    async def answer(mailbox: Mailbox) -> None:
        await asyncio.sleep(0.1)
        if mailbox.site == "a" or asyncio.get_running_loop().time() > well_for:
            raise DOWN

    async def story() -> None:
        tenants = Tenants(answer, "a", "b", "idle")
        for _ in range(60):
            for site_id in ("a", "b"):
                tenants.add(site_id, 10)
            await asyncio.sleep(2.0)
            await tenants.lanes.relieve()
        assert tenants.store.marks == {}
        assert tenants.results["a"] == {}

    simulate(story())


def test_a_served_tenant_hands_nothing_over() -> None:
    async def answer(mailbox: Mailbox) -> None:
        await asyncio.sleep(0.1)
        if mailbox.address.startswith("worker-0@"):
            raise DOWN

    async def story() -> None:
        tenants = Tenants(answer, "a", "b")
        for _ in range(int(HAND_OVER_SECONDS / 2)):
            tenants.add("a", 3)
            tenants.add("b", 3)
            await asyncio.sleep(1.0)
            await tenants.lanes.relieve()
        assert tenants.store.marks == {}

    simulate(story())


def test_work_that_cannot_be_marked_stays_and_is_done_when_the_tenant_is_back() -> None:
    async def answer(mailbox: Mailbox) -> None:
        await asyncio.sleep(0.1)
        if mailbox.site == "sick" and asyncio.get_running_loop().time() < 100.0:
            raise DOWN

    async def story() -> None:
        tenants = Tenants(answer, "sick", "well")
        tenants.add("sick", 20, jobs=3)
        for _ in range(30):
            tenants.add("well", 1)
            await asyncio.sleep(1.0)
        tenants.store.down = True
        await tenants.lanes.relieve()
        tenants.store.down = False
        assert tenants.results["sick"] == {}
        await finished(tenants, "sick", 60)
        assert tenants.results["sick"] == {"applied": 60}

    simulate(story())


def test_after_an_unexpected_error_in_a_run_nothing_is_lost_and_other_lanes_go_on() -> None:
    async def answer(mailbox: Mailbox) -> None:
        await asyncio.sleep(0.1)
        if mailbox.site == "faulty" and asyncio.get_running_loop().time() < 60.0:
            raise ZeroDivisionError

    async def story() -> None:
        tenants = Tenants(answer, "faulty", "well", runs_at_once=4)
        tenants.add("faulty", 5, jobs=2)
        tenants.add("well", 20)
        assert await finished(tenants, "well", 20) < 30.0
        inspection = await asyncio.wait_for(tenants.lanes.inspect(Mailbox("faulty", "another@example.com")), 30.0)
        assert inspection == Unread("unexpected", "an unexpected error: ZeroDivisionError")
        # Retried again and again, with longer and longer pauses.
        assert tenants.calendars.runs["faulty"] < 100
        await finished(tenants, "faulty", 10)
        assert tenants.results["faulty"] == {"applied": 10}

    simulate(story())
