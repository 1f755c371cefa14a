"""Changes on the topic, through the real service, into the sandbox's calendars."""

import asyncio
import json
import os
import signal
from dataclasses import replace
from datetime import timedelta

from sandbox.control import Mailbox, Secret
from sandbox.core.feed import Encoder, Record, apicurio, confluent
from sandbox.core.generate import random_change
from sandbox.core.rows import Change, Job, Worker
from sandbox.stack import SECRET
from tests import foreign_producer
from tests.company import ROLES, Company, eventually, now


async def test_a_schedule_and_its_changes_reach_the_calendars(company: Company) -> None:
    company.publish(company.generate(workers=10, jobs=5))
    await company.open_mailboxes()
    service = await company.start()
    await company.consumed()
    await company.judge()
    changes = [
        change
        for _ in range(200)
        for change in random_change(company.schedule, company.random, start=now() + timedelta(days=1), days=19)
    ]
    await company.open_mailboxes(changes)
    company.publish(changes)
    await company.consumed()
    await company.judge()
    assert "mailbox parked" not in service.process.log.read_text()
    assert await company.metric(service, 'calsync_events_total{result="applied"}') > 50
    assert await company.metric(service, "calsync_event_latency_seconds_count") > 50
    assert await company.metric(service, 'calsync_site_up{site="site-1"}') == 1


async def test_the_same_records_again_and_shuffled_between_jobs_change_nothing(company: Company) -> None:
    changes = company.generate(workers=4, jobs=4)
    for _ in range(60):
        changes += random_change(company.schedule, company.random, start=now() + timedelta(days=1), days=19)
    await company.open_mailboxes(changes)
    by_job: dict[str | None, list[Change]] = {}
    for change in changes:
        by_job.setdefault(change.job_id, []).append(change)
    shuffled = []
    queues = [list(queue) for queue in by_job.values()]
    while queues:
        queue = company.random.choice(queues)
        shuffled.append(queue.pop(0))
        queues = [queue for queue in queues if queue]
    company.publish(shuffled)
    await company.start()
    await company.consumed()
    await company.judge()
    written = (await company.graph.events(),)
    company.publish([change for change in shuffled if change.op != "d"])
    await company.consumed()
    await company.judge()
    assert (await company.graph.events(),) == written


async def test_an_older_revision_after_a_newer_one_changes_nothing(company: Company) -> None:
    company.generate(workers=1, jobs=0)
    worker = next(iter(company.schedule.workers.values()))
    company.schedule.put_worker(Worker(worker.worker_id, worker.site_id, "anna@site-1.example"))
    await company.open_mailboxes()
    start = now() + timedelta(days=2)
    job = Job(
        job_id="J-old", site_id=worker.site_id, subject="first", starts_at=start, ends_at=start + timedelta(hours=1)
    )
    first = company.schedule.add_job(job, [worker.worker_id])
    second = company.schedule.change_job("J-old", subject="second")
    company.publish([*second, *first])
    service = await company.start()
    await company.consumed()
    await company.judge()
    assert await company.metric(service, 'calsync_events_total{result="stale"}') == 1


async def test_bad_records_are_dead_lettered_whole_and_later_records_are_processed(company: Company) -> None:
    good = company.generate(workers=2, jobs=2)
    await company.open_mailboxes()
    worker = next(iter(company.schedule.workers.values()))
    start = now() + timedelta(days=2)
    backwards = Job(job_id="J-back", site_id=worker.site_id, starts_at=start, ends_at=start - timedelta(hours=1))
    foreign = Job(job_id="J-foreign", site_id="nobody", starts_at=start, ends_at=start + timedelta(hours=1))
    bad = [
        Record(b"J-bytes", b"\xff no Avro at all", (("trace", b"42"),)),
        Record(b"J-registry", confluent(7) + b"x"),
        Record(b"J-apicurio", apicurio(1) + b"x"),
        *Encoder().records(_lone(backwards)),
        *Encoder().records(_lone(foreign)),
    ]
    company.publish_raw(*bad)
    company.publish(good)
    service = await company.start()
    await company.consumed()
    await company.judge()
    letters = {letter.key(): letter for letter in await asyncio.to_thread(company.dead_letters)}
    assert set(letters) == {b"J-bytes", b"J-registry", b"J-apicurio", b"J-back"}
    assert letters[b"J-bytes"].value() == bad[0].value
    headers = dict(letters[b"J-bytes"].headers())
    assert headers["trace"] == b"42"
    assert headers["calsync.topic"] == company.stack.topic.encode()
    assert headers["calsync.attempts"] == b"1"
    assert headers["calsync.partition"].isdigit()
    assert headers["calsync.offset"].isdigit()
    assert b"first bytes" in headers["calsync.reason"]
    assert b"CALSYNC_SCHEMA_REGISTRY_URL" in dict(letters[b"J-registry"].headers())["calsync.reason"]
    assert b"Apicurio" in dict(letters[b"J-apicurio"].headers())["calsync.reason"]
    assert b"ends_at is before starts_at" in dict(letters[b"J-back"].headers())["calsync.reason"]
    assert await company.metric(service, 'calsync_dead_letters_total{reason="undecodable"}') == 3
    assert await company.metric(service, 'calsync_dead_letters_total{reason="invalid"}') == 1
    assert await company.metric(service, 'calsync_events_total{result="skipped"}') >= 1
    assert "nobody" in service.process.log.read_text()


async def test_a_header_whose_name_is_not_utf_8_fails_neither_its_record_nor_the_service(company: Company) -> None:
    good = company.generate(workers=2, jobs=2)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    bad = Record(b"J-bytes", b"\xff no Avro at all")
    for record in [*(each for change in good for each in company.encoder.records(change)), bad]:
        assert record.key is not None
        assert record.value is not None
        await asyncio.to_thread(
            foreign_producer.send,
            company.stack.bootstrap_servers,
            company.stack.topic,
            record.key,
            record.value,
            [(b"trace", b"42"), (b"\xff\xfe", b"x")],
        )
    await company.start()
    await company.consumed()
    await company.judge()
    [letter] = await asyncio.to_thread(company.dead_letters)
    assert (letter.key(), letter.value()) == (bad.key, bad.value)
    about = dict(letter.headers())
    assert about["calsync.headers_unreadable"] == b"a name is not UTF-8"
    assert "trace" not in about
    checked = json.loads((await company.command("check-feed", "--json")).stdout)
    assert "headers that cannot be read: a name is not UTF-8" in {fault["fault"] for fault in checked["faults"]}
    await asyncio.to_thread(
        foreign_producer.send,
        company.stack.bootstrap_servers,
        f"{company.stack.topic}.dlq",
        b"J-foreign",
        b"\xff not a dead letter of the service",
        [(b"\xff\xfe", b"x")],
    )
    listed = json.loads((await company.command("dead-letters", "list", "--json")).stdout)["letters"]
    assert len(listed) == 2
    assert json.loads((await company.command("dead-letters", "replay", "--json")).stdout)["records"] == 2


async def test_a_changed_calendar_email_moves_the_events_and_an_unlicensed_mailbox_affects_no_other(
    company: Company,
) -> None:
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    await company.start()
    await company.consumed()
    worker = next(worker for worker in company.schedule.workers.values() if worker.calendar_email)
    site = next(site for site in company.sites if site.site_id == worker.site_id)
    await company.graph.add_mailboxes(site.tenant_id, [Mailbox("new@site.example"), Mailbox("sick@site.example")])
    company.publish(company.schedule.change_calendar_email(worker.worker_id, "New@Site.example "))
    await company.consumed()
    await company.judge()
    await company.graph.set_mailbox(site.tenant_id, "sick@site.example", state="no-licence")
    company.parked.add("sick@site.example")
    company.publish(company.schedule.change_calendar_email(worker.worker_id, "sick@site.example"))
    await company.consumed()
    await company.judge()


async def test_an_expired_secret_suspends_only_its_site_until_the_sites_file_has_a_new_one(
    company: Company,
) -> None:
    first, second = company.sites
    await company.graph.add_app(first.tenant_id, first.client_id, [])
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    service = await company.start()
    await company.consumed()
    assert await company.metric(service, 'calsync_site_up{site="site-1"}') == 0
    assert await company.metric(service, 'calsync_site_up{site="site-2"}') == 1
    assert "AADSTS7000215" in service.process.log.read_text()
    wrong = await company.differences()
    assert wrong
    assert not any("site-2" in line for line in wrong)

    await company.graph.add_app(first.tenant_id, first.client_id, [Secret("renewed")])
    company.stack.write_sites([replace(first, client_secret="renewed"), second])

    async def up() -> bool:
        return await company.metric(service, 'calsync_site_up{site="site-1"}') == 1

    await eventually(up, "the site is served again")


async def test_a_clean_stop_commits_and_ends_with_status_0(company: Company) -> None:
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    service = await company.start()
    await company.consumed()
    process = service.process
    pid = process.pid
    os.kill(pid, signal.SIGTERM)

    async def ended() -> bool:
        return not process.running

    await eventually(ended, "the service has ended")
    log = process.log.read_text()
    assert '"event":"stopped"' in log
    assert "critical" not in log


def _lone(job: Job) -> Change:
    """A change of a job that the schedule itself would refuse."""
    return Change("c", job.job_id, job, now(), (None, 1), 1, 1)


async def test_a_changed_app_enables_the_mailboxes_of_its_site_and_sweeps_it(company: Company) -> None:
    first = company.sites[0]
    company.publish(company.generate(workers=2, jobs=2))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    # Only one of the two mailboxes: if all mailboxes had no licence, the site would be suspended and no mailbox parked.
    [sick, *_] = await company.graph.events(tenant=first.tenant_id)
    await company.graph.set_mailbox(first.tenant_id, sick, state="no-licence")
    service = await company.start()
    await company.consumed()
    parked = 'calsync_mailboxes_parked{reason="MailboxNotEnabledForRESTAPI",site="site-1"}'

    async def seen() -> bool:
        return await company.metric(service, parked) > 0

    await eventually(seen, "the mailbox is parked")
    await company.graph.set_mailbox(first.tenant_id, sick, state="ok")
    await company.graph.add_app(first.tenant_id, "another-app", [Secret(SECRET)], ROLES)
    toml = company.stack.sites_file.read_text().replace(f'"{first.client_id}"', '"another-app"')
    company.stack.sites_file.write_text(toml)

    async def equal() -> bool:
        return await company.differences() == []

    await eventually(equal, "the site is swept with its new app")
    await company.judge()
