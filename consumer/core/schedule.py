"""A site's schedule as Core lists it: checked page by page, united by mailbox. A failed read is never a short one."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from consumer.domain.errors import CoreUnavailableError, InvalidRecordError
from consumer.domain.job import Job
from consumer.domain.mailbox import normalise
from consumer.domain.row import job_of


@dataclass(slots=True)
class Roster:
    """All that Core wants in one mailbox."""

    address: str
    jobs: dict[str, Job] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    """Jobs whose row says something impossible, and what: their events are left as they are."""
    late: bool = False
    """Listed at the end, out of order: Core orders the address otherwise."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the schedule, well-formed but not yet in context."""

    workers: tuple[Mapping[str, Any], ...]
    next_cursor: str | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Page":
        """Raises ``CoreUnavailableError`` for anything that the contract does not have."""
        workers, cursor = document.get("workers"), document.get("next_cursor", "")
        if not isinstance(workers, list) or not all(_is_worker(worker) for worker in workers):
            raise CoreUnavailableError("Core's schedule has a page without well-formed workers")
        if cursor is not None and (not isinstance(cursor, str) or not cursor):
            raise CoreUnavailableError("Core's schedule has a page without next_cursor")
        return cls(tuple(workers), cursor)


async def rosters(site_id: str, pages: AsyncIterator[Page]) -> AsyncIterator[Roster]:
    """The mailboxes of a site in ascending order of their addresses' bytes, each once, in constant memory.

    Raises:
        CoreUnavailableError: a step backwards or a worker twice: the list is not what the contract promises.
    """
    current: Roster | None = None
    staff: set[str] = set()
    async for page in pages:
        for worker in page.workers:
            address = normalise(worker["calendar_email"])
            if address is None:
                raise CoreUnavailableError("Core's schedule names a worker without calendar_email")
            if current is not None and address.encode() < current.address.encode():
                raise CoreUnavailableError("Core's schedule steps backwards")
            if current is None or address != current.address:
                if current is not None:
                    yield current
                current, staff = Roster(address), set()
            if worker["worker_id"] in staff:
                raise CoreUnavailableError("Core's schedule names a worker twice")
            staff.add(worker["worker_id"])
            _unite(current, site_id, worker["jobs"])
    if current is not None:
        yield current


def _unite(roster: Roster, site_id: str, rows: list[Mapping[str, Any]]) -> None:
    addresses = frozenset({roster.address})
    for row in rows:
        job_id = row.get("job_id")
        if not isinstance(job_id, str) or not job_id or row.get("site_id") != site_id:
            raise CoreUnavailableError("Core's schedule has a row without job_id, or of another site")
        try:
            job = job_of(row, addresses)
        except InvalidRecordError as error:
            roster.unusable[job_id] = str(error)
            continue
        present = roster.jobs.get(job_id)
        if present is None or present.revision < job.revision:
            roster.jobs[job_id] = job


def _is_worker(worker: Any) -> bool:
    return (
        isinstance(worker, dict)
        and isinstance(worker.get("worker_id"), str)
        and isinstance(worker.get("calendar_email"), str)
        and isinstance(worker.get("jobs"), list)
        and all(isinstance(row, dict) for row in worker["jobs"])
    )
