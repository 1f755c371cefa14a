"""A site's schedule as Core lists it: checked page by page, united by mailbox. A failed read is never a short one."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.domain.errors import CoreUnavailableError, InvalidRecordError
from consumer.domain.job import Job
from consumer.domain.mailbox import is_usable, lowered, normalise
from consumer.domain.row import job_of, require_site
from consumer.unusable import Found, ignore

MOST_MISPLACED: Final = 100
"""Workers of one read that may stand in the wrong place because of their address's white space."""
MOST_MALFORMED: Final = 100
"""Workers of one read without a readable calendar email. More mean another format, not an oversight."""


@dataclass(slots=True)
class Roster:
    """All that Core wants in one mailbox."""

    address: str
    jobs: dict[str, Job] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    """Jobs whose row says something impossible, and what: their events are left as they are."""
    nameless: int = 0
    """Rows that do not say whose they are. Each may be that of any job that is not listed here: as long as there are
    any, no event in this mailbox may be deleted for want of a row."""
    late: bool = False
    """It stood in the wrong place, and comes after all others. Its address may have come before, in its right place,
    for another worker."""
    unnamed_workers: int = 0
    """Entries read until now that name no mailbox; in the last roster, those of the whole list. If there are any, a
    job that the list lacks may be one of theirs."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the schedule, well-formed but not yet in context."""

    workers: tuple[Any, ...]
    next_cursor: str | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Page":
        """Raises ``CoreUnavailableError`` if it is not a page of a schedule; single workers are not judged here."""
        workers, cursor = document.get("workers"), document.get("next_cursor", "")
        if not isinstance(workers, list):
            raise CoreUnavailableError("Core's schedule has a page without workers")
        if cursor is not None and (type(cursor) is not str or not cursor):
            raise CoreUnavailableError("Core's schedule has a page without next_cursor")
        return cls(tuple(workers), cursor)


@dataclass(slots=True)
class _Worker:
    """A worker whose mailbox is known."""

    address: str
    worker_id: str | None
    rows: Any
    is_tidy: bool
    """The address is trimmed as ``core-api.yaml`` orders it, by SQL's ``btrim``, and as we do."""
    late: bool = False
    key: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.address.encode()


async def rosters(site_id: str, pages: AsyncIterator[Page], found: Found = ignore) -> AsyncGenerator[Roster, None]:
    """The mailboxes of a site in ascending order of their addresses' bytes, each once, in constant memory.

    Workers that cannot be assigned to a mailbox are skipped, each reported to ``found``. Their events look as if they
    were not listed: Core is then asked for each job by its id, which protects them. See ``Roster.unnamed_workers``.

    Workers that stand in the wrong place only because Core and we trim addresses differently (a leading tab, a
    no-break space) come at the end, ordered and united among themselves: see ``Roster.late``.

    Raises:
        CoreUnavailableError: any other step backwards, a worker twice, or too many of the above: the list is not what
            the contract promises.
    """
    current: Roster | None = None
    staff: set[str] = set()
    unnamed = _Count()
    async for worker in _in_order(_workers(site_id, pages, found, unnamed)):
        if current is None or (worker.late, worker.address) != (current.late, current.address):
            if current is not None:
                current.unnamed_workers = unnamed.number
                yield current
            current, staff = Roster(worker.address, late=worker.late), set()
        if worker.worker_id is not None:
            if worker.worker_id in staff:
                raise CoreUnavailableError("Core's schedule names a worker twice")
            staff.add(worker.worker_id)
        _unite(current, site_id, worker, found)
    if current is not None:
        current.unnamed_workers = unnamed.number
        yield current


@dataclass(slots=True)
class _Count:
    number: int = 0


async def _workers(site_id: str, pages: AsyncIterator[Page], found: Found, unnamed: _Count) -> AsyncIterator[_Worker]:
    """The workers that have a mailbox, as they come; ``unnamed`` counts the entries that name none."""
    whole = 0
    async for page in pages:
        for entry in page.workers:
            email = entry.get("calendar_email") if isinstance(entry, dict) else None
            if not isinstance(email, str):
                unnamed.number += 1
                found(site_id, "worker", "a worker of the schedule has no calendar_email")
                if unnamed.number > MOST_MALFORMED:
                    raise CoreUnavailableError("Core's schedule names too many workers without calendar_email")
                continue
            whole += 1
            worker_id = entry.get("worker_id") if isinstance(entry.get("worker_id"), str) else None
            address = normalise(email)
            if address is None or not is_usable(email):
                reason = "blank" if address is None else "no mailbox can have this calendar_email"
                found(site_id, "address", reason, worker=worker_id)
                continue
            yield _Worker(address, worker_id, entry.get("jobs"), lowered(email.strip(" ")) == address)
    if unnamed.number and not whole:
        raise CoreUnavailableError("Core's schedule names no worker with calendar_email")


async def _in_order(workers: AsyncIterator[_Worker]) -> AsyncIterator[_Worker]:
    """The workers in order; at the end those that were out of order because of their white space.

    Where an untidy address belongs depends on how Core trims, so it is only judged by the next tidy one: if that is
    smaller, the untidy one has been too early.
    """
    last = b""
    undecided: deque[_Worker] = deque()
    late: list[_Worker] = []

    def misplaced(worker: _Worker) -> None:
        worker.late = True
        late.append(worker)
        if len(late) > MOST_MISPLACED:
            raise CoreUnavailableError("Core's schedule is out of order: it must be ordered by the trimmed addresses")

    async for worker in workers:
        if worker.is_tidy:
            while undecided and undecided[-1].key > worker.key:
                misplaced(undecided.pop())
            while undecided:
                last = undecided[0].key
                yield undecided.popleft()
            if worker.key < last:
                raise CoreUnavailableError("Core's schedule steps backwards")
            last = worker.key
            yield worker
        elif worker.key < (undecided[-1].key if undecided else last):
            misplaced(worker)
        else:
            undecided.append(worker)
            if len(undecided) > MOST_MISPLACED:  # enough are in order to trust the order
                last = undecided[0].key
                yield undecided.popleft()
    for worker in (*undecided, *sorted(late, key=lambda worker: worker.key)):
        yield worker


def _unite(roster: Roster, site_id: str, worker: _Worker, found: Found) -> None:
    if not isinstance(worker.rows, list):
        roster.nameless += 1
        found(site_id, "row", "jobs is missing or no list", worker=worker.worker_id)
        return
    addresses = frozenset({roster.address})
    for row in worker.rows:
        job_id = row.get("job_id") if isinstance(row, dict) else None
        if type(job_id) is not str or not job_id:
            roster.nameless += 1
            found(site_id, "row", "a row without job_id", worker=worker.worker_id)
            continue
        try:
            job = job_of(row, addresses)
            require_site(job, site_id)
        except InvalidRecordError as error:
            roster.unusable[job_id] = str(error)
            found(site_id, "row", str(error), job=job_id)
            continue
        present = roster.jobs.get(job_id)
        if present is None or present.revision < job.revision:
            roster.jobs[job_id] = job
