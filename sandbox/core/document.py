"""A schedule as one JSON document, to hand it to another process or to put an old state back."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sandbox.core.rows import Job, Site, Worker, job_fields, row_json
from sandbox.core.schedule import Schedule


def dump(schedule: Schedule) -> dict[str, Any]:
    """`{"revision", "sites", "workers", "jobs"}`; times are `datetime`s for the JSON encoder."""
    return {
        "revision": schedule.revision,
        "sites": [asdict(site) for site in schedule.sites.values()],
        "workers": [asdict(worker) for worker in schedule.workers.values()],
        "jobs": [row_json(job, workers=True) for job in schedule.jobs.values()],
    }


def load(schedule: Schedule, document: Mapping[str, Any]) -> Schedule:
    """Puts a dumped document in place of all that the schedule holds, revisions included; gives the schedule.

    Nothing is committed, so there are no changes: the state of a database after a backup was restored.
    """
    sites = [Site(**site) for site in document["sites"]]
    workers = {worker["worker_id"]: Worker(**worker) for worker in document["workers"]}
    jobs = [
        replace(Job(**job_fields(_readable(row))), workers=tuple(workers[w["worker_id"]] for w in row["workers"]))
        for row in document["jobs"]
    ]
    schedule.restore(sites, workers.values(), jobs, document["revision"])
    return schedule


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its times as text, whether or not it went through JSON."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
