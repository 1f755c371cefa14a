"""The sites file as people write it: half-written for a moment, with a new customer, and with an unusable site."""

from sandbox.stack import Service
from tests.company import Company, eventually

RARELY = {"CALSYNC_SWEEP_INTERVAL_SECONDS": "3600"}


async def taken(service: Service, times: int) -> None:
    """Wait until the service has read the sites file this many times again."""

    async def read() -> bool:
        return service.process.log.read_text().count("sites file read again") >= times

    await eventually(read, "the sites file is read again")


async def test_a_site_is_served_while_the_file_is_half_written(company: Company) -> None:
    first, second = company.sites
    company.publish(company.generate(workers=2, jobs=2))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start(**RARELY)
    await company.consumed()
    whole = company.stack.sites_file.read_text()
    company.stack.sites_file.write_text(first.toml())
    await taken(service, 1)
    job = next(job for job in company.schedule.jobs.values() if job.site_id == second.site_id and job.workers)
    company.publish(company.schedule.change_job(job.job_id, client_name="Fabrikam"))
    await company.consumed()
    await company.equal(within=5)
    company.stack.sites_file.write_text(whole)
    await taken(service, 2)
    await company.judge()


async def test_a_site_that_is_added_is_swept_at_once(company: Company) -> None:
    first, second = company.sites
    company.publish(company.generate(workers=2, jobs=2))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    company.stack.write_sites([first])
    service = await company.start(**RARELY)
    await company.consumed()
    assert await company.metric(service, 'calsync_events_total{result="skipped"}') > 0
    assert await company.differences(), "the second site's records were skipped"
    company.stack.write_sites([first, second])
    await taken(service, 1)
    await company.equal(within=20)
    await company.judge()
