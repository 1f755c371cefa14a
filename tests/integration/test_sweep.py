"""The sweep through the real service: one sweep repairs missed changes and edits."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from sandbox.control import Secret
from sandbox.core.generate import random_change
from tests.company import Company, eventually, now

SWEEPING = {"CALSYNC_SWEEP_INTERVAL_SECONDS": "1"}


async def test_changes_that_were_never_sent_are_repaired(company: Company) -> None:
    changes = company.generate(workers=5, jobs=4)
    company.publish(changes)
    await company.open_mailboxes()
    for _ in range(60):
        changes += random_change(company.schedule, company.random, start=now() + timedelta(days=1), days=19)
    await company.open_mailboxes(changes)
    await company.give_core_the_schedule()
    await company.start(**SWEEPING)
    await company.consumed()
    await company.equal()
    await company.judge()


async def test_edits_of_our_events_are_repaired_and_foreign_events_are_left(company: Company) -> None:
    company.publish(company.generate(workers=3, jobs=4))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start(**SWEEPING)
    await company.consumed()
    await company.equal()
    address, event = (await company.ours())[0]
    theirs = await company.graph.user_create(
        address,
        {
            "subject": "Core Job — my own",
            "start": {"dateTime": "2027-01-01T09:00:00", "timeZone": "UTC"},
            "end": {"dateTime": "2027-01-01T10:00:00", "timeZone": "UTC"},
        },
    )
    soon = (now() + timedelta(days=2)).replace(tzinfo=None).isoformat(timespec="seconds")
    later = (now() + timedelta(days=2, hours=1)).replace(tzinfo=None).isoformat(timespec="seconds")
    near = await company.graph.user_create(
        address,
        {
            "subject": "Core Job — dentist",
            "start": {"dateTime": soon, "timeZone": "UTC"},
            "end": {"dateTime": later, "timeZone": "UTC"},
        },
    )
    acts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: company.graph.user_edit(address, {"subject": "Mine now"}, tag=event["tag"]),
        lambda: company.graph.user_edit(address, {"body": {"contentType": "html", "content": "?"}}, tag=event["tag"]),
        lambda: company.graph.user_delete(address, tag=event["tag"]),
        lambda: company.graph.user_move(address, "Other", tag=event["tag"]),
        lambda: company.graph.user_make_all_day(address, tag=event["tag"]),
        lambda: company.graph.user_make_series(address, tag=event["tag"]),
    )
    for act in acts:
        await act()
        await company.equal()
    await company.graph.user_copy(address, tag=event["tag"])
    await company.equal()
    dump = {found["id"]: found for found in (await company.graph.events())[address]}
    assert dump[theirs["id"]] == theirs
    assert dump[near["id"]] == near
    assert await company.metric(service, 'calsync_sweep_last_success_timestamp_seconds{site="site-1"}') > 0


async def test_a_second_sweep_writes_nothing_although_etags_change_by_themselves(company: Company) -> None:
    await company.graph.set_switches(background_bumps=2, background_bump_delay_ms=50.0)
    company.publish(company.generate(workers=4, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start(**SWEEPING)
    await company.consumed()
    await company.equal()

    async def another(after: float) -> None:
        async def done() -> bool:
            return await company.sweeps(service, "site-1") > after

        await eventually(done, "another sweep has ended")

    await another(await company.sweeps(service, "site-1") + 1)
    await company.graph.reset_stats()
    await another(await company.sweeps(service, "site-1") + 1)
    assert await company.writes() == 0


async def test_work_handed_over_while_a_site_was_suspended_is_done_when_it_is_back(company: Company) -> None:
    first, second = company.sites
    await company.graph.add_app(first.tenant_id, first.client_id, [])
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.start()
    await company.consumed()
    assert await company.differences()
    await company.graph.add_app(first.tenant_id, first.client_id, [Secret("renewed")])
    company.stack.write_sites([replace(first, client_secret="renewed"), second])
    await company.equal()
    await company.judge()


async def test_a_failed_read_of_core_deletes_nothing(company: Company) -> None:
    company.publish(company.generate(workers=4, jobs=3))
    await company.open_mailboxes()
    service = await company.start(**SWEEPING)  # Core's API knows none of these sites
    await company.consumed()
    before = await company.graph.events()
    assert await company.ours()

    async def reported() -> bool:
        return "sweep failed" in service.process.log.read_text()

    await eventually(reported, "the failed sweep is reported")
    assert await company.graph.events() == before


async def test_the_command_sweeps_once_and_prints_its_result(company: Company) -> None:
    company.generate(workers=4, jobs=3)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    done = await company.sweep()
    assert done.status == 0, done.errors
    await company.judge()
    assert done.sites["site-1"]["whole"]
    assert set(done.repairs("site-2")) <= {"missed", "entered"}
    assert done.repairs("site-2")
    again = await company.command("sweep", "--site", "site-1")
    assert again.returncode == 0
    assert "site-1" in again.stdout
    assert "site-2" not in again.stdout


async def test_vanished_jobs_are_kept_with_exit_code_1_until_the_deletion_is_allowed(company: Company) -> None:
    company.generate(workers=6, jobs=12)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.sweep()
    before = await company.graph.events()
    workers = dict(company.schedule.workers)
    company.schedule.restore(company.schedule.sites.values(), workers.values(), [], 10_000)
    await company.give_core_the_schedule()
    held = await company.sweep()
    assert held.status == 1
    assert held.sites.keys() == {"site-1", "site-2"}
    assert all(site["held"] > 20 for site in held.sites.values())
    assert await company.graph.events() == before
    gone = await company.sweep("--allow-mass-delete")
    assert gone.status == 0
    await company.judge()


async def test_a_suspended_or_unknown_site_is_reported_by_the_exit_code(company: Company) -> None:
    company.generate(workers=2, jobs=2)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.graph.add_app(company.sites[0].tenant_id, company.sites[0].client_id, [])
    done = await company.sweep()
    assert done.status == 1
    assert "AADSTS7000215" in done.sites["site-1"]["failure"]
    unknown = await company.command("sweep", "--site", "nobody")
    assert unknown.returncode == 2
    assert "site nobody: " in unknown.stderr
