"""Faults that stories have found, each reproduced alone."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consumer.domain.errors import TransientError
from consumer.domain.event import RemoteEvent
from consumer.domain.link import Link
from consumer.domain.mailbox import Mailbox
from tests.fakes.calendars import MemoryCalendar
from tests.simulation.loop import simulate
from tests.simulation.process import Point, Strike
from tests.simulation.test_protocol import ANNA, World


def test_a_late_update_beyond_the_window_is_repaired_by_its_mark() -> None:
    """Story ``freezes``, seed 26: an update failed, its job was marked, and it landed after the next update."""

    async def story() -> None:
        world = World()
        replica = world.replica()
        job_id = world.job(ANNA)
        await world.done()
        world.edit(job_id, **world.core.random_time(40, first_day=25))
        await world.done()
        [(event_id, before)] = world.outlook.events[ANNA].items()
        world.edit(job_id, subject="newer")
        await world.done()
        world.outlook.events[ANNA][event_id] = replace(before, etag="late")
        await world.store.mark_dirty([(Mailbox("acme", ANNA), job_id)])
        await asyncio.sleep(1.0)
        await replica.sweep(world.core)
        assert "Job: newer" in world.outlook.events[ANNA][event_id].body
        assert not world.store.whole.marks

    simulate(story())


def test_an_edit_between_a_repair_and_its_check_is_overwritten_by_the_next_sweep() -> None:
    """Story ``forgets``, seed 1: the edit was mistaken for Graph's rewriting of our repair, and was never repaired."""

    async def story() -> None:
        world = World()
        replica = world.replica()
        world.job(ANNA)
        await world.done()
        await asyncio.sleep(1.0)
        box = world.outlook.events[ANNA]
        [(event_id, event)] = box.items()
        box[event_id] = replace(event, subject="Mine now", etag="edited")
        outlook: Any = world.outlook
        carry_out = outlook._carry_out

        def edited_at_once(*arguments: Any) -> Any:
            answer = carry_out(*arguments)
            outlook._carry_out = carry_out
            box[event_id] = replace(box[event_id], subject="Mine again", etag="edited again")
            return answer

        outlook._carry_out = edited_at_once
        for _ in range(3):
            await replica.sweep(world.core)
            await asyncio.sleep(1.0)
        assert box[event_id].subject == "Core Job"

    simulate(story())


def test_an_event_in_another_calendar_is_not_forgotten_before_it_is_deleted() -> None:
    """Story ``freezes``, seed 1: its copy was linked, the deletion failed, and no link led to the linked event."""

    async def story() -> None:
        world = World()
        replica = world.replica()
        job_id = world.job(ANNA)
        await world.done()
        await asyncio.sleep(1.0)
        box = world.outlook.events[ANNA]
        [(event_id, event)] = box.items()
        box["copy"] = replace(event, event_id="copy", etag="copied")
        world.outlook.elsewhere.add(event_id)
        delete = MemoryCalendar._delete
        failures = iter([TransientError("503"), None])

        def failing_once(calendar: MemoryCalendar, deleted: str) -> None:
            if (failure := next(failures, None)) is not None:
                raise failure
            delete(calendar, deleted)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryCalendar, "_delete", failing_once)
            for _ in range(2):
                await replica.sweep(world.core)
                await asyncio.sleep(1.0)
        assert list(box) == ["copy"]
        link = world.link(job_id)
        assert isinstance(link, Link)
        assert link.event_id == "copy"

    simulate(story())


def test_an_old_link_does_not_hide_the_event_that_replaced_its_own() -> None:
    """Story ``rollbacks``, seed 142: the link's event was gone, the mailbox was known, and a second event was made."""

    async def story() -> None:
        world = World()
        replica = world.replica()
        job_id = world.job(ANNA)
        await world.done()
        await asyncio.sleep(1.0)
        box = world.outlook.events[ANNA]
        [event_id] = box
        box["replaced"] = replace(box.pop(event_id), event_id="replaced")
        world.edit(job_id, subject="newer")
        await world.done()
        assert list(box) == ["replaced"]
        assert "Job: newer" in box["replaced"].body
        box["again"] = replace(box.pop("replaced"), event_id="again")
        world.edit(job_id, status="cancelled")
        await world.done()
        assert not box
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("trouble", ["the repair cannot be read again", "the copy is deleted before the repair"])
def test_an_event_in_another_calendar_is_not_forgotten_when_the_repair_of_its_copy_fails(trouble: str) -> None:
    """Story ``everything``, seed 97: the copy was linked, the read after its repair failed, and no link led to it."""

    async def story() -> None:
        world = World()
        replica = world.replica()
        job_id = world.job(ANNA)
        await world.done()
        await asyncio.sleep(1.0)
        box = world.outlook.events[ANNA]
        [(event_id, event)] = box.items()
        box["copy"] = replace(event, event_id="copy", subject="Mine now", etag="copied")
        world.outlook.elsewhere.add(event_id)
        get, update = MemoryCalendar._get, MemoryCalendar._update
        failures: list[Exception] = []

        def update_before_trouble(calendar: MemoryCalendar, *arguments: Any) -> RemoteEvent:
            patch.setattr(MemoryCalendar, "_update", update)
            if trouble == "the copy is deleted before the repair":
                del box["copy"]
            updated = update(calendar, *arguments)
            failures.append(TransientError("429"))
            return updated

        def get_or_fail(calendar: MemoryCalendar, read: str) -> RemoteEvent:
            if failures:
                raise failures.pop()
            return get(calendar, read)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryCalendar, "_update", update_before_trouble)
            patch.setattr(MemoryCalendar, "_get", get_or_fail)
            for _ in range(2):
                await replica.sweep(world.core)
                await asyncio.sleep(1.0)
        [(kept, event)] = box.items()
        assert (event.start, event.end) == world.core.jobs[job_id].scheduled
        link = world.link(job_id)
        assert isinstance(link, Link)
        assert link.event_id == kept

    simulate(story())


@pytest.mark.parametrize("killed_at", [None, "graph after", "store after"])
@pytest.mark.parametrize("meanwhile", [{"addresses": frozenset()}, {"subject": "for a moment"}])
def test_a_link_is_not_trusted_after_a_write_whose_answer_was_lost(
    meanwhile: dict[str, Any], killed_at: Point | None
) -> None:
    """Story ``kills-and-sweeps``, seed 178: the event was deleted, and its link was trusted when the job came back."""

    async def story() -> None:
        world = World()
        replica = world.replica()
        job_id = world.job(ANNA)
        await world.done()
        await asyncio.sleep(1.0)
        job = world.core.jobs[job_id]
        killed = asyncio.Event()

        def kill() -> None:
            replica.kill()
            killed.set()

        def losing_one_answer(write: Callable[..., Any]) -> Callable[..., Any]:
            def written(*arguments: Any) -> None:
                write(*arguments)
                patch.undo()
                world.edit(job_id, subject=job.subject, addresses=job.addresses)
                if killed_at is not None:  # before or after the run's end is stored
                    replica.process.arm(Strike(killed_at, 1, kill))
                if killed_at == "graph after":
                    return
                raise TransientError("504", unknown=True)

            return written

        with pytest.MonkeyPatch.context() as patch:
            for name in ("_update", "_delete"):
                patch.setattr(MemoryCalendar, name, losing_one_answer(getattr(MemoryCalendar, name)))
            world.edit(job_id, **meanwhile)
            if killed_at is not None:
                await killed.wait()
                world.replica()
            await world.done()
        [event] = world.outlook.events[ANNA].values()
        assert "Job: new" in event.body

    simulate(story())
