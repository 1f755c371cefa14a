"""The demo's company as SQL for Core's real database, so that there is something to see and to change."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from sandbox.demo.company import ANNA, BEN, CHLOE, DMITRI, EWA, LONDON, SITES, SYDNEY, WORKERS, Worker
from sandbox.demo.story import FRI, MON, THU, TUE, WED, Week
from sandbox.servers.psql import literal


@dataclass(frozen=True, slots=True)
class _Job:
    client: str
    place: str
    what: str
    day: int
    hour: int
    hours: int
    workers: tuple[Worker, ...]
    zone: tzinfo = LONDON

    @property
    def site_id(self) -> str:
        return self.workers[0].site_id


_JOBS: Final = (
    _Job("Contoso", "Plant 4", "Annual inspection", MON, 9, 2, (ANNA,)),
    _Job("Fabrikam", "Dock 12", "Pressure test", MON, 13, 3, (BEN,)),
    _Job("Proseware", "Head office", "Lift, 6 months", TUE, 8, 2, (EWA,), SYDNEY),
    _Job("Adatum", "Mill & yard", "Fire doors", TUE, 15, 2, (CHLOE,)),
    _Job("Woodgrove", "Yard", "Crane survey", WED, 10, 2, (ANNA, BEN)),
    _Job("Litware", "North tower <L3>", "Re-visit", THU, 14, 3, (CHLOE,)),
    _Job("Humongous", "Plant 1", "Boiler", FRI, 9, 4, (DMITRI, BEN)),
)


def company(now: datetime) -> str:
    """Returns SQL for the company and its jobs in the week after `now`: one transaction.

    The SQL does nothing if that week has jobs already, so everything that planners changed or removed stays that way.
    """
    week = Week.after(now)
    suffix = f"{week.monday:%G-w%V}"
    rows: list[tuple[str, tuple[str, ...]]] = []
    rows += [("sites", (site.site_id, site.name, site.timezone)) for site in SITES]
    rows += [("workers", (each.worker_id, each.site_id, each.name, each.calendar_email)) for each in WORKERS]
    for job in _JOBS:
        client = job.client.lower()
        job_id = f"{client}-{suffix}"
        starts_at, ends_at = (time.isoformat() for time in week.at(job.day, job.hour, job.hours, job.zone))
        rows += [
            ("clients", (client, job.site_id, job.client)),
            ("places", (client, client, job.place, f"{job.client} Ltd\n12 Station Road\nLeeds\nLS1 4DY")),
            ("contacts", (client, client, "Sam O'Neill", "07700 900123")),
            (
                "jobs(job_id, site_id, client_id, place_id, contact_id, subject, starts_at, ends_at)",
                (job_id, job.site_id, client, client, client, job.what, starts_at, ends_at),
            ),
        ]
        rows += [("assignments", (job_id, worker.worker_id)) for worker in job.workers]
    inserts = ";\n".join(_insert(table, row) for table, row in rows)
    return f"do $$ begin if not exists (select from jobs where job_id like '%-{suffix}') then {inserts}; end if; end $$"


def _insert(table: str, row: tuple[str, ...]) -> str:
    return f"insert into {table} values ({', '.join(map(literal, row))}) on conflict do nothing"
