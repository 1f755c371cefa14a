"""Outlook may show bodies differently from what was written: the service rewrites each event at most once for that."""

import pytest

from sandbox.stack import Service
from tests.company import Company, eventually

STRANGE = [("banner", "always"), ("stamped", "never")]
"""How Graph rewrites a body into another visible text, and whether the answer to the write already shows that."""


async def next_sweeps(company: Company, service: Service) -> None:
    """Wait for a sweep of each site that began after now to end."""
    before = {site.site_id: await company.sweeps(service, site.site_id) for site in company.sites}

    async def ended() -> bool:
        return all([await company.sweeps(service, site) >= count + 2 for site, count in before.items()])

    await eventually(ended, "each site was swept again")


async def unsettled(company: Company, service: Service) -> float:
    samples = [f'calsync_sweep_repairs_total{{cause="unsettled",site="{site.site_id}"}}' for site in company.sites]
    return sum([await company.metric(service, sample) for sample in samples])


async def serve(company: Company) -> Service:
    """A service that has made the calendars equal to the schedule, and sweeps them every second."""
    company.publish(company.generate(workers=4, jobs=4))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start(CALSYNC_SWEEP_INTERVAL_SECONDS="1")
    await company.consumed()
    await company.equal()
    return service


async def only_bodies_differ(company: Company) -> bool:
    return all("body differs" in line for line in await company.differences())


@pytest.mark.parametrize(("style", "echo"), STRANGE)
async def test_rewritten_bodies_are_repaired_once_then_left_until_a_person_edits_them(
    company: Company, style: str, echo: str
) -> None:
    service = await serve(company)
    await company.graph.set_switches(body_style=style, echo_body=echo)
    await company.graph.reset_stats()
    ours = await company.ours()
    for address, event in ours:
        body = {"body": {"contentType": "html", "content": event["body"]}}
        await company.graph.user_edit(address, body, event_id=event["id"])
    await next_sweeps(company, service)
    assert (await company.graph.stats())["requests"]["update"] == {"200": len(ours)}
    assert await company.writes() == len(ours)
    await company.graph.reset_stats()
    for _ in range(2):
        looked = await unsettled(company, service)
        await company.move_etags()
        await next_sweeps(company, service)
        assert await unsettled(company, service) >= looked + len(ours)
    assert await company.writes() == 0
    # If a person edits the body or another field, one write restores each event.
    (address, first), (other, second) = ours[0], ours[-1]
    await company.graph.user_edit(address, {"subject": "Mine now"}, event_id=first["id"])
    await company.graph.user_edit(
        other, {"body": {"contentType": "html", "content": "<p>Gone fishing</p>"}}, event_id=second["id"]
    )
    await next_sweeps(company, service)
    assert await company.writes() == 2
    assert await only_bodies_differ(company)
    assert not [event for _, event in await company.ours() if "Gone fishing" in event["body"]]
    await company.move_etags()
    await next_sweeps(company, service)
    assert await company.writes() == 2
    assert (await company.graph.stats())["duplicates"] == []


async def test_bodies_rewritten_from_the_first_day_are_written_at_most_once_more(company: Company) -> None:
    await company.graph.set_switches(body_style="joined")
    company.generate(workers=4, jobs=4)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    assert (await company.sweep()).status == 0
    ours = await company.ours()
    assert await only_bodies_differ(company)
    await company.graph.reset_stats()
    assert (await company.sweep()).status == 0
    assert await company.writes() == 0, "no event was edited since it was created"
    for _ in range(3):
        await company.move_etags()
        assert (await company.sweep()).status == 0
    assert await company.writes() == len(ours)
    assert await only_bodies_differ(company)
    # Core's next change is written once, although it is unknown how the body will read.
    job = next(job for job in company.schedule.jobs.values() if f"site-1/{job.job_id}" == ours[0][1]["tag"])
    company.schedule.change_job(job.job_id, client_name="Fabrikam")
    await company.give_core_the_schedule()
    await company.graph.reset_stats()
    for _ in range(2):
        assert (await company.sweep()).status == 0
    assert await company.writes() == sum(event["tag"] == ours[0][1]["tag"] for _, event in ours)
    assert await only_bodies_differ(company)
