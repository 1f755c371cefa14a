"""Three thousand changes while one request in five fails, through the real service."""

from datetime import timedelta

from sandbox.core.generate import random_change
from tests.company import Company, eventually, now

CHANGES = 3_000


async def test_three_thousand_changes_arrive_exactly_while_one_request_in_five_fails(company: Company) -> None:
    changes = company.generate(workers=50, jobs=10)
    while len(changes) < CHANGES:
        changes += random_change(company.schedule, company.random, start=now() + timedelta(days=1), days=19)
    await company.open_mailboxes(changes)
    graph = company.graph
    await graph.set_switches(latency_ms=10.0)
    faults = [
        await graph.set_fault("throttled", probability=0.05, retry_after=1),
        await graph.set_fault("too-many-requests", probability=0.05, retry_after=1.5),
        await graph.set_fault("service-unavailable", probability=0.02),
        await graph.set_fault("empty-503", probability=0.01),
        await graph.set_fault("gateway-timeout", when="after", probability=0.03),
        await graph.set_fault("conflict", probability=0.01),
        await graph.set_fault("cut", when="after", probability=0.01),
        await graph.set_fault("timeout", when="after", probability=0.01),
    ]
    company.publish(changes[:500])
    service = await company.start()
    for first in range(500, CHANGES, 500):
        before = await company.writes()

        async def went_on(before: int = before) -> bool:
            return await company.writes() > before + 300

        await eventually(went_on, "the changes before are being carried out", 200)
        company.publish(changes[first : first + 500])
    await company.consumed(within=400)
    struck = {fault["id"]: fault["hits"] for fault in await graph.faults()}
    assert all(struck[fault] for fault in faults), struck
    # Before a sweep by hand: another process does not know what a Retry-After has asked of the service.
    assert (await company.graph.stats())["early_retries"] == 0
    if await company.metric(service, 'calsync_events_total{result="handed_over"}'):
        # A mailbox or a job whose requests all failed for two minutes is left to the sweep.
        await graph.clear_faults()
        await company.give_core_the_schedule()
        assert (await company.sweep()).status == 0
    await company.judge()
    stats = await graph.stats()
    assert stats["max_in_flight"] <= 4
    assert stats["throttled"] == 0
