"""What Core's planners do, as SQL: a company to begin with, and random transactions."""

from datetime import datetime, timedelta
from random import Random

from sandbox.servers.psql import literal

CLIENTS = 6
"""Clients of a site, each with a place and a contact."""
WORKERS = 15
JOBS = 120
ADDRESSES = 3
"""Calendar emails that a worker has over time."""

_WORDS = (
    "Northwind",
    "O'Neill & Sons",
    "Façades <Ltd>",
    "Gráinne's",
    "Łukasz",
    "Plant 4",
    "Dock 12",
    "🔑 key safe",
    "x",
)

_ADD_CLIENT = """
    insert into clients values ('{client}', '{site}', {name});
    insert into places values ('{place}', '{client}', {other_text}, {text});
    insert into contacts values ('{contact}', '{client}', {text}, {other_text}, null, 'contact@client.example')
"""
_ADD_WORKER = "insert into workers values ('{worker}', '{site}', 'Somebody', '{worker}.0@{site}.example')"
_ASSIGN = """
    insert into assignments select job_id, '{worker}' from jobs where job_id = '{job}' on conflict do nothing
"""
_ADD_JOB = f"""
    insert into jobs (job_id, site_id, client_id, place_id, contact_id, subject, notes)
        values ('{{job}}', '{{site}}', '{{client}}', '{{place}}', '{{contact}}', {{text}}, {{notes}})
        on conflict do nothing;
    update jobs set starts_at = {{starts_at}}, ends_at = {{ends_at}} where job_id = '{{job}}'; {_ASSIGN}
"""

_DECISIONS = {
    "update jobs set starts_at = {starts_at}, ends_at = {ends_at} where job_id = '{job}'": 26,
    "update jobs set subject = {text}, notes = {notes} where job_id = '{job}'": 14,
    "update jobs set client_id = '{client}', place_id = '{place}', contact_id = '{contact}' where job_id = '{job}'": 6,
    f"delete from assignments where job_id = '{{job}}'; {_ASSIGN}": 16,
    _ASSIGN: 6,
    "update jobs set status = 'cancelled' where job_id = '{job}'": 4,
    "update jobs set status = 'scheduled' where job_id = '{job}'": 5,
    "update jobs set starts_at = null, ends_at = null where job_id = '{job}'": 3,
    "delete from jobs where job_id = '{job}'": 1,
    _ADD_JOB: 4,
    "update clients set name = {name} where client_id = '{client}'": 3,
    "update places set address = {text} where place_id = '{place}'": 3,
    "update contacts set mobile = {text} where contact_id = '{contact}'": 3,
    "update workers set calendar_email = '{worker}.{address}@{site}.example' where worker_id = '{worker}'": 2,
    "update workers set calendar_email = null where worker_id = '{worker}'": 1,
    "update jobs set price = {address} where job_id = '{job}'": 2,
}
"""Decisions of a planner, and how often each is taken."""


class Planners:
    """The planners of some sites, repeatable by the random source. Jobs begin within 19 days of `start`."""

    def __init__(self, random: Random, site_ids: tuple[str, ...], start: datetime) -> None:
        self._random = random
        self._sites = site_ids
        self._start = start

    def mailboxes(self, site_id: str) -> list[str]:
        """Every address of the site's workers that a transaction may name."""
        return [f"{site_id}-w{n}.{address}@{site_id}.example" for n in range(WORKERS) for address in range(ADDRESSES)]

    def found(self) -> str:
        """The company, as one transaction."""
        statements = []
        for site in self._sites:
            statements.append(f"insert into sites values ('{site}', '{site}', 'Europe/London')")
            statements += [self._fill(_ADD_CLIENT, site, client=number) for number in range(CLIENTS)]
            statements += [self._fill(_ADD_WORKER, site, worker=number) for number in range(WORKERS)]
            statements += [self._fill(_ADD_JOB, site, job=number) for number in range(JOBS)]
        return f"begin; {';'.join(statements)}; commit"

    def transaction(self) -> str:
        """One transaction, of one decision or a few."""
        decisions = self._random.choices(
            list(_DECISIONS), weights=list(_DECISIONS.values()), k=self._random.choice((1, 1, 1, 1, 2, 3))
        )
        statements = [self._fill(decision, self._random.choice(self._sites)) for decision in decisions]
        return f"begin; {';'.join(statements)}; commit"

    def _fill(
        self, sql: str, site: str, *, client: int | None = None, worker: int | None = None, job: int | None = None
    ) -> str:
        """The SQL template, filled with the given ids; ids that are not given are random."""
        starts_at = self._start + timedelta(minutes=15 * self._random.randrange(19 * 96))
        ends_at = starts_at + timedelta(minutes=15 * self._random.randint(1, 32))
        number = self._any(CLIENTS) if client is None else client
        return sql.format(
            site=site,
            client=f"{site}-c{number}",
            place=f"{site}-p{number}",
            contact=f"{site}-k{number}",
            worker=f"{site}-w{self._any(WORKERS) if worker is None else worker}",
            job=f"{site}-j{self._any(JOBS) if job is None else job}",
            address=self._any(ADDRESSES),
            starts_at=literal(starts_at.isoformat()),
            ends_at=literal(ends_at.isoformat()),
            name=literal(self._words()),
            text=self._text(),
            other_text=self._text(),
            notes=self._notes(),
        )

    def _text(self) -> str:
        return literal(self._random.choice((None, "", *[self._words()] * 10)))

    def _notes(self) -> str:
        if self._any(20) == 0:  # too long for its row: PostgreSQL stores it elsewhere
            return literal(" ".join(str(self._random.random()) for _ in range(300)))
        return literal(f"{self._words()}\n{self._words()}")

    def _words(self) -> str:
        return f"{self._random.choice(_WORDS)} {self._any(1000)}"

    def _any(self, count: int) -> int:
        return self._random.randrange(count)
