"""Rows and addresses of Core with pasted or broken characters: the topic and the sweep, with the real command."""

from dataclasses import replace

import pytest

from tests.company import Company

SITE = "site-1"


async def calendars_are_made(company: Company) -> None:
    company.publish(company.generate(workers=4, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.start(CALSYNC_SWEEP_INTERVAL_SECONDS="3600")
    await company.consumed()
    await company.judge()


async def test_addresses_with_white_space_around_them_lead_to_the_same_mailboxes(company: Company) -> None:
    await calendars_are_made(company)
    staff = [worker for worker in company.schedule.workers.values() if worker.site_id == SITE and worker.calendar_email]
    for worker, (before, after) in zip(staff, [("\t", ""), ("\xa0", "\n"), ("", "\r\n"), ("\u3000", "")], strict=False):
        pasted = replace(worker, calendar_email=f"{before}{worker.calendar_email}{after}")
        company.publish(company.schedule.put_worker(pasted))
    await company.give_core_the_schedule()
    await company.consumed()
    await company.judge()
    await company.graph.reset_stats()
    swept = await company.sweep()
    assert swept.status == 0, swept
    assert swept.sites[SITE]["whole"]
    assert await company.writes() == 0
    await company.judge()


async def test_an_address_with_an_invisible_character_removes_no_event_and_affects_no_other(company: Company) -> None:
    await calendars_are_made(company)
    before = {event["id"] for _, event in await company.ours()}
    assert before
    worker = next(each for each in company.schedule.workers.values() if company.schedule.jobs_of(each.worker_id))
    email = str(worker.calendar_email)
    company.publish(company.schedule.put_worker(replace(worker, calendar_email=email.replace("@", "\u200b@"))))
    await company.give_core_the_schedule()
    await company.consumed()
    assert (await company.sweep()).status == 0
    assert {event["id"] for _, event in await company.ours()} == before
    company.publish(company.schedule.put_worker(worker))
    await company.give_core_the_schedule()
    await company.consumed()
    await company.judge()


@pytest.mark.parametrize("kind", ["half_pair", "unusable_row", "nameless_row", "no_worker", "bom"])
async def test_one_broken_row_or_worker_fails_no_sweep_and_is_reported(company: Company, kind: str) -> None:
    await calendars_are_made(company)
    await company.core.set_fault(kind, site_id=SITE)
    await company.graph.reset_stats()
    swept = await company.sweep()
    assert swept.status == 0, swept
    assert ("unusable input of Core" in swept.errors) == (kind != "bom")
    assert await company.writes() == 0
    await company.judge()
