"""The options of ``calsync sweep`` on real processes."""

import asyncio
import json
import os
import pty
from contextlib import suppress
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from tests.company import Company


@pytest.fixture
async def staffed(company: Company) -> Company:
    """Workers with jobs that Core's API knows, and empty calendars."""
    company.generate(workers=4, jobs=5)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    return company


async def remembered(company: Company) -> dict[bytes, bytes | None]:
    """All that Redis holds, as it is stored."""
    redis = Redis.from_url(company.stack.redis_url)
    try:
        return {key: await redis.dump(key) async for key in redis.scan_iter(f"{company.stack.group}:*")}
    finally:
        await redis.aclose()


async def test_a_dry_run_prints_each_change_with_its_cause_and_writes_nothing(staffed: Company) -> None:
    assert (await staffed.sweep()).status == 0
    address, event = (await staffed.ours())[0]
    await staffed.graph.user_edit(address, {"subject": "Mine now"}, tag=event["tag"])
    other, gone = (await staffed.ours())[-1]
    await staffed.graph.user_delete(other, tag=gone["tag"])
    outlook, redis = await staffed.graph.events(), await remembered(staffed)
    await staffed.graph.reset_stats()
    printed = await staffed.command("sweep", "--dry-run")
    assert printed.returncode == 0, printed.stderr
    job, missing = (found["tag"].partition("/") for found in (event, gone))
    assert f"{job[0]}  {address}  job {job[2]}: update (edited)" in printed.stdout
    assert f"{missing[0]}  {other}  job {missing[2]}: remake (deleted)" in printed.stdout
    assert await staffed.writes() == 0
    assert (await staffed.graph.events(), await remembered(staffed)) == (outlook, redis)
    document = json.loads((await staffed.command("sweep", "--dry-run", "--json")).stdout)
    assert document["dry_run"]
    changes = [change for site in document["sites"] for change in site["changes"]]
    assert {"mailbox": address, "job": job[2], "step": "update", "cause": "edited"} in changes
    assert len(changes) == 2
    assert (await staffed.sweep()).status == 0
    await staffed.judge()


async def test_a_dry_run_without_any_events_names_every_event_to_create(staffed: Company) -> None:
    printed = json.loads((await staffed.command("sweep", "--dry-run", "--json")).stdout)
    assert await staffed.ours() == []
    await staffed.sweep()
    made = sorted((address, event["tag"].partition("/")[2]) for address, event in await staffed.ours())
    changes = [change for site in printed["sites"] for change in site["changes"]]
    assert sorted((change["mailbox"], change["job"]) for change in changes) == made
    assert {change["step"] for change in changes} == {"create"}


async def test_one_mailbox_is_swept_alone_and_its_time_zone_read_again(staffed: Company) -> None:
    assert (await staffed.sweep()).status == 0
    (address, event), (other, theirs) = (await staffed.ours())[0], (await staffed.ours())[-1]
    for mailbox, found in ((address, event), (other, theirs)):
        await staffed.graph.user_edit(mailbox, {"subject": "Mine now"}, tag=found["tag"])
    tenant = next(site.tenant_id for site in staffed.sites if site.site_id == event["tag"].partition("/")[0])
    await staffed.graph.set_mailbox(tenant, address, time_zone="Tokyo Standard Time")
    done = await staffed.sweep("--mailbox", f" {address.upper()} ")
    assert done.status == 0, done.errors
    [site] = done.sites.values()
    assert site["mailboxes"] == 1
    ours = [found for mailbox, found in await staffed.ours() if mailbox == address]
    assert {found["start_zone"] for found in ours} == {"Tokyo Standard Time"}
    assert "Mine now" not in [found["subject"] for found in ours]
    assert "Mine now" in [found["subject"] for mailbox, found in await staffed.ours() if mailbox == other]


async def test_a_mailbox_without_jobs_or_links_is_cleared_when_its_site_is_given(staffed: Company) -> None:
    assert (await staffed.sweep()).status == 0
    address, event = (await staffed.ours())[0]
    site_id = event["tag"].partition("/")[0]
    for worker in [found for found in staffed.schedule.workers.values() if found.calendar_email]:
        assert worker.calendar_email
        if worker.calendar_email.strip().lower() == address:
            staffed.schedule.put_worker(replace(worker, calendar_email=None))
    await staffed.give_core_the_schedule()
    redis = Redis.from_url(staffed.stack.redis_url)
    for key in [key async for key in redis.scan_iter(f"{staffed.stack.group}:*")]:
        await redis.delete(key)
    await redis.aclose()
    unknown = await staffed.command("sweep", "--mailbox", address)
    assert unknown.returncode == 2
    assert "--site" in unknown.stderr
    done = await staffed.sweep("--site", site_id, "--mailbox", address)
    assert done.status == 0, done.errors
    assert done.repairs(site_id)["orphaned"] > 0
    assert address not in {mailbox for mailbox, _ in await staffed.ours()}


async def test_progress_is_shown_only_on_a_terminal(staffed: Company) -> None:
    ours, theirs = pty.openpty()
    process = staffed.stack.service().process
    sweep = await asyncio.create_subprocess_exec(
        *process.command[:1],
        "sweep",
        "--json",
        env={**os.environ, **process.environment, "TERM": "xterm", "COLUMNS": "100"},
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)

    def drawn() -> str:
        text = b""
        with suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 4096):
                text += piece
        return text.decode()

    screen, (output, _) = await asyncio.gather(asyncio.to_thread(drawn), sweep.communicate())
    os.close(ours)
    assert sweep.returncode == 0
    assert "sweeping" in screen
    assert "2/2" in screen
    assert json.loads(output)["sites"]
    assert "2/2" not in (await staffed.command("sweep")).stderr
