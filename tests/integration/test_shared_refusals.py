"""The real service against refusals of one mailbox, and of all mailboxes of a site."""

import json

import pytest

from sandbox.core.rows import Change
from sandbox.oracle import expect
from sandbox.stack import Service
from tests.company import ROLES, Company, eventually, now
from tests.integration.test_sites import consent_to, suspended

READ_ONLY = ("Calendars.Read", "MailboxSettings.Read")


async def parked(company: Company) -> dict[str, str]:
    """Graph's code, by mailbox."""
    listed = json.loads((await company.command("mailbox", "list", "--json")).stdout)["parked"]
    return {each["mailbox"]: each["code"] for each in listed}


async def staffed(company: Company, workers: int = 5) -> list[Change]:
    changes = company.generate(workers=workers, jobs=3)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    return changes


async def touch_the_sites_file(company: Company) -> None:
    """How an administrator has a suspended site tried at once."""
    company.stack.sites_file.write_text(f"# mended\n{company.stack.sites_file.read_text()}")


async def is_named(service: Service, code: str, hint: str) -> None:
    [line] = [line for line in service.process.log.read_text().splitlines() if '"site suspended"' in line]
    assert '"site":"site-1"' in line
    assert code in line
    assert hint in line


@pytest.mark.parametrize("workers", [5, 1])
async def test_consent_for_reading_only_suspends_the_site_and_parks_no_mailbox(company: Company, workers: int) -> None:
    changes = await staffed(company, workers)
    await consent_to(*READ_ONLY)(company)
    company.publish(changes)
    service = await company.start()
    await company.consumed()
    await suspended(company, service)
    await is_named(service, "ErrorAccessDenied", "Calendars.Read is not enough")
    # Reading works, which must not count as recovery.
    await touch_the_sites_file(company)
    await eventually(lambda: tried_to_write(company), "the site is probed with a write")
    await suspended(company, service)
    assert await parked(company) == {}
    swept = await company.sweep()
    assert (swept.status, swept.sites["site-2"]["failure"]) == (1, None)
    await consent_to(*ROLES)(company)
    await touch_the_sites_file(company)
    await company.equal(within=20)
    await company.judge()
    assert await company.metric(service, 'calsync_site_up{site="site-1"}') == 1


async def tried_to_write(company: Company) -> bool:
    requests = (await company.graph.stats())["requests"]
    return bool(requests.get("delete"))


async def test_mailboxes_that_are_all_not_found_suspend_the_site_until_they_are(company: Company) -> None:
    changes = await staffed(company)
    company.publish(changes)
    service = await company.start()
    await company.equal()
    fault = await company.graph.set_fault("resource-not-found", tenant=company.sites[0].tenant_id)
    swept = await company.sweep("--site", "site-1")
    assert swept.status == 1
    assert "ResourceNotFound" in swept.sites["site-1"]["failure"]
    assert await parked(company) == {}
    for job_id in list(company.schedule.jobs):
        company.publish(company.schedule.change_job(job_id, subject="changed"))
    await company.give_core_the_schedule()
    await company.consumed()
    await suspended(company, service)
    await is_named(service, "ResourceNotFound", "licensed")
    assert await parked(company) == {}
    await company.graph.remove_fault(fault)
    await touch_the_sites_file(company)
    await company.equal(within=20)
    await company.judge()


async def test_an_address_that_graph_refuses_is_parked_and_none_of_its_records_dead_lettered(company: Company) -> None:
    changes = await staffed(company)
    first = next(worker for worker in company.schedule.workers.values() if worker.site_id == "site-1")
    company.publish(changes + company.schedule.change_calendar_email(first.worker_id, "N/A"))
    await company.give_core_the_schedule()
    company.parked.add("n/a")
    service = await company.start()
    await company.consumed()
    await company.equal()
    assert await parked(company) == {"n/a": "BadRequest"}
    assert await company.metric(service, 'calsync_events_total{result="dead_lettered"}') == 0
    assert await company.metric(service, 'calsync_site_up{site="site-1"}') == 1
    assert {address for address, _ in await company.ours()} == set(expect(company.schedule, now()).mailboxes) - {"n/a"}
