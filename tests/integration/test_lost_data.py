"""A Redis that loses all data while the service runs, and a service that starts beside full calendars."""

import asyncio

import pytest
from redis import Redis

from tests.company import Company


def forget_everything(company: Company) -> None:
    """As FLUSHALL would; the server is shared with other tests."""
    with Redis.from_url(company.stack.redis_url) as redis:
        redis.delete(*redis.scan_iter(f"{company.stack.group}:*"))


async def with_categories(company: Company) -> dict[tuple[str, str], str]:
    """Workers put a category on each event; returns the event of each assignment."""
    found = {}
    for address, event in await company.ours():
        await company.graph.user_edit(address, {"categories": ["Mine"]}, event_id=event["id"])
        found[address, event["tag"]] = event["id"]
    return found


@pytest.mark.parametrize("is_running", [True, False])
async def test_changed_jobs_keep_their_events_and_what_their_workers_added(company: Company, is_running: bool) -> None:
    company.publish(company.generate(workers=6, jobs=5))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start()
    await company.equal()
    before = await with_categories(company)
    assert len(before) >= 60
    if not is_running:
        await asyncio.to_thread(service.process.stop)
    await asyncio.to_thread(forget_everything, company)
    jobs = sorted(company.schedule.jobs)[::3]
    company.publish(
        change for job_id in jobs for change in company.schedule.change_job(job_id, notes="Bring a ladder.")
    )
    if not is_running:
        await company.start("second")
    await company.equal()
    await company.consumed()
    await company.judge()
    await company.give_core_the_schedule()
    assert (await company.sweep()).status == 0
    after = await company.ours()
    assert {(address, event["tag"]): event["id"] for address, event in after} == before
    assert all(event["categories"] == ["Mine"] for _, event in after)
    again = await company.sweep()
    assert again.status == 0
    assert not any(again.repairs(site.site_id) for site in company.sites)
