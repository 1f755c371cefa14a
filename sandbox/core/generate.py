"""Generates plausible data for a Core. The same random source gives the same sites, workers and jobs."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

from sandbox.core.rows import Change, Job, Site, Worker
from sandbox.core.schedule import Schedule

_ZONES = ("Europe/London", "Europe/Dublin", "Europe/Berlin", "America/New_York", "Australia/Sydney")
_COMPANIES = ("Northwind", "Fabrikam", "Contoso", "Tailspin", "Woodgrove", "Proseware", "Adatum", "Litware")
_TRADES = ("Inspections", "Lifts", "Boilers & Pressure", "Fire Safety", "Cranes", "Façades")
_FIRST = ("Aoife", "Bilal", "Chloë", "Dmitri", "Ewa", "Femi", "Gráinne", "Hamza", "Ines", "Jürgen", "Keira", "Łukasz")
_LAST = ("Adeyemi", "Brown", "Clarke", "D'Souza", "Evans", "Fitzgerald", "García", "Hughes", "O'Neill", "Patel")
_PLACES = ("Plant 1", "Plant 4", "Head office", "Warehouse B", "North tower <L3>", "Dock 12", "Mill & yard")
_WORK = ("Annual inspection", "Six-monthly LOLER", "Pressure test", "Re-visit", "Commissioning", "Fault: door 2")
_STREETS = ("Station Road", "High Street", "Mill Lane", "Queen's Parade", "Victoria Way", "Dockside")
_TOWNS = (("Leeds", "LS"), ("Bristol", "BS"), ("Glasgow", "G"), ("Cardiff", "CF"), ("Belfast", "BT"), ("York", "YO"))
_NOTES = (
    "Ring the bell twice.\nAsk for Sam at the gate.",
    "Hard hat & hi-vis <mandatory>.\r\n\r\nNo hot work before 09:00.",
    "Key safe: 4471 🔑\nDog on site 🐕‍🦺 – friendly!",
    'Customer says "not the blue door".',
    "Temperature limits: -5 °C < t < 40 °C; log any > 35 °C.",
)
_STATUSES = ("scheduled", "scheduled", "scheduled", "confirmed", "in_progress")


def generate(
    schedule: Schedule, rng: Random, *, site_count: int, workers: int, jobs: int, start: datetime, days: int = 21
) -> list[Change]:
    """Adds sites, `workers` to each site and `jobs` to each worker, starting within `days` days of `start`.

    Sites are named `site-1`, `site-2`, … and workers `site-1-w1`, …. These names must not exist yet.
    One worker in 25 has no calendar email, and one in 40 shares a colleague's. One job in 12 has a second worker,
    one in 30 is cancelled and one in 40 is not scheduled.
    """
    changes: list[Change] = []
    for number in range(1, site_count + 1):
        site_id = f"site-{number}"
        name = f"{rng.choice(_COMPANIES)} {rng.choice(_TRADES)}"
        schedule.put_site(Site(site_id, name, _ZONES[(number - 1) % len(_ZONES)]))
        staff = [f"{site_id}-w{n}" for n in range(1, workers + 1)]
        for n, worker_id in enumerate(staff, 1):
            schedule.put_worker(Worker(worker_id, site_id, _calendar_email(rng, site_id, n)))
        for worker_id in staff:
            for n in range(1, jobs + 1):
                changes += _add_job(schedule, rng, f"{worker_id}-j{n}", worker_id, staff, start, days)
    return changes


def random_change(schedule: Schedule, rng: Random, *, start: datetime, days: int = 21) -> list[Change]:
    """Makes one change to a random job, as a planner might. Returns no changes if there is no job."""
    if not schedule.jobs:
        return []
    job = schedule.jobs[rng.choice(list(schedule.jobs))]
    staff = [worker.worker_id for worker in schedule.workers.values() if worker.site_id == job.site_id]
    what = rng.choices(
        ("move", "edit", "staff", "cancel", "restore", "delete", "unschedule", "email"),
        weights=(30, 25, 20, 6, 6, 3, 4, 6),
    )[0]
    if what == "delete":
        return schedule.delete(job.job_id)
    if what == "staff" and staff:
        return schedule.change_job(job.job_id, workers=rng.sample(staff, min(len(staff), rng.randint(0, 2))))
    if what == "email" and staff:
        worker_id = rng.choice(staff)
        number = len(schedule.workers) + rng.randrange(10_000)
        return schedule.change_calendar_email(worker_id, _calendar_email(rng, job.site_id, number))
    columns: dict[str, dict[str, Any]] = {
        "move": _times(rng, start, days),
        "cancel": {"status": "cancelled"},
        "restore": {"status": "scheduled"},
        "unschedule": {"starts_at": None, "ends_at": None},
    }
    return schedule.change_job(job.job_id, **columns.get(what, _details(rng)))


def _add_job(
    schedule: Schedule, rng: Random, job_id: str, worker_id: str, staff: list[str], start: datetime, days: int
) -> list[Change]:
    assigned = [worker_id, rng.choice(staff)] if rng.randrange(12) == 0 else [worker_id]
    status = "cancelled" if rng.randrange(30) == 0 else rng.choice(_STATUSES)
    times = _times(rng, start, days) if rng.randrange(40) else {}
    job = Job(job_id=job_id, site_id=schedule.workers[worker_id].site_id, status=status, **times, **_details(rng))
    return schedule.add_job(job, assigned)


def _times(rng: Random, start: datetime, days: int) -> dict[str, Any]:
    """Returns a start on a quarter of an hour, and an end up to 8 hours later."""
    starts_at = start + timedelta(minutes=15 * rng.randrange(days * 96))
    return {"starts_at": starts_at, "ends_at": starts_at + timedelta(minutes=15 * rng.randint(1, 32))}


def _details(rng: Random) -> dict[str, Any]:
    """Returns the texts of a job. About a quarter of the optional texts are empty."""
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    client = rng.choice(_COMPANIES)
    town, area = rng.choice(_TOWNS)
    postcode = f"{area}{rng.randint(1, 20)} {rng.randint(1, 9)}{rng.choice('ABDEFGH')}{rng.choice('JLNPQRS')}"
    texts = {
        "subject": rng.choice(_WORK),
        "client_name": client,
        "site_name": rng.choice(_PLACES),
        "customer_reference": f"PO-{rng.randrange(100_000):05}",
        "contact_name": f"{first} {last}",
        "contact_mobile": f"07700 900{rng.randrange(1000):03}",
        "contact_phone": f"0113 496 0{rng.randrange(1000):03}",
        "contact_email": f"{_ascii(first)}.{_ascii(last)}@{client.lower()}.example",
        "address": f"{rng.randint(1, 220)} {rng.choice(_STREETS)}\n{town}\n{postcode}",
        "notes": rng.choice(_NOTES),
    }
    return {name: None if rng.randrange(4) == 0 and name != "subject" else text for name, text in texts.items()}


def _calendar_email(rng: Random, site_id: str, number: int) -> str | None:
    if rng.randrange(25) == 0:
        return None
    shared = number > 1 and rng.randrange(40) == 0
    name = f"{_ascii(rng.choice(_FIRST))}.{_ascii(rng.choice(_LAST))}"
    return f"team@{site_id}.example" if shared else f"{name}.{number}@{site_id}.example"


def _ascii(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isascii() and letter.isalpha())
