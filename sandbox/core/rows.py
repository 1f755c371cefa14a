"""The rows of Core's database: sites, workers and `calendar_job`, and the changes of `calendar_job`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

Op = Literal["c", "u", "d", "r", "t"]
"""Debezium's operations: create, update, delete, read (by a snapshot), truncate."""


@dataclass(frozen=True, slots=True)
class Site:
    """One customer of Core."""

    site_id: str
    name: str
    timezone: str
    """IANA name."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A Core user of one site. A worker without a calendar email has no mailbox."""

    worker_id: str
    site_id: str
    calendar_email: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of `calendar_job`. `workers` are the assigned workers, as in the row's JSON column."""

    job_id: str
    site_id: str
    revision: int = 0
    status: str = "scheduled"
    subject: str | None = None
    client_name: str | None = None
    site_name: str | None = None
    customer_reference: str | None = None
    contact_name: str | None = None
    contact_mobile: str | None = None
    contact_phone: str | None = None
    contact_email: str | None = None
    address: str | None = None
    notes: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    workers: tuple[Worker, ...] = field(default=())

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Returns whether the job overlaps the half-open range. For a job without length, its start decides."""
        if self.starts_at is None or self.ends_at is None:
            return False
        if self.starts_at == self.ends_at:
            return start <= self.starts_at < end
        return self.starts_at < end and self.ends_at > start


@dataclass(frozen=True, slots=True)
class Change:
    """One change of `calendar_job` as logical decoding sees it, with REPLICA IDENTITY DEFAULT.

    This identity keeps only the key of the old row, so a change contains only the new row
    (docs/facts/kafka.md 1.3; Debezium documentation, PostgreSQL connector, "Replica identity").
    """

    op: Op
    job_id: str | None
    """None for a truncate, which has no key."""
    after: Job | None
    """None for a delete and a truncate."""
    committed_at: datetime
    sequence: tuple[int | None, int]
    """The log position of the last commit before this change (None if there was no commit), and its own position."""
    lsn: int | None
    """None in an incremental snapshot."""
    tx_id: int | None
    """None in an incremental snapshot."""
    snapshot: str = "false"
    """Debezium's `source.snapshot`: `false`, `first`, `true`, `last` or `incremental`."""


JOB_FIELDS = tuple(column.name for column in fields(Job))
TEXT_FIELDS = JOB_FIELDS[JOB_FIELDS.index("subject") : JOB_FIELDS.index("starts_at")]
"""The nullable text columns."""


def worker_json(worker: Worker) -> dict[str, str | None]:
    """Returns a worker as the `workers` column and Core's API show it."""
    return {"worker_id": worker.worker_id, "calendar_email": worker.calendar_email}


def row_json(job: Job, *, workers: bool) -> dict[str, Any]:
    """Returns a job as Core's API shows it. Times stay `datetime`s; the JSON encoder writes them."""
    row: dict[str, Any] = {name: getattr(job, name) for name in JOB_FIELDS if name != "workers"}
    if workers:
        row["workers"] = [worker_json(worker) for worker in job.workers]
    return row


def job_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns in a JSON document, without `workers`. Times are read from RFC 3339.

    Raises ValueError for a name that is not a column, a value of the wrong type or a time without an offset.
    """
    columns: dict[str, Any] = {}
    for name, value in document.items():
        if name == "workers":
            continue
        if name not in JOB_FIELDS:
            raise ValueError(f"calendar_job has no column {name!r}")
        columns[name] = _column(name, value)
    return columns


def _column(name: str, value: Any) -> Any:
    if name == "revision":
        if type(value) is not int:
            raise ValueError(f"{name} must be a whole number, not {value!r}")
        return value
    nullable = name in TEXT_FIELDS or name in {"starts_at", "ends_at"}
    if not (isinstance(value, str) or (nullable and value is None)):
        raise ValueError(f"{name} must be a text, not {value!r}")
    if name in {"starts_at", "ends_at"} and isinstance(value, str):
        return instant(value)
    return value


def instant(text: str) -> datetime:
    """Reads an RFC 3339 date-time and returns it in UTC. Raises ValueError if it is invalid or has no offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return moment.astimezone(UTC)


def with_address(job: Job, worker: Worker) -> Job:
    """Returns the job with the worker's entry in `workers` replaced."""
    return replace(job, workers=tuple(worker if w.worker_id == worker.worker_id else w for w in job.workers))
