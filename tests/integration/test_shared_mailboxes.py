"""One mailbox for two sites, and two addresses for one mailbox: each assignment keeps its own event."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sandbox.control import Mailbox
from sandbox.core.rows import Job, Site, Worker
from tests.company import Company, now

FIRST, SECOND = "site-1", "site-2"
SHARED = "anna@shared.example"
ALIAS = "annie@shared.example"


def add_jobs(company: Company, worker: Worker, count: int) -> None:
    schedule = company.schedule
    schedule.put_site(Site(worker.site_id, worker.site_id.title(), "Europe/London"))
    schedule.put_worker(worker)
    for number in range(1, count + 1):
        start = now() + timedelta(days=number)
        job = Job(
            job_id=f"{worker.worker_id}-{number}",
            site_id=worker.site_id,
            client_name="Northwind",
            starts_at=start,
            ends_at=start + timedelta(hours=1),
        )
        schedule.add_job(job, [worker.worker_id])


async def of_site(company: Company, site_id: str) -> list[dict[str, Any]]:
    return [event for _, event in await company.ours() if event["tag"].startswith(f"{site_id}/")]


async def sweep_well(company: Company) -> dict[str, dict[str, int]]:
    """The repairs of each site."""
    swept = await company.sweep()
    assert swept.status == 0, swept.errors
    return {site: swept.repairs(site) for site in swept.sites}


async def one_app_for_both_sites(company: Company) -> None:
    """The second site's mailboxes are in the first one's tenant, and reached with the same app."""
    text = company.stack.sites_file.read_text()
    first, second = company.sites
    text = text.replace(second.tenant_id, first.tenant_id).replace(second.client_id, first.client_id)
    company.stack.sites_file.write_text(text)
    await company.graph.add_mailboxes(first.tenant_id, [Mailbox(SHARED)])


async def one_address_in_two_tenants(company: Company) -> None:
    """The same address names a different mailbox in each tenant."""
    for site in company.sites:
        await company.graph.add_mailboxes(site.tenant_id, [Mailbox(SHARED)])


@pytest.mark.parametrize("shared", [one_app_for_both_sites, one_address_in_two_tenants])
async def test_two_sites_with_one_mailbox_leave_each_others_events_alone(company: Company, shared: Any) -> None:
    await shared(company)
    for site_id in (FIRST, SECOND):
        add_jobs(company, Worker(f"anna-{site_id}", site_id, SHARED), 8)
    await company.graph.set_switches(latency_ms=5.0)
    company.publish(company.schedule.snapshot())
    await company.give_core_the_schedule()
    service = await company.start()
    await company.consumed()
    await company.judge()
    await asyncio.to_thread(service.process.stop)  # it would sweep too
    assert (len(await of_site(company, FIRST)), len(await of_site(company, SECOND))) == (8, 8)
    assert (await company.graph.stats())["max_in_flight"] <= 4
    assert (await company.graph.stats())["throttled"] == 0
    assert await sweep_well(company) == {FIRST: {}, SECOND: {}}
    # The first site loses half of its jobs, and people edit the rest: the second site's sweep must not see any of it.
    tenant = company.sites[0].tenant_id
    theirs = await of_site(company, SECOND)
    for number in (1, 2, 3):
        company.schedule.delete(f"anna-{FIRST}-{number}")
    company.schedule.cancel(f"anna-{FIRST}-4")
    await company.give_core_the_schedule()
    edited, copied, gone = [event["id"] for event in await of_site(company, FIRST)][5:8]
    for action, event_id, details in (
        ("edit", edited, {"changes": {"subject": "Mine now"}}),
        ("copy", copied, {}),
        ("delete", gone, {}),
    ):
        await company.graph.act(action, SHARED, tenant=tenant, id=event_id, **details)
    before = await company.ours()
    alone = await company.sweep("--site", SECOND)
    assert (alone.status, alone.repairs(SECOND)) == (0, {})
    assert await company.ours() == before
    assert await sweep_well(company) == {
        FIRST: {"orphaned": 4, "edited": 1, "copied": 1, "deleted": 1},
        SECOND: {},
    }
    assert await of_site(company, SECOND) == theirs
    await company.judge()
    # If all jobs of the first site vanish, the second site's events are neither counted nor deleted.
    for job in [job for job in company.schedule.jobs.values() if job.site_id == FIRST]:
        company.schedule.delete(job.job_id)
    await company.give_core_the_schedule()
    await sweep_well(company)
    assert await of_site(company, FIRST) == []
    assert await of_site(company, SECOND) == theirs


async def an_alias(company: Company) -> None:
    tenant = company.sites[0].tenant_id
    await company.graph.set_mailbox(tenant, SHARED, aliases=[ALIAS])
    company.aliases[ALIAS] = SHARED
    company.schedule.put_site(Site(SECOND, "Second", "Europe/London"))


async def test_two_addresses_of_one_mailbox_keep_their_events_and_both_are_repaired(company: Company) -> None:
    await an_alias(company)
    add_jobs(company, Worker("anna", FIRST, SHARED), 6)
    add_jobs(company, Worker("annie", FIRST, ALIAS), 6)
    await company.give_core_the_schedule()
    assert await sweep_well(company) == {FIRST: {"missed": 12}, SECOND: {}}
    await company.judge()
    await company.graph.reset_stats()
    assert await sweep_well(company) == {FIRST: {}, SECOND: {}}
    assert await company.writes() == 0
    for name in ("anna", "annie"):
        await company.graph.user_edit(SHARED, {"subject": "Mine now"}, tag=f"{FIRST}/{name}-1")
        await company.graph.user_copy(SHARED, tag=f"{FIRST}/{name}-2")
        await company.graph.user_delete(SHARED, tag=f"{FIRST}/{name}-3")
        company.schedule.cancel(f"{name}-4")
    company.schedule.reassign("anna-5", "anna", "annie")
    await company.give_core_the_schedule()
    await sweep_well(company)
    assert await company.differences() == []
    # Each address creates and deletes its own event of a job that moves from one to the other, in either order.
    assert {event["tag"] for event in (await company.graph.stats())["duplicates"]} <= {f"{FIRST}/anna-5"}
    await company.graph.reset_stats()
    assert await sweep_well(company) == {FIRST: {}, SECOND: {}}
    assert await company.writes() == 0


async def test_a_job_of_both_addresses_of_one_mailbox_stops_being_rewritten(company: Company) -> None:
    await an_alias(company)
    add_jobs(company, Worker("anna", FIRST, SHARED), 3)
    add_jobs(company, Worker("annie", FIRST, ALIAS), 3)
    for number in (1, 2, 3):
        company.schedule.assign(f"anna-{number}", "annie")
    await company.give_core_the_schedule()
    for _ in range(4):
        await sweep_well(company)
    await company.graph.reset_stats()
    for _ in range(3):
        assert await sweep_well(company) == {FIRST: {}, SECOND: {}}
    assert await company.writes() == 0
    assert {event["tag"] for event in await of_site(company, FIRST)} == {
        f"{FIRST}/{name}-{number}" for name in ("anna", "annie") for number in (1, 2, 3)
    }
