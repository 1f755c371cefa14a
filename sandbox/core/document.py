"""A schedule as one JSON document, to pass it to another process or to restore an old state."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sandbox.core.rows import Job, Site, Worker, job_fields, row_json
from sandbox.core.schedule import Schedule


def dump(schedule: Schedule) -> dict[str, Any]:
    """Returns `{"revision", "sites", "workers", "jobs"}`. Times are `datetime`s; the JSON encoder writes them."""
    return {
        "revision": schedule.revision,
        "sites": [asdict(site) for site in schedule.sites.values()],
        "workers": [asdict(worker) for worker in schedule.workers.values()],
        "jobs": [row_json(job, workers=True) for job in schedule.jobs.values()],
    }


def load(schedule: Schedule, document: Mapping[str, Any]) -> Schedule:
    """Replaces the whole schedule, including revisions, with a dumped document. Returns the schedule.

    Nothing is committed, so there are no changes, as after a backup was restored.
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
    """Returns the row with its times as text, whether they are texts already or `datetime`s."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
