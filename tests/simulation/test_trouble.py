"""Faults around the lanes in simulated time: refused sites, long waits, outages longer than Redis's memory."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from consumer.domain.errors import ForbiddenError, RequestRefusedError, SiteRefusedError, TransientError
from consumer.domain.event import Event
from consumer.domain.job import Job
from consumer.domain.render import render
from consumer.domain.timezones import Zone
from consumer.sync import assignment
from consumer.sync.after_run import HAND_OVER_SECONDS
from consumer.sync.apply import LANDING_SECONDS
from tests.fakes.calendars import Faults
from tests.simulation.loop import simulate
from tests.simulation.test_changes import World
from tests.simulation.world import SITES, Replica

FORBIDDEN = ForbiddenError("ErrorAccessDenied")


def add_jobs(world: World, count: int, *addresses: str, site_id: str = "acme") -> list[str]:
    """This many jobs in the window for each of the addresses."""
    made = []
    for address in addresses:
        for _ in range(count):
            world.core.create(site_id, frozenset({address}))
            made.append(list(world.core.jobs)[-1])
    return made


def test_a_deletion_is_newer_than_a_state_that_waits_longer_than_redis_remembers() -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        world.outlook.refusals[address] = TransientError("503")
        replica = world.replica()
        [job_id] = add_jobs(world, 1, address)
        await asyncio.sleep(60)
        world.store.forget_ranks()
        del world.core.jobs[job_id]
        world.log.append(job_id, None)
        await asyncio.sleep(60)
        world.outlook.refusals.clear()
        await world.until_done()
        assert world.outlook.tags() == []
        replica.kill()

    simulate(story())


def test_a_job_that_moves_to_an_unserved_site_leaves_the_calendar() -> None:
    async def story() -> None:
        world = World(1)
        replica = world.replica()
        [job_id] = add_jobs(world, 1, world.core.addresses[0])
        await world.until_done()
        assert len(world.outlook.tags()) == 1
        world.core.put(replace(world.core.jobs[job_id], site_id="elsewhere"))
        await world.until_done()
        assert world.outlook.tags() == []
        replica.kill()

    simulate(story())


def test_an_unexpected_error_in_one_job_stops_no_other_job_and_frees_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(job: Job, start: datetime, end: datetime, zone: Zone) -> Event:
        if job.job_id == "J1":
            raise ZeroDivisionError
        return render(job, start, end, zone)

    async def story() -> None:
        world = World(1)
        replica = world.replica()
        add_jobs(world, 4, world.core.addresses[0])
        await asyncio.sleep(2)
        assert [tag for _, tag in world.outlook.tags()] == ["acme/J2", "acme/J3", "acme/J4"]
        await asyncio.sleep(HAND_OVER_SECONDS)
        add_jobs(world, 1, world.core.addresses[0])
        await world.until_done()
        assert {job_id for _, job_id in world.store.marks} == {"J1"}
        replica.kill()

    monkeypatch.setattr(assignment, "render", faulty)
    simulate(story())


def test_a_mailbox_throttled_for_an_hour_holds_up_no_offset_and_is_not_asked_meanwhile() -> None:
    async def story() -> None:
        world = World(1)
        sick, well = world.core.addresses[:2]
        world.outlook.refusals[sick] = TransientError("429", retry_after=3600)
        replica = world.replica()
        add_jobs(world, 1, sick)
        await asyncio.sleep(30)
        asked = world.outlook.refused[sick]
        add_jobs(world, 1, well)
        async with asyncio.timeout(HAND_OVER_SECONDS + 60):
            await world.until_done()
        assert {mailbox.address for mailbox, _ in world.store.marks} == {sick}
        assert world.outlook.refused[sick] == asked
        replica.kill()

    simulate(story())


def test_without_consent_the_site_is_suspended_soon_after_a_start_and_resumes_when_it_is_given() -> None:
    async def story() -> None:
        world = World(1)
        world.outlook.refusals = dict.fromkeys(world.core.addresses, FORBIDDEN)
        replica = world.replica()
        probing = asyncio.create_task(replica.sites.probe_forever())
        add_jobs(world, 1, *world.core.addresses)
        await world.until_done()
        assert replica.meter.up.get("acme") is False
        assert len(world.store.parked) <= 1
        world.outlook.refusals = {}
        await asyncio.sleep(61)
        assert replica.meter.up.get("acme") is True
        probing.cancel()
        replica.kill()

    simulate(story())


def test_a_forbidden_mailbox_that_was_served_last_does_not_suspend_its_site() -> None:
    async def story() -> None:
        world = World(1)
        first, second = world.core.addresses[:2]
        replica = world.replica()
        add_jobs(world, 1, first)
        await world.until_done()
        add_jobs(world, 1, second)
        await world.until_done()
        world.outlook.refusals[second] = FORBIDDEN
        add_jobs(world, 1, second)
        await world.until_done()
        assert replica.sites.suspended("acme") is None
        assert {mailbox.address for mailbox in world.store.parked} == {second}
        replica.kill()

    simulate(story())


def test_a_refusal_of_the_old_secret_does_not_suspend_the_site_with_the_new_one() -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        world.outlook.refusals[address] = SiteRefusedError("AADSTS7000222", "renew it")
        replica = world.replica()
        add_jobs(world, 1, address)
        while not replica.lanes.busy:  # noqa: ASYNC110 (simulated time costs nothing)
            await asyncio.sleep(0.001)
        replica.sites.replace({site_id: replace(site, client_secret="new") for site_id, site in SITES.items()})
        await world.outlook.first_refusal()
        world.outlook.refusals.clear()
        await world.until_done()
        assert replica.meter.up.get("acme") is True
        assert not world.store.marks
        replica.kill()

    simulate(story())


def test_a_request_that_graph_calls_malformed_is_dead_lettered_and_the_lane_goes_on() -> None:
    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        world.outlook.write_refusals[address] = RequestRefusedError(400, "ErrorInvalidRequest")
        replica: Replica = world.replica()
        add_jobs(world, 2, address)
        await world.until_done()
        assert {change.job_id for change in replica.refused} == {"J1", "J2"}
        world.outlook.write_refusals.clear()
        add_jobs(world, 1, address)
        await world.until_done()
        assert [tag for _, tag in world.outlook.tags()] == ["acme/J3"]
        replica.kill()

    simulate(story())


def test_an_event_beyond_the_window_that_moves_into_view_is_put_back() -> None:
    """A person dragged it there, or an update from before its job was moved has landed late."""

    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        replica = world.replica()
        [job_id] = add_jobs(world, 1, address)
        await world.until_done()
        [(event_id, before)] = world.outlook.events[address].items()
        job = world.core.jobs[job_id]
        assert job.starts_at is not None
        assert job.ends_at is not None
        later = timedelta(days=40)
        world.core.put(replace(job, starts_at=job.starts_at + later, ends_at=job.ends_at + later))
        await world.until_done()
        world.outlook.events[address][event_id] = replace(before, etag="late")
        await replica.sweep(world.core)
        world.judge()
        writes, questions = world.outlook.writes, world.core.questions
        await replica.sweep(world.core)
        assert (world.outlook.writes, world.core.questions - questions) == (writes, len(SITES))
        replica.kill()

    simulate(story())


def test_a_zone_that_graph_does_not_know_loses_no_event_and_is_read_again() -> None:
    async def story() -> None:
        world = World(1)
        world.outlook.unknown_zones = {"GMT Standard Time"}
        replica = world.replica()
        for _ in range(40):
            world.core.change()
        await world.until_done()
        world.judge()
        assert replica.refused == []
        assert world.outlook.zone_reads > len(world.outlook.events)
        writes = world.outlook.writes
        await replica.sweep(world.core)
        assert world.outlook.writes == writes
        replica.kill()

    simulate(story())


def test_a_site_that_is_paused_holds_up_no_offset_and_is_done_when_it_is_resumed() -> None:
    async def story() -> None:
        world = World(1)
        replica = world.replica()
        replica.sites.pause({"acme"})
        for _ in range(40):
            world.core.change()
        await world.until_done()
        assert {job_tag.partition("/")[0] for _, job_tag in world.outlook.tags()} == {"globex"}
        assert replica.meter.up["acme"]
        replica.sites.pause(())
        await replica.sweep(world.core)
        world.judge()
        assert not world.store.marks
        replica.kill()

    simulate(story())


def test_a_sweep_that_could_read_no_mailbox_has_failed_and_reports_why() -> None:
    async def story() -> None:
        world = World(1)
        replica = world.replica()
        add_jobs(world, 1, *world.core.addresses)
        await world.until_done()
        await replica.sweep(world.core)
        held = world.outlook.tags()
        assert held
        world.outlook.refusals = dict.fromkeys(world.core.addresses, TransientError("Graph: no route"))
        for report in await replica.sweep(world.core):
            assert (report.mailboxes > 0, report.whole) == (True, False)
            assert report.failure == "no mailbox could be read: Graph: no route"
        assert world.outlook.tags() == held
        world.outlook.refusals = {}
        await asyncio.sleep(HAND_OVER_SECONDS)
        assert all(report.whole for report in await replica.sweep(world.core))
        replica.kill()

    simulate(story())


def test_one_mailbox_in_trouble_fails_no_sweep_of_the_others_once_it_is_unavailable() -> None:
    async def story() -> None:
        world = World(1)
        replica = world.replica()
        sick = min(world.core.addresses)
        world.outlook.refusals = {sick: TransientError("503 ErrorMailboxMoveInProgress")}
        for complete in (False, False, True, True):
            for report in await replica.sweep(world.core):
                assert report.whole is complete
                assert report.troubles == Counter({"503 ErrorMailboxMoveInProgress": 1})
        replica.kill()

    simulate(story())


def test_one_job_that_fails_for_minutes_is_handed_over_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(job: Job, start: datetime, end: datetime, zone: Zone) -> Event:
        if job.job_id == "J1":
            raise TransientError("500 ErrorInternalServerError")
        return render(job, start, end, zone)

    async def story() -> None:
        world = World(1)
        replica = world.replica()
        add_jobs(world, 1, world.core.addresses[0])
        for _ in range(300):
            await asyncio.sleep(1)
            add_jobs(world, 1, world.core.addresses[0])
        await world.until_done()
        assert {job_id for _, job_id in world.store.marks} == {"J1"}
        assert replica.meter.results["handed_over"] == 1
        replica.kill()

    monkeypatch.setattr(assignment, "render", faulty)
    simulate(story())


def test_a_mailbox_that_answers_between_its_failures_is_not_unavailable() -> None:
    async def story() -> None:
        world = World(1, Faults(before=0.2, throttled=0.2))
        replica = world.replica()
        for _ in range(600):
            await asyncio.sleep(1)
            add_jobs(world, 1, world.core.addresses[0])
        await world.until_done()
        assert replica.meter.results["applied"] > 0
        assert replica.meter.results.keys() <= {"applied", "superseded"}
        world.judge()
        replica.kill()

    simulate(story())


def test_work_that_failed_during_a_graph_outage_gets_its_full_time_once_graph_is_back() -> None:
    async def story() -> None:
        world = World(1)
        down = dict.fromkeys(world.core.addresses, TransientError("503"))
        world.outlook.refusals = dict(down)
        replica = world.replica()
        add_jobs(world, 5, *world.core.addresses)
        await asyncio.sleep(3600)
        # They come back one after the other.
        for address in world.core.addresses:
            del world.outlook.refusals[address]
            await asyncio.sleep(HAND_OVER_SECONDS / 2 / len(world.core.addresses))
        await world.until_done()
        assert replica.meter.results["applied"] > 0
        assert replica.meter.results.keys() <= {"applied", "superseded"}
        world.judge()
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("killed", [False, True])
def test_an_outage_costs_one_record_and_one_write_a_job_however_often_it_changed(killed: bool) -> None:
    async def story() -> None:
        world = World(1)
        replica = world.replica()
        jobs = [job_id for address in world.core.addresses for job_id in add_jobs(world, 5, address)]
        await world.until_done()
        writes = world.outlook.writes
        world.outlook.refusals = dict.fromkeys(world.core.addresses, TransientError("503"))
        for change in range(20):
            for job_id in jobs:
                world.core.put(replace(world.core.jobs[job_id], subject=f"changed {change}"))
            await asyncio.sleep(180)
            assert replica.owed == len(jobs)
        if killed:
            replica.kill()
            replica = world.replica()
        world.outlook.refusals = {}
        await world.until_done()
        world.judge()
        assert world.outlook.writes == writes + len(jobs)
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("seed", range(8))
def test_a_job_that_comes_back_before_its_late_event_lands_has_one_event(seed: int) -> None:
    async def story() -> None:
        world = World(seed, Faults(late=1.0))
        replica = world.replica()
        [job_id] = add_jobs(world, 1, world.core.addresses[0])
        await asyncio.sleep(0.4)
        world.outlook.faults = Faults()
        for status in ("cancelled", "scheduled"):
            world.core.put(replace(world.core.jobs[job_id], status=status))
            await asyncio.sleep(1.5)
        await world.until_done()
        assert len(world.outlook.tags()) == 1
        world.judge()
        await asyncio.sleep(LANDING_SECONDS)
        for _ in range(2):
            await replica.sweep(world.core)
        assert not world.store.marks
        replica.kill()

    simulate(story())


def test_a_create_that_never_landed_is_forgotten_once_it_cannot_land_any_more() -> None:
    async def story() -> None:
        world = World(1)
        replica = world.replica()
        world.outlook.refusals = dict.fromkeys(world.core.addresses, TransientError("503", unknown=True))
        [job_id] = add_jobs(world, 1, world.core.addresses[0])
        await world.outlook.first_refusal()
        world.outlook.refusals = {}
        world.core.put(replace(world.core.jobs[job_id], status="cancelled"))
        await world.until_done()
        assert {job for _, job in world.store.marks} == {job_id}
        await replica.sweep(world.core)
        assert {job for _, job in world.store.marks} == {job_id}
        await asyncio.sleep(LANDING_SECONDS)
        await replica.sweep(world.core)
        assert not world.store.marks
        assert not any(world.store.links.values())
        replica.kill()

    simulate(story())


@pytest.mark.parametrize(("jobs", "lists"), [(2, 0), (12, 1)])
def test_the_outcomes_of_many_creates_are_looked_up_by_one_list(jobs: int, lists: int) -> None:
    """Each look-up may fail too, so that with many of them a run would rarely reach its creates."""

    async def story() -> None:
        world = World(1)
        address = world.core.addresses[0]
        replica = world.replica()
        add_jobs(world, 1, address)
        await world.until_done()
        world.outlook.faults = Faults(after=1.0)
        add_jobs(world, jobs, address)
        while len(world.outlook.events[address]) <= jobs:  # noqa: ASYNC110 (simulated time costs nothing)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        world.outlook.faults = Faults()
        listed, looked = world.outlook.lists, world.outlook.looks
        await world.until_done()
        assert world.outlook.lists - listed == lists
        assert (world.outlook.looks == looked) is bool(lists)
        world.judge()
        replica.kill()

    simulate(story())
