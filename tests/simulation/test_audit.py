"""The audit: one entry for each write that Graph accepted, with its cause and the names of what changed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumer.sync.run_context import RunContext
from tests.fakes.calendars import MemoryCalendar
from tests.simulation.loop import simulate
from tests.simulation.test_changes import World
from tests.simulation.test_sweep import Spoil, any_in_window, copied, deleted, edited, moved, settled_world
from tests.simulation.world import Audited, Replica


async def changed(world: World, replica: Replica, job_id: str, **values: Any) -> list[Audited]:
    """The entries for a change of the job."""
    known = len(replica.audit)
    job = world.core.jobs[job_id]
    world.core.put(replace(job, revision=job.revision + 1, **values))
    await world.until_done()
    return replica.audit[known:]


def test_each_accepted_write_has_one_entry() -> None:
    async def story() -> None:
        world = World(1)
        replica = world.replica()
        for _ in range(120):
            world.core.change()
            await world.until_done()
        await replica.sweep(world.core)
        assert len(replica.audit) > 50
        assert len(replica.audit) == world.outlook.writes
        assert {entry.action for entry in replica.audit} == {"created", "updated", "deleted"}
        replica.kill()

    simulate(story())


def test_a_change_names_its_revision_and_the_fields_that_it_changed() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        address, event_id = any_in_window(world)
        job_id = str(world.outlook.events[address][event_id].tag).partition("/")[2]
        job = world.core.jobs[job_id]
        assert job.starts_at is not None
        assert job.ends_at is not None

        entries = await changed(world, replica, job_id, subject="Another subject")
        assert {(entry.action, entry.cause, *entry.fields) for entry in entries} == {("updated", "change", "contents")}
        assert {entry.revision for entry in entries} == {world.core.jobs[job_id].revision}
        assert event_id in {entry.event_id for entry in entries}

        later = timedelta(minutes=1)
        entries = await changed(world, replica, job_id, starts_at=job.starts_at + later, ends_at=job.ends_at + later)
        assert {tuple(entry.fields) for entry in entries} == {("start", "end")}

        entries = await changed(world, replica, job_id, ends_at=job.ends_at + 2 * later, notes="Ring twice")
        assert {tuple(entry.fields) for entry in entries} == {("end", "contents")}

        entries = await changed(world, replica, job_id, status="cancelled")
        assert {(entry.action, *entry.fields) for entry in entries} == {("deleted",)}
        assert {entry.revision for entry in entries} == {world.core.jobs[job_id].revision}
        replica.kill()

    simulate(story())


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (edited, [("updated", "edited", ("subject",))]),
        (moved, [("updated", "deleted", ("start", "end"))]),
        (deleted, [("created", "deleted", ())]),
        (copied, [("deleted", "copied", ())]),
    ],
)
def test_a_sweeps_repair_names_its_cause_and_what_differed(
    spoil: Spoil, expected: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    async def story() -> None:
        world, replica = await settled_world()
        await replica.sweep(world.core)
        known = len(replica.audit)
        address, event_id = any_in_window(world)
        await spoil(world, address, event_id)
        await replica.sweep(world.core)
        found = [(entry.action, entry.cause, tuple(entry.fields)) for entry in replica.audit[known:]]
        assert found == expected
        replica.kill()

    simulate(story())


def test_an_event_that_gets_its_tag_is_claimed() -> None:
    async def story() -> None:
        world, replica = await settled_world()
        world.outlook.untagged = 1
        known = len(replica.audit)
        world.core.create("acme", frozenset({world.core.addresses[0]}))
        await world.until_done()
        entries = replica.audit[known:]
        assert [(entry.action, entry.cause) for entry in entries][-1] == ("claimed", "change")
        replica.kill()

    simulate(story())


def test_a_dry_run_and_a_write_that_failed_have_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world, replica = await settled_world()
        known = len(replica.audit)
        address, event_id = any_in_window(world)
        await edited(world, address, event_id)
        await replica.sweep(world.core, dry_run=True)
        assert replica.planned

        async def failing(*_: Any) -> Any:
            raise ConnectionError("a bug")

        with monkeypatch.context() as broken:
            broken.setattr(MemoryCalendar, "update", failing)
            await replica.sweep(world.core)
        assert replica.audit[known:] == []
        replica.kill()

    simulate(story())


def test_no_run_can_be_without_an_audit() -> None:
    assert "audit" in RunContext.__dataclass_fields__
    with pytest.raises(TypeError):
        RunContext()  # type: ignore[call-arg]
