"""The sweep against a real Kafka and a real Redis: one sweep repairs missing records and people's edits.

Tests withhold change events by not publishing them: Core's schedule, and so its API, has changes that the topic lacks.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sandbox.core.generate import random_change
from sandbox.core.rows import Change, Job, Worker
from sandbox.servers.kafka import Kafka
from sandbox.stack import Service
from tests.company import Company, eventually, found_company, now

SITE, OTHER = "site-1", "site-2"
STAFF = ("anna", "ben", "cleo", "dora")
ONCE = {"CALSYNC_SWEEP_INTERVAL_SECONDS": "3600"}
"""Each site is swept when the service starts, and not again."""
BURST = 2_000
ROUNDS = 8

TO_BE_CHANGED_IN_CORE = (
    *("retitled", "rescheduled", "postponed", "reassigned", "joined", "cancelled", "unscheduled"),
    *("deleted-1", "deleted-2"),
)
TO_BE_MEDDLED_WITH = (
    *("subject", "time", "place", "body", "flags", "categories", "gone", "month", "calendar", "all-day", "series"),
    *("copied", "swapped"),
)


@pytest.fixture
async def company(tmp_path: Path, kafka: Kafka, redis_url: str) -> AsyncIterator[Company]:
    """A company of two sites on the real servers."""
    name = f"sweep-{uuid4().hex[:8]}"
    kafka.create_topic(name, partitions=12)
    kafka.create_topic(f"{name}.dlq", partitions=1)
    async with found_company(
        tmp_path, kafka.bootstrap_servers, redis_url, name=name, site_ids=(SITE, OTHER)
    ) as founded:
        yield founded


def a_day(days: float) -> datetime:
    """The full hour this many days from now."""
    return (now() + timedelta(days=days)).replace(minute=0, second=0, microsecond=0)


def new_job(job_id: str, start: datetime, site_id: str = SITE) -> Job:
    return Job(
        job_id=job_id,
        site_id=site_id,
        subject="Annual inspection",
        client_name="Northwind",
        site_name="Plant 4",
        contact_name="Sam Müller",
        address="1 High Street\nLeeds\nLS1 4AB",
        notes='Ring <twice> & ask for "Sam".\nHard hat.',
        starts_at=start,
        ends_at=start + timedelta(hours=2),
    )


async def settle(company: Company, **environment: str) -> Service:
    """Workers with jobs, all on the topic and in the calendars, and a service that does not sweep again."""
    schedule = company.schedule
    changes = company.generate(workers=6, jobs=5)
    for name in STAFF:
        changes += schedule.put_worker(Worker(name, SITE, f"{name}@{SITE}.example"))
    for number, job_id in enumerate((*TO_BE_CHANGED_IN_CORE, *TO_BE_MEDDLED_WITH)):
        changes += schedule.add_job(new_job(job_id, a_day(1 + number / 2)), ["anna"])
    changes += schedule.add_job(new_job("beyond", a_day(40)), ["anna"])
    changes += schedule.add_job(new_job("revived", a_day(9)), ["ben"])
    changes += schedule.cancel("revived")
    changes += schedule.add_job(new_job("cleo-1", a_day(3)), ["cleo"])
    changes += schedule.add_job(new_job("cleo-2", a_day(4)), ["cleo"])
    changes += schedule.add_job(new_job("dora-1", a_day(5)), ["dora"])
    await company.open_mailboxes(changes)
    await company.give_core_the_schedule()
    company.publish(changes)
    service = await company.start(**(ONCE | environment))
    await company.consumed()
    await swept(service)
    await company.judge()
    return service


async def swept(*services: Service, times: int = 1) -> None:
    """Waits until the replicas together have swept each site this many times."""

    async def both() -> bool:
        return min(sum(len(sweeps_logged(service, site)) for service in services) for site in (SITE, OTHER)) >= times

    await eventually(both, f"both sites are swept {times} times", 60)


def sweeps_logged(service: Service, site: str) -> list[datetime]:
    """When each sweep of the site began, by the replica's log."""
    lines = [json.loads(line) for line in service.process.log.read_text().splitlines() if line.startswith("{")]
    ended = [line for line in lines if line["event"] == "site swept" and line["site"] == site]
    return [datetime.fromisoformat(line["timestamp"]) - timedelta(seconds=line["seconds"]) for line in ended]


async def change_in_core(company: Company) -> Counter[str]:
    """Changes Core without a record on the topic; returns the repairs that this requires."""
    schedule, asked = company.schedule, Counter[str]()
    schedule.add_job(new_job("created", a_day(6)), ["anna"])
    schedule.reschedule("beyond", a_day(7), a_day(7) + timedelta(hours=1))
    schedule.assign("joined", "ben")
    schedule.change_job("revived", status="scheduled")
    asked["missed"] = 4
    schedule.add_job(new_job("late", now() + timedelta(days=21, minutes=-15)), ["anna"])
    asked["entered"] = 1
    schedule.change_job("retitled", client_name="Fabrikam", notes=None, address="2 Mill Lane")
    schedule.reschedule("rescheduled", a_day(2), a_day(2) + timedelta(hours=5))
    asked["edited"] = 2
    schedule.reschedule("postponed", a_day(50), a_day(50) + timedelta(hours=1))
    schedule.cancel("cancelled")
    schedule.reschedule("unscheduled", None, None)
    schedule.delete("deleted-1")
    schedule.delete("deleted-2")
    schedule.change_calendar_email("cleo", None)
    asked["orphaned"] = 7
    schedule.reassign("reassigned", "anna", "ben")
    changes = schedule.change_calendar_email("dora", "Dora.Second@site-1.example ")
    asked.update({"missed": 2, "orphaned": 2})
    await company.open_mailboxes(changes)
    await company.give_core_the_schedule()
    return asked


async def meddle(company: Company, *, masters_seen: bool = False) -> Counter[str]:
    """Edits our events in every way that Outlook allows; returns the repairs that this requires."""
    graph, address = company.graph, f"anna@{SITE}.example"
    tags = {job_id: f"{SITE}/{job_id}" for job_id in TO_BE_MEDDLED_WITH}
    await graph.user_edit(address, {"subject": "Mine now"}, tag=tags["subject"])
    await graph.user_edit(address, _times(a_day(12)), tag=tags["time"])
    await graph.user_edit(address, {"location": {"displayName": "At home"}}, tag=tags["place"])
    await graph.user_edit(address, {"body": {"contentType": "html", "content": "<p>?</p>"}}, tag=tags["body"])
    flags = {"showAs": "free", "isReminderOn": False, "sensitivity": "private", "importance": "high"}
    await graph.user_edit(address, flags, tag=tags["flags"])
    await graph.user_make_all_day(address, tag=tags["all-day"])
    # The copy has the tag but not the linked id. It becomes the job's event.
    await graph.user_copy(address, tag=tags["swapped"])
    await graph.user_delete(address, tag=tags["swapped"])
    await graph.user_delete(address, tag=tags["gone"])
    await graph.user_edit(address, _times(a_day(70)), tag=tags["month"])
    await graph.user_move(address, "Private", tag=tags["calendar"])
    await graph.user_make_series(address, tag=tags["series"])
    await graph.user_copy(address, tag=tags["copied"])
    await graph.user_edit(address, {"categories": ["Red category"]}, tag=tags["categories"])
    asked = Counter({"edited": 7, "deleted": 3, "copied": 1})
    asked["edited" if masters_seen else "deleted"] += 1
    return asked


async def bring_their_own(company: Company) -> list[dict[str, Any]]:
    """Creates events that look like the service's and are not."""
    address = f"anna@{SITE}.example"
    like_ours = {"subject": "Core Job — Northwind (Plant 4)", "location": {"displayName": "1 High Street, Leeds"}}
    tag = "String {7d0c3f5e-52a4-4c1b-9d55-0b1f5c2e9a60} Name CoreJob"
    another_name = "String {7d0c3f5e-52a4-4c1b-9d55-0b1f5c2e9a60} Name CoreJobNote"
    their_own = [
        like_ours | _times(a_day(2)),
        like_ours | _times(a_day(300)),
        {"subject": "Dentist"} | _times(a_day(2)),
        like_ours | _times(a_day(4)) | {"singleValueExtendedProperties": [{"id": tag, "value": f"{SITE}0/subject"}]},
        like_ours | _times(a_day(4)) | {"singleValueExtendedProperties": [{"id": another_name, "value": "x"}]},
    ]
    made = [await company.graph.user_create(address, event) for event in their_own]
    made.append(await company.graph.user_make_series(address, event_id=made[2]["id"]))
    return [event for event in await events(company, address) if event["id"] in {event["id"] for event in made}]


def _times(start: datetime) -> dict[str, Any]:
    ends = {"start": start, "end": start + timedelta(hours=1)}
    return {name: {"dateTime": end.replace(tzinfo=None).isoformat(), "timeZone": "UTC"} for name, end in ends.items()}


async def events(company: Company, address: str) -> list[dict[str, Any]]:
    return (await company.graph.events(address))[address]


async def the_next_sweep_writes_nothing(company: Company) -> None:
    await company.graph.reset_stats()
    done = await company.sweep()
    assert done.status == 0, done.errors
    assert {site: done.repairs(site) for site in done.sites} == {SITE: {}, OTHER: {}}
    assert await company.writes() == 0
    views = (await company.graph.stats())["requests"]["view"]
    assert views == {"200": sum(site["mailboxes"] for site in done.sites.values())}
    await company.judge()


async def test_changes_missing_from_the_topic_are_repaired_by_one_sweep(company: Company) -> None:
    await settle(company)
    asked = await change_in_core(company)
    done = await company.sweep()
    assert done.status == 0, done.errors
    assert done.repairs(SITE) == asked
    assert done.repairs(OTHER) == {}
    await company.judge()
    await the_next_sweep_writes_nothing(company)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"occurrences_carry_tag": True, "deleted_items_by_id": True, "page_overlap": True, "echo_body": "always"},
    ],
    ids=["as Graph is documented", "as Graph may be"],
)
async def test_edits_of_our_events_are_repaired_by_one_sweep_and_foreign_events_stay(
    company: Company, switches: dict[str, Any]
) -> None:
    await company.graph.set_switches(**switches)
    await settle(company)
    theirs = await bring_their_own(company)
    asked = await meddle(company, masters_seen="occurrences_carry_tag" in switches)
    done = await company.sweep()
    assert done.status == 0, done.errors
    assert done.repairs(SITE) == asked
    await company.judge()
    held = {event["id"]: event for event in await events(company, f"anna@{SITE}.example")}
    assert [held.get(event["id"]) for event in theirs] == theirs
    [kept] = [event for event in held.values() if event["tag"] == f"{SITE}/categories"]
    assert kept["categories"] == ["Red category"]
    await the_next_sweep_writes_nothing(company)


async def test_an_etag_that_changed_by_itself_never_causes_a_write(company: Company) -> None:
    await company.graph.set_switches(background_bumps=3, background_bump_delay_ms=200.0)
    await settle(company)
    await meddle(company)
    assert (await company.sweep()).status == 0
    for _ in range(3):
        await company.move_etags()
        await company.graph.reset_stats()
        done = await company.sweep()
        assert (done.status, done.repairs(SITE), done.repairs(OTHER)) == (0, {}, {})
        assert await company.writes() == 0
    await the_next_sweep_writes_nothing(company)


async def test_the_running_service_repairs_everything_by_its_own_sweep(company: Company) -> None:
    service = await settle(company, CALSYNC_SWEEP_INTERVAL_SECONDS="1")
    await asyncio.to_thread(service.process.stop)
    theirs = await bring_their_own(company)
    asked = await change_in_core(company) + await meddle(company)
    again = await company.start("again", **ONCE)
    await swept(again)
    await company.judge()
    for cause, count in asked.items():
        sample = f'calsync_sweep_repairs_total{{cause="{cause}",site="{SITE}"}}'
        assert await company.metric(again, sample) == count, cause
    held = {event["id"]: event for event in await events(company, f"anna@{SITE}.example")}
    assert [held.get(event["id"]) for event in theirs] == theirs
    await the_next_sweep_writes_nothing(company)


@pytest.mark.parametrize(("old", "new"), [(SITE, OTHER), (OTHER, SITE)])
async def test_a_job_that_changed_its_site_without_a_record_is_moved_by_one_sweep(
    company: Company, old: str, new: str
) -> None:
    await settle(company)
    schedule = company.schedule
    for site in (SITE, OTHER):
        schedule.put_worker(Worker(f"mover-{site}", site, f"mover@{site}.example"))
    await company.open_mailboxes()
    company.publish(schedule.add_job(new_job("mover", a_day(5), old), [f"mover-{old}"]))
    await company.consumed()
    schedule.change_job("mover", site_id=new, workers=[f"mover-{new}"])
    await company.give_core_the_schedule()
    done = await company.sweep()
    assert done.status == 0, done.errors
    assert (done.repairs(old), done.repairs(new)) == ({"orphaned": 1}, {"missed": 1})
    await company.judge()
    await company.graph.user_edit(f"mover@{new}.example", {"subject": "Mine now"}, tag=f"{new}/mover")
    assert (await company.sweep()).repairs(new) == {"edited": 1}
    await the_next_sweep_writes_nothing(company)


async def test_sweeps_and_a_burst_of_changes_on_the_same_jobs_over_three_replicas(company: Company) -> None:
    interval = 2.0  # longer than the interval at which the service looks for due sweeps
    environment = {"CALSYNC_SWEEP_INTERVAL_SECONDS": str(interval)}
    changes = company.generate(workers=30, jobs=6)
    await company.open_mailboxes(changes)
    await company.give_core_the_schedule()
    replicas = [await company.start(f"replica-{number}", **environment) for number in (1, 2, 3)]
    company.publish(changes)
    await company.graph.set_switches(latency_ms=15.0)
    withheld = 0
    for number in range(1, ROUNDS + 1):
        made: list[Change] = []
        while len(made) < BURST / ROUNDS:
            made += random_change(company.schedule, company.random, start=now() + timedelta(days=1), days=19)
        # One change in ten is withheld. A sweep must find it, or a later change must include it.
        published = [change for change in made if company.random.randrange(10)]
        withheld += len(made) - len(published)
        await company.open_mailboxes(made)
        await company.give_core_the_schedule()
        company.publish(published)
        if number == ROUNDS // 2:
            # The partitions of this replica, and so the sweeps of a site, move to other replicas meanwhile.
            await asyncio.to_thread(next(one for one in replicas if sweeps_logged(one, SITE)).process.stop)
            replicas.append(await company.start("replica-4", **environment))
        await swept(*replicas, times=number + 1)
    assert withheld > BURST / 20
    await company.consumed(within=120)
    await company.equal(within=60)
    await company.judge()
    assert (await company.graph.stats())["max_in_flight"] <= 4
    sweepers = [replica for replica in replicas if sweeps_logged(replica, SITE)]
    assert len(sweepers) > 1
    for site in (SITE, OTHER):
        began = sorted(moment for replica in replicas for moment in sweeps_logged(replica, site))
        assert len(began) > ROUNDS
        # One replica claims a sweep for an interval. The log gives the time when it then began, approximately.
        assert (len(began) - 1) * interval <= (began[-1] - began[0]).total_seconds() + interval
        assert all(later - earlier > timedelta(seconds=interval / 2) for earlier, later in pairwise(began))
    for replica in replicas:
        await asyncio.to_thread(replica.process.stop)
        assert '"level":"critical"' not in replica.process.log.read_text()
    await company.graph.set_switches(latency_ms=0.0)
    await the_next_sweep_writes_nothing(company)
