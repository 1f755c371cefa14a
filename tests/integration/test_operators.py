"""Commands of operators to the running service: mailboxes parked and enabled, sites paused and resumed."""

import json
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.company import Company, eventually

SWEEPING = {"CALSYNC_SWEEP_INTERVAL_SECONDS": "2"}


@pytest.fixture
async def running(company: Company) -> Company:
    """A service whose calendars equal the schedule."""
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.start(**SWEEPING)
    await company.equal()
    return company


def edit_every_job(company: Company, site_id: str) -> None:
    jobs = [job for job in company.schedule.jobs.values() if job.site_id == site_id]
    company.publish(
        change for job in jobs for change in company.schedule.change_job(job.job_id, notes="Bring a ladder.")
    )


async def test_a_paused_site_is_left_alone_and_processed_when_it_is_resumed(running: Company) -> None:
    service = running.services[0]
    paused = await running.command("site", "pause", "site-1")
    assert paused.returncode == 0, paused.stderr

    async def noticed() -> bool:
        return "site paused by hand" in service.process.log.read_text()

    await eventually(noticed, "the service has noticed")
    before = {address: events for address, events in (await running.graph.events()).items() if "site-1" in str(events)}
    assert before
    edit_every_job(running, "site-1")
    edit_every_job(running, "site-2")
    await running.give_core_the_schedule()
    await running.consumed()

    async def others_are_served() -> bool:
        wrong = await running.differences()
        return bool(wrong) and all("site-1" in found for found in wrong)

    await eventually(others_are_served, "the other site is served")
    after = await running.graph.events()
    assert {address: after[address] for address in before} == before
    assert await running.metric(service, 'calsync_site_up{site="site-1"}') == 1
    [first, second] = json.loads((await running.command("site", "list", "--json")).stdout)["sites"]
    assert first["paused_since"]
    assert first["dirty"] > 0
    assert second["paused_since"] is None
    assert "paused since" in (await running.command("site", "list")).stdout
    swept = await running.sweep()
    assert swept.status == 1
    assert "paused by hand" in swept.sites["site-1"]["failure"]
    assert (await running.command("site", "resume", "site-1")).returncode == 0
    await running.equal()
    await running.judge()
    again = await running.command("site", "resume", "site-1")
    assert again.returncode == 2
    assert "not paused" in again.stderr


async def test_a_mailbox_that_is_parked_by_hand_is_left_alone_until_it_is_enabled(running: Company) -> None:
    address, event = (await running.ours())[0]
    site_id = event["tag"].partition("/")[0]
    ambiguous = await running.command("mailbox", "park", address)
    assert ambiguous.returncode == 2
    assert "--site" in ambiguous.stderr
    parked = await running.command("mailbox", "park", f" {address.upper()}", "--site", site_id, "--reason", "on leave")
    assert parked.returncode == 0, parked.stderr
    before = (await running.graph.events())[address]
    edit_every_job(running, site_id)
    await running.give_core_the_schedule()
    await running.consumed()

    async def others_are_served() -> bool:
        wrong = await running.differences()
        return bool(wrong) and all(address in found for found in wrong)

    await eventually(others_are_served, "the other mailboxes are served")
    assert (await running.graph.events())[address] == before
    [listed] = json.loads((await running.command("mailbox", "list", "--json")).stdout)["parked"]
    assert (listed["site"], listed["mailbox"], listed["note"]) == (site_id, address, "on leave")
    assert not listed["hourly"]
    assert "on leave" in (await running.command("mailbox", "list")).stdout
    enabled = await running.command("mailbox", "enable", address)
    assert enabled.returncode == 0, enabled.stderr
    assert await running.differences() == []
    again = await running.command("mailbox", "enable", address)
    assert again.returncode == 2
    assert "not parked" in again.stderr


async def test_an_emptied_redis_is_reported_because_pauses_and_parks_are_lost(running: Company) -> None:
    service = running.services[0]
    redis = Redis.from_url(running.stack.redis_url)
    for key in [key async for key in redis.scan_iter(f"{running.stack.group}:*")]:
        await redis.delete(key)
    await redis.aclose()

    async def reported() -> bool:
        return "Redis was emptied" in service.process.log.read_text()

    await eventually(reported, "the loss is reported")
    await running.equal()
    await running.judge()


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (("site", "pause", "nobody"), "nobody: CALSYNC_SITES_FILE does not name it"),
        (("mailbox", "park", " ", "--site", "site-1"), "blank"),
        (("mailbox", "park", "ann", "--site", "site-1"), "ann: no mailbox's address"),
        (("mailbox", "list", "--site", "nobody"), "nobody: CALSYNC_SITES_FILE does not name it"),
    ],
)
async def test_unknown_names_are_reported_with_exit_code_2(
    company: Company, arguments: tuple[str, ...], reported: str
) -> None:
    done = await company.command(*arguments)
    assert done.returncode == 2
    assert reported in done.stderr


async def test_all_problems_in_the_configuration_files_are_reported_at_once(company: Company, tmp_path: Path) -> None:
    sites, properties = tmp_path / "wrong.toml", tmp_path / "wrong.properties"
    sites.write_text('[[site]]\nid = "acme"\n')
    properties.write_text("security.protocol\n")
    done = await company.command("run", CALSYNC_SITES_FILE=str(sites), CALSYNC_KAFKA_CONFIG_FILE=str(properties))
    assert done.returncode == 2
    assert "CALSYNC_SITES_FILE: " in done.stderr
    assert "CALSYNC_KAFKA_CONFIG_FILE: " in done.stderr


async def test_an_unreachable_redis_is_reported_with_its_settings_name(company: Company) -> None:
    company.stack.redis_url = "redis://127.0.0.1:1/0"
    done = await company.command("site", "list")
    assert done.returncode == 1
    assert "CALSYNC_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr
