"""Core's database: what each operation changes, and which changes it commits."""

from datetime import UTC, datetime, timedelta
from random import Random

import orjson
import pytest

from sandbox.core.document import dump, load
from sandbox.core.generate import generate, random_change
from sandbox.core.rows import Change, Job, Site, Worker
from sandbox.core.schedule import Schedule

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
def schedule() -> Schedule:
    schedule = Schedule(lambda: NOW)
    for site_id in ("acme", "bolt"):
        schedule.put_site(Site(site_id, site_id.title(), "Europe/London"))
    for worker in (
        Worker("ann", "acme", "Ann@acme.example"),
        Worker("bob", "acme", "bob@acme.example"),
        Worker("cat", "acme", None),
        Worker("zoe", "bolt", "zoe@bolt.example"),
    ):
        assert schedule.put_worker(worker) == []
    schedule.add_job(Job(job_id="J-1", site_id="acme", starts_at=NOW, ends_at=NOW + timedelta(hours=2)), ["ann"])
    return schedule


def emails(change: Change) -> list[str | None]:
    assert change.after is not None
    return [worker.calendar_email for worker in change.after.workers]


def test_each_change_draws_a_revision_from_one_sequence(schedule: Schedule) -> None:
    changes = [
        *schedule.add_job(Job(job_id="J-2", site_id="bolt")),
        *schedule.change_job("J-1", notes="Bell"),
        *schedule.cancel("J-1"),
        *schedule.change_job("J-2", subject="Lift"),
    ]

    assert [(c.op, c.job_id, c.after.revision) for c in changes if c.after] == [
        ("c", "J-2", 2),
        ("u", "J-1", 3),
        ("u", "J-1", 4),
        ("u", "J-2", 5),
    ]
    assert schedule.jobs["J-1"].status == "cancelled"
    assert schedule.jobs["J-1"].notes == "Bell"


def test_assignments_change_in_one_record(schedule: Schedule) -> None:
    assert emails(schedule.assign("J-1", "bob")[0]) == ["Ann@acme.example", "bob@acme.example"]
    assert emails(schedule.unassign("J-1", "bob")[0]) == ["Ann@acme.example"]
    (change,) = schedule.reassign("J-1", "ann", "cat")
    assert emails(change) == [None]
    assert schedule.jobs_of("ann") == []
    assert schedule.jobs_of("cat") == [schedule.jobs["J-1"]]


def test_a_changed_calendar_email_touches_each_of_the_workers_jobs(schedule: Schedule) -> None:
    schedule.add_job(Job(job_id="J-2", site_id="acme"), ["ann", "bob"])
    schedule.add_job(Job(job_id="J-3", site_id="acme"), ["bob"])

    changes = schedule.change_calendar_email("ann", "ann@new.example")

    assert [(c.job_id, c.after.revision) for c in changes if c.after] == [("J-1", 4), ("J-2", 5)]
    assert emails(changes[1]) == ["ann@new.example", "bob@acme.example"]
    assert len({change.tx_id for change in changes}) == 1, "one transaction"
    assert schedule.change_calendar_email("ann", "ann@new.example") == []


def test_a_removed_worker_is_taken_off_all_jobs(schedule: Schedule) -> None:
    (change,) = schedule.remove_worker("ann")

    assert emails(change) == []
    assert [worker.worker_id for _, worker in schedule.roster("acme", None, 9)] == ["bob"]


def test_a_job_moves_to_another_site_with_that_sites_workers(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="do not belong to site bolt"):
        schedule.change_job("J-1", site_id="bolt")

    (change,) = schedule.change_job("J-1", site_id="bolt", workers=["zoe"])

    assert emails(change) == ["zoe@bolt.example"]
    assert schedule.jobs_of("ann") == []


def test_deleting_and_truncating_give_no_row(schedule: Schedule) -> None:
    (deleted,) = schedule.delete("J-1")
    assert (deleted.op, deleted.job_id, deleted.after) == ("d", "J-1", None)
    assert schedule.jobs_of("ann") == []

    schedule.add_job(Job(job_id="J-2", site_id="acme"), ["ann"])
    (truncated,) = schedule.truncate()
    assert (truncated.op, truncated.job_id, truncated.after) == ("t", None, None)
    assert schedule.jobs == {}


def test_snapshots_read_every_row_as_it_is(schedule: Schedule) -> None:
    for number in (2, 3):
        schedule.add_job(Job(job_id=f"J-{number}", site_id="acme"))

    initial, incremental = schedule.snapshot(), schedule.snapshot("incremental")

    assert [change.snapshot for change in initial] == ["first", "true", "last"]
    assert {(c.op, c.snapshot, c.lsn, c.tx_id) for c in incremental} == {("r", "incremental", None, None)}
    assert [c.after for c in incremental] == list(schedule.jobs.values())


def test_positions_in_the_log_grow(schedule: Schedule) -> None:
    changes = [*schedule.cancel("J-1"), *schedule.delete("J-1")]

    assert changes[0].lsn is not None
    assert changes[1].sequence[0] == changes[0].lsn
    assert changes[1].sequence[1] > changes[0].lsn


@pytest.mark.parametrize(
    ("starts", "ends", "overlaps"),
    [(-2, -1, False), (-1, 0, False), (-1, 1, True), (0, 0, True), (9, 11, True), (10, 10, False), (10, 11, False)],
)
def test_ranges_are_half_open(starts: int, ends: int, overlaps: bool) -> None:
    hour = timedelta(hours=1)
    job = Job(job_id="J", site_id="acme", starts_at=NOW + starts * hour, ends_at=NOW + ends * hour)

    assert job.overlaps(NOW, NOW + 10 * hour) is overlaps


def test_a_job_without_times_overlaps_nothing() -> None:
    assert not Job(job_id="J", site_id="acme", starts_at=NOW).overlaps(NOW, NOW + timedelta(days=1))


def test_the_database_refuses_invalid_changes(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="exists"):
        schedule.add_job(Job(job_id="J-1", site_id="acme"))
    with pytest.raises(ValueError, match="cannot be changed: revision"):
        schedule.change_job("J-1", revision=9)
    with pytest.raises(KeyError):
        schedule.assign("J-1", "nobody")
    with pytest.raises(KeyError):
        schedule.add_job(Job(job_id="J-2", site_id="nowhere"))


def test_a_dump_restores_the_state_through_json(schedule: Schedule) -> None:
    generate(schedule, Random(3), site_count=1, workers=4, jobs=3, start=NOW)
    document = orjson.loads(orjson.dumps(dump(schedule)))

    restored = load(Schedule(lambda: NOW), document)

    assert dump(restored) == dump(schedule)
    assert restored.jobs_of("ann") == schedule.jobs_of("ann")
    assert restored.roster("site-1", None, 99) == schedule.roster("site-1", None, 99)


def test_generated_data_and_changes_depend_only_on_the_random_source() -> None:
    def run(seed: int) -> list[Change]:
        schedule, rng = Schedule(lambda: NOW), Random(seed)
        changes = generate(schedule, rng, site_count=2, workers=5, jobs=6, start=NOW, days=30)
        for _ in range(200):
            changes += random_change(schedule, rng, start=NOW, days=30)
        for job in schedule.jobs.values():
            assert {worker.site_id for worker in job.workers} <= {job.site_id}
            assert all(schedule.workers[worker.worker_id] == worker for worker in job.workers)
        return changes

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert {change.op for change in run(1)} == {"c", "u", "d"}
