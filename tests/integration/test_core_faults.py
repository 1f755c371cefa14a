"""Core's API fails: no incomplete answer deletes an event, and the site is reported."""

from collections.abc import Sequence
from typing import Any

from sandbox.core.rows import Change
from tests.company import Company, eventually

SICK, WELL = "site-1", "site-2"
Fault = dict[str, Any]

FAILED_READS: dict[str, tuple[Sequence[Fault], str]] = {
    "500 on page 3": ([{"kind": "status", "status": 500, "page": 3}], "HTTP 500"),
    "429 on page 2": ([{"kind": "status", "status": 429, "retry_after": 60, "page": 2}], "HTTP 429"),
    "the token refused": ([{"kind": "status", "status": 401}], "HTTP 401"),
    "a site that Core does not know": ([{"kind": "status", "status": 404}], "HTTP 404"),
    "a page lost on the way": ([{"kind": "status", "status": 404, "page": 2}], "HTTP 404"),
    "truncated JSON": ([{"kind": "invalid_json"}], "not an answer of core"),
    "truncated JSON on page 3": ([{"kind": "invalid_json", "page": 3}], "not an answer of core"),
    "broken off in the midst of page 2": ([{"kind": "disconnect", "page": 2}], "Core's API"),
    "an empty list": ([{"kind": "empty"}], "lacks a job"),
    "an empty last page": ([{"kind": "empty", "page": 2}], "lacks a job"),
    "a list of half the workers": ([{"kind": "cut"}], "lacks a job"),
    "a list cut short on page 2": ([{"kind": "cut", "page": 2}], "lacks a job"),
    "workers without their jobs": ([{"kind": "missing_rows"}], "lacks a job"),
    "workers out of order": ([{"kind": "step_back", "page": 2}], "steps backwards"),
    "a cursor that leads to its own page": ([{"kind": "repeat", "page": 2}], "repeats a page"),
    "a first page that is its own next": ([{"kind": "repeat", "page": 1}], "steps backwards"),
    "a list that begins again": ([{"kind": "rewind", "page": 2}], "steps backwards"),
    "a list that begins again for ever": ([{"kind": "rewind"}], "steps backwards"),
    "jobs that cannot be asked for": (
        [{"kind": "empty"}, {"kind": "status", "status": 503, "operation": "job"}],
        "HTTP 503",
    ),
    "jobs whose answer breaks off": (
        [{"kind": "empty"}, {"kind": "invalid_json", "operation": "job"}],
        "not an answer of core",
    ),
}


async def fill_the_calendars(company: Company) -> list[Change]:
    """Fills the calendars by a sweep; returns the changes that Core would have published."""
    changes = company.generate(workers=8, jobs=6)
    await company.open_mailboxes()
    await company.core.set_page_size(2)
    await company.give_core_the_schedule()
    swept = await company.sweep()
    assert swept.status == 0, swept.errors
    await company.judge()
    await company.graph.reset_stats()
    return changes


async def cancel_and_delete_a_few(company: Company) -> None:
    """Deletions that a whole sweep would carry out, well below the fuse."""
    jobs = [job.job_id for job in company.schedule.jobs.values() if job.site_id == SICK and job.workers]
    for job_id in jobs[:3]:
        company.schedule.cancel(job_id)
    for job_id in jobs[3:5]:
        company.schedule.delete(job_id)
    await company.give_core_the_schedule()


async def deleted(company: Company) -> int:
    requests = (await company.graph.stats())["requests"]
    return sum(requests.get("delete", {}).values())


async def test_a_failed_read_deletes_nothing_is_reported_and_recovers_with_core(company: Company) -> None:
    await fill_the_calendars(company)
    before = await company.graph.events()
    await cancel_and_delete_a_few(company)
    for case, (faults, why) in FAILED_READS.items():
        for fault in faults:
            await company.core.set_fault(site_id=SICK, **fault)
        # Even with mass deletions allowed, a failed read must delete nothing.
        for options in ([], ["--allow-mass-delete"]) if why == "lacks a job" else ([],):
            failed = await company.sweep(*options)
            assert failed.status == 1, case
            assert not failed.sites[SICK]["whole"], case
            assert why in failed.sites[SICK]["failure"], case
            assert failed.sites[WELL]["whole"], f"{case}: the other site has nothing to do with it"
        assert await company.writes() == 0, case
        await company.core.clear_faults()
    assert await company.graph.events() == before
    healed = await company.sweep()
    assert healed.status == 0, healed.errors
    assert healed.repairs(SICK) == {"orphaned": await deleted(company)}
    await company.judge()


async def test_the_table_and_the_log_name_the_site_and_why(company: Company) -> None:
    await fill_the_calendars(company)
    await company.core.set_fault("status", status=500, page=3, site_id=SICK)
    done = await company.command("sweep")
    assert done.returncode == 1
    [row] = [line for line in done.stdout.splitlines() if SICK in line]
    assert "failed" in row
    assert "HTTP 500" in done.stdout
    [logged] = [line for line in done.stderr.splitlines() if "sweep failed" in line]
    assert f'"site": "{SICK}"' in logged
    assert "HTTP 500" in logged
    assert '"vanished_deleted": 0' in logged


async def test_an_emptied_database_trips_the_fuse_until_its_rows_are_back(company: Company) -> None:
    await fill_the_calendars(company)
    schedule = company.schedule
    sites, workers, jobs = schedule.sites.values(), [*schedule.workers.values()], [*schedule.jobs.values()]
    sick = [job for job in jobs if job.site_id != SICK]
    schedule.restore(sites, [worker for worker in workers if worker.site_id != SICK], sick, schedule.revision)
    await company.give_core_the_schedule()
    before = await company.graph.events()
    for _ in range(2):
        held = await company.sweep()
        assert held.status == 1
        assert not held.sites[SICK]["whole"]
        assert held.sites[SICK]["held"] > 20
        assert held.sites[SICK]["failure"] is None
        assert held.sites[WELL]["whole"]
    assert await company.writes() == 0
    assert await company.graph.events() == before
    schedule.restore(sites, workers, jobs, schedule.revision)
    await company.give_core_the_schedule()
    healed = await company.sweep()
    assert healed.status == 0, healed.errors
    assert healed.sites[SICK]["held"] == 0
    assert await company.writes() == 0
    await company.judge()


async def test_a_row_with_impossible_values_leaves_its_event_and_the_rest_is_swept(company: Company) -> None:
    await fill_the_calendars(company)
    before = await company.graph.events(tenant=company.sites[0].tenant_id)
    await company.core.set_fault("unusable_row", site_id=SICK)
    done = await company.sweep()
    assert done.status == 0, done.errors
    assert done.sites[SICK]["unusable_rows"] > 0
    assert await company.graph.events(tenant=company.sites[0].tenant_id) == before
    assert await company.writes() == 0


async def test_a_running_service_deletes_nothing_while_core_fails_and_sweeps_again_once_core_recovers(
    company: Company,
) -> None:
    company.publish(await fill_the_calendars(company))
    before = await company.graph.events()
    await cancel_and_delete_a_few(company)
    await company.core.set_fault("cut", page=2, site_id=SICK)
    service = await company.start(CALSYNC_SWEEP_INTERVAL_SECONDS="1")
    await company.consumed()
    succeeded = f'calsync_sweep_last_success_timestamp_seconds{{site="{SICK}"}}'

    async def tried_twice() -> bool:
        return await company.sweeps(service, SICK) >= 2

    await eventually(tried_twice, "the sick site is tried again and again")
    assert await company.metric(service, succeeded) == 0
    assert await company.graph.events() == before
    await company.core.clear_faults()
    await company.equal()
    await company.judge()

    async def whole() -> bool:
        return await company.metric(service, succeeded) > 0

    await eventually(whole, "the site is swept whole")
