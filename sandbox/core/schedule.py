"""Core's database in memory: sites, workers and jobs, and the changes that each operation commits."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from sandbox.core.rows import JOB_FIELDS, Change, Job, Op, Site, Worker, with_address

_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_NOT_EDITABLE = {"job_id", "revision", "workers"}

RosterKey = tuple[bytes, str]
"""A worker's position in the API's order: the bytes of `sql_address`, then the worker id."""


def normal_address(address: str) -> str:
    """Returns an address in the form in which addresses are compared everywhere: trimmed and ASCII-lower-cased."""
    return address.strip().translate(_ASCII_LOWER)


def sql_address(address: str) -> str:
    """Returns an address in the form by which `core-api.yaml` orders workers: `btrim` in SQL trims only spaces."""
    return address.strip(" ").translate(_ASCII_LOWER)


class Schedule:
    """Core's database. Every operation is one transaction and returns the changes that it commits, in order.

    Each change of a job draws its `revision` from one sequence for the whole database. There is no I/O: the clock is
    passed in and returns aware datetimes. An unknown id raises KeyError, a violated constraint ValueError.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.sites: dict[str, Site] = {}
        self.workers: dict[str, Worker] = {}
        self.jobs: dict[str, Job] = {}
        self.revision = 0
        """The newest revision that was drawn. Set it to continue the sequence from another value."""
        self._clock = clock
        self._assigned: dict[str, set[str]] = {}
        self._rosters: dict[str, list[tuple[RosterKey, Worker]]] = {}
        self._lsn = 22_231_192
        self._last_commit: int | None = None
        self._tx_id = 726

    # Sites and workers. Only `calendar_job` is captured, so a change is visible only if it touches a job.

    def put_site(self, site: Site) -> None:
        """Adds a site or changes its name or timezone."""
        self.sites[site.site_id] = site

    def put_worker(self, worker: Worker) -> list[Change]:
        """Adds a worker, or changes a worker's calendar email, which touches all the worker's jobs."""
        if worker.site_id not in self.sites:
            raise KeyError(worker.site_id)
        known = self.workers.get(worker.worker_id)
        if known is not None and known.site_id != worker.site_id:
            raise ValueError(f"worker {worker.worker_id} belongs to site {known.site_id}")
        self.workers[worker.worker_id] = worker
        self._assigned.setdefault(worker.worker_id, set())
        self._rosters.pop(worker.site_id, None)
        if known == worker:
            return []
        return self._write("u", (with_address(job, worker) for job in self.jobs_of(worker.worker_id)))

    def change_calendar_email(self, worker_id: str, calendar_email: str | None) -> list[Change]:
        """Changes or removes a worker's calendar email."""
        return self.put_worker(replace(self.workers[worker_id], calendar_email=calendar_email))

    def remove_worker(self, worker_id: str) -> list[Change]:
        """Removes a worker from all jobs and from the site."""
        jobs = self.jobs_of(worker_id)
        changes = self._write("u", (_without(job, worker_id) for job in jobs))
        self._rosters.pop(self.workers.pop(worker_id).site_id, None)
        del self._assigned[worker_id]
        return changes

    # Jobs.

    def add_job(self, job: Job, workers: Iterable[str] = ()) -> list[Change]:
        """Adds a job and assigns it to the workers with these ids. Ignores the `revision` and `workers` of `job`."""
        if job.job_id in self.jobs:
            raise ValueError(f"job {job.job_id} exists already")
        if job.site_id not in self.sites:
            raise KeyError(job.site_id)
        return self._write("c", [replace(job, workers=self._staff(job.site_id, workers))])

    def change_job(self, job_id: str, *, workers: Iterable[str] | None = None, **columns: Any) -> list[Change]:
        """Changes columns, and the assigned workers if `workers` is given, in one change.

        A change of the site must also assign workers of the new site.
        """
        job = self.jobs[job_id]
        if wrong := columns.keys() - (set(JOB_FIELDS) - _NOT_EDITABLE):
            raise ValueError(f"these columns cannot be changed: {', '.join(sorted(wrong))}")
        changed: Job = replace(job, **columns)
        if changed.site_id not in self.sites:
            raise KeyError(changed.site_id)
        wanted = [worker.worker_id for worker in job.workers] if workers is None else workers
        return self._write("u", [replace(changed, workers=self._staff(changed.site_id, wanted))])

    def reschedule(self, job_id: str, starts_at: datetime | None, ends_at: datetime | None) -> list[Change]:
        """Moves a job to another time. None takes it off the schedule."""
        return self.change_job(job_id, starts_at=starts_at, ends_at=ends_at)

    def assign(self, job_id: str, worker_id: str) -> list[Change]:
        """Adds a worker to a job."""
        present = [worker.worker_id for worker in self.jobs[job_id].workers]
        return self.change_job(job_id, workers=[*present, worker_id])

    def unassign(self, job_id: str, worker_id: str) -> list[Change]:
        """Takes a worker off a job."""
        return self._write("u", [_without(self.jobs[job_id], worker_id)])

    def reassign(self, job_id: str, worker_id: str, successor_id: str) -> list[Change]:
        """Replaces one worker of a job by another, in one change."""
        rest = [worker.worker_id for worker in self.jobs[job_id].workers if worker.worker_id != worker_id]
        return self.change_job(job_id, workers=[*rest, successor_id])

    def cancel(self, job_id: str) -> list[Change]:
        """Sets a job's status to `cancelled`; the row stays."""
        return self.change_job(job_id, status="cancelled")

    def delete(self, job_id: str) -> list[Change]:
        """Deletes a job's row."""
        job = self.jobs.pop(job_id)
        for worker in job.workers:
            self._assigned[worker.worker_id].discard(job_id)
        return [self._change("d", job_id, None)]

    def truncate(self) -> list[Change]:
        """Empties the table without a change for each row, as SQL's TRUNCATE does."""
        self.jobs.clear()
        for jobs in self._assigned.values():
            jobs.clear()
        return [self._change("t", None, None)]

    def snapshot(self, kind: Literal["initial", "incremental"] = "initial") -> list[Change]:
        """Returns every row as a read event, as a new connector or an incremental snapshot sends them."""
        now = self._clock()
        if kind == "incremental":
            position = (self._last_commit, self._lsn)
            return [Change("r", j.job_id, j, now, position, None, None, "incremental") for j in self.jobs.values()]
        last = len(self.jobs) - 1
        places = ("last" if i == last else "first" if i == 0 else "true" for i in range(len(self.jobs)))
        return [
            Change("r", job.job_id, job, now, (None, self._lsn), self._lsn, self._tx_id, place)
            for job, place in zip(self.jobs.values(), places, strict=True)
        ]

    def restore(self, sites: Iterable[Site], workers: Iterable[Worker], jobs: Iterable[Job], revision: int) -> None:
        """Replaces this state with another, as a restored backup does. No change is committed."""
        self.sites = {site.site_id: site for site in sites}
        self.workers = {worker.worker_id: worker for worker in workers}
        self.jobs = {job.job_id: job for job in jobs}
        self.revision = revision
        self._rosters.clear()
        self._assigned = {worker_id: set() for worker_id in self.workers}
        for job in self.jobs.values():
            for worker in job.workers:
                self._assigned[worker.worker_id].add(job.job_id)

    # Queries of the API.

    def jobs_of(self, worker_id: str) -> list[Job]:
        """Returns a worker's jobs in the order of their ids, including cancelled and unscheduled jobs."""
        return [self.jobs[job_id] for job_id in sorted(self._assigned[worker_id])]

    def roster(self, site_id: str, after: RosterKey | None, count: int) -> list[tuple[RosterKey, Worker]]:
        """Returns up to `count` workers of a site with a calendar email, in the API's order, after `after`."""
        roster = self._rosters.get(site_id)
        if roster is None:
            roster = self._rosters[site_id] = sorted(
                ((sql_address(worker.calendar_email).encode(), worker.worker_id), worker)
                for worker in self.workers.values()
                if worker.site_id == site_id and worker.calendar_email and worker.calendar_email.strip(" ")
            )
        first = 0 if after is None else bisect_right(roster, after, key=lambda entry: entry[0])
        return roster[first : first + count]

    def _staff(self, site_id: str, worker_ids: Iterable[str]) -> tuple[Worker, ...]:
        staff = tuple(self.workers[worker_id] for worker_id in dict.fromkeys(worker_ids))
        if strangers := [worker.worker_id for worker in staff if worker.site_id != site_id]:
            raise ValueError(f"these workers do not belong to site {site_id}: {', '.join(strangers)}")
        return staff

    def _write(self, op: Op, jobs: Iterable[Job]) -> list[Change]:
        changes: list[Change] = []
        for job in jobs:
            self.revision += 1
            row = replace(job, revision=self.revision)
            if (old := self.jobs.get(row.job_id)) is not None:
                for worker in old.workers:
                    self._assigned[worker.worker_id].discard(row.job_id)
            for worker in row.workers:
                self._assigned[worker.worker_id].add(row.job_id)
            self.jobs[row.job_id] = row
            changes.append(self._change(op, row.job_id, row, first=not changes))
        if changes:
            self._last_commit = self._lsn
        return changes

    def _change(self, op: Op, job_id: str | None, after: Job | None, *, first: bool = True) -> Change:
        self._tx_id += first
        self._lsn += 96
        change = Change(op, job_id, after, self._clock(), (self._last_commit, self._lsn), self._lsn, self._tx_id)
        if after is None:
            self._last_commit = self._lsn
        return change


def _without(job: Job, worker_id: str) -> Job:
    staff = tuple(worker for worker in job.workers if worker.worker_id != worker_id)
    if len(staff) == len(job.workers):
        raise KeyError(worker_id)
    return replace(job, workers=staff)
