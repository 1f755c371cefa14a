"""Random changes of the schedule, as a planner makes them."""

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Final

from sandbox.core.rows import Job
from sandbox.core.schedule import Schedule
from sandbox.demo.company import ANNA, BEN, CHLOE, NORTHWIND, Worker
from sandbox.demo.story import Step, Week, job

_STAFF: Final = {worker.worker_id: worker for worker in (ANNA, BEN, CHLOE)}
_CLIENTS: Final = ("Contoso", "Fabrikam", "Woodgrove", "Adatum", "Litware", "Humongous", "Margie's", "Wingtip")
_WORK: Final = ("Annual inspection", "Pressure test", "Fire doors", "Re-visit", "Commissioning")
_PLACES: Final = ("Plant 1", "Plant 4", "Dock 12", "Head office", "Warehouse B")
_FEW, _MANY = 6, 14
"""With at most `_FEW` jobs in the week, none is removed. With at least `_MANY`, none is added."""


def next_change(schedule: Schedule, now: datetime, random: Random) -> Step:
    """Returns a change that a planner might make. A calendar always shows it."""
    week = Week.after(now)
    jobs = [each for each in schedule.jobs.values() if _is_in(each, week)]
    open_jobs = [each for each in jobs if each.status != "cancelled" and _staff(each)]
    cancelled = [each for each in jobs if each.status == "cancelled" and _staff(each)]
    choices: list[tuple[int, Callable[[], Step]]] = []
    if len(open_jobs) < _MANY:
        choices.append((2, lambda: _add(schedule, week, random)))
        if cancelled:
            choices.append((1, lambda: _status(random.choice(cancelled), "scheduled", "is scheduled again")))
    if open_jobs:
        choices.append((4, lambda: _move(random.choice(open_jobs), week, random)))
        choices.append((2, lambda: _note(random.choice(open_jobs))))
        choices.append((3, lambda: _reassign(random.choice(open_jobs), random)))
    if len(open_jobs) > _FEW:
        choices.append((1, lambda: _status(random.choice(open_jobs), "cancelled", "is cancelled")))
        choices.append((1, lambda: _delete(random.choice(open_jobs))))
    (make,) = random.choices([make for _, make in choices], [weight for weight, _ in choices])
    return make()


def _add(schedule: Schedule, week: Week, random: Random) -> Step:
    client, worker = random.choice(_CLIENTS), random.choice(list(_STAFF.values()))
    job_id = f"job-{schedule.revision + 1}"
    new = job(
        job_id, _times(week, random), worker, what=random.choice(_WORK), client=client, place=random.choice(_PLACES)
    )
    return Step(f"{client} ({job_id}) is new, for {worker.name}", lambda o: o.core.add_job(new))


def _move(chosen: Job, week: Week, random: Random) -> Step:
    times = _times(week, random)
    while times[0] == chosen.starts_at:
        times = _times(week, random)
    what = f"{_named(chosen)} is rescheduled to {times[0]:%a %H:%M} in London"
    return Step(what, lambda o: o.core.reschedule(chosen.job_id, times))


def _note(chosen: Job) -> Step:
    notes = f"Ask for Sam at gate {chosen.revision}."
    return Step(f"{_named(chosen)}: the notes are edited", lambda o: o.core.change_job(chosen.job_id, notes=notes))


def _reassign(chosen: Job, random: Random) -> Step:
    present = {worker.worker_id for worker in chosen.workers}
    worker: Worker = random.choice([each for each in _STAFF.values() if each.worker_id not in present] or [ANNA])
    return Step(f"{_named(chosen)} is assigned to {worker.name} only", lambda o: o.core.assign(chosen.job_id, worker))


def _status(chosen: Job, status: str, said: str) -> Step:
    return Step(f"{_named(chosen)} {said}", lambda o: o.core.change_job(chosen.job_id, status=status))


def _delete(chosen: Job) -> Step:
    return Step(f"{_named(chosen)} is deleted", lambda o: o.core.delete_job(chosen.job_id))


def _times(week: Week, random: Random) -> tuple[datetime, datetime]:
    return week.at(random.randrange(5), random.randrange(8, 16), random.randint(1, 3))


def _is_in(each: Job, week: Week) -> bool:
    start, end = week.at(0, 0, 0)[0], week.at(5, 0, 0)[0]
    return each.site_id == NORTHWIND.site_id and each.starts_at is not None and start <= each.starts_at < end


def _staff(each: Job) -> bool:
    """Returns whether the job has a worker whose calendar can show it."""
    return any(worker.worker_id in _STAFF for worker in each.workers)


def _named(chosen: Job) -> str:
    return f"{chosen.client_name} ({chosen.job_id})"
