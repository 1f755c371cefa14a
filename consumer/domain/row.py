"""From a row of Core, as the topic or Core's API has it, to a job. Reads tolerantly: unknown fields are ignored."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from consumer.domain.errors import InvalidRecordError
from consumer.domain.job import Job
from consumer.domain.mailbox import is_usable, normalise
from consumer.json_reader import BrokenText, loads

UNAVAILABLE: Final = "__debezium_unavailable_value"
"""Debezium's placeholder for a large value that the database did not log, since it had not changed."""
_TEXTS: Final = (
    "subject",
    "client_name",
    "site_name",
    "customer_reference",
    "contact_name",
    "contact_mobile",
    "contact_phone",
    "contact_email",
    "address",
    "notes",
)
_TEXT_TYPES: Final = frozenset({str, type(None)})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_REVISION: Final = 2**62
_FIRST_YEAR, _LAST_YEAR = 2, 9998
"""Of times, so that every time zone can show them; also, Graph has no years beyond."""


def is_complete(row: Mapping[str, Any]) -> bool:
    """Whether every value was logged; otherwise the job is read from Core."""
    return not any(isinstance(value, str | list) and UNAVAILABLE in value for value in row.values())


def job_of(row: Mapping[str, Any], addresses: frozenset[str] | None = None) -> Job:
    """The job that a row states.

    Args:
        row: the fields of the contract; times as strings or aware datetimes.
        addresses: the normalised calendar emails, where the row has no ``workers`` of its own.

    Raises:
        InvalidRecordError: names the field at fault, never its content.
    """
    starts_at, ends_at = _time(row, "starts_at"), _time(row, "ends_at")
    if starts_at is not None and ends_at is not None and ends_at < starts_at:
        raise InvalidRecordError("ends_at is before starts_at")
    revision = row.get("revision")
    if isinstance(revision, bool) or not isinstance(revision, int) or not 0 <= revision < _MAX_REVISION:
        raise InvalidRecordError("revision is missing or no whole number")
    addresses, unusable = _addresses(row.get("workers")) if addresses is None else (addresses, 0)
    return Job(
        job_id=_job_id(row),
        site_id=_required(row, "site_id"),
        revision=revision,
        status=_required(row, "status"),
        starts_at=starts_at,
        ends_at=ends_at,
        addresses=addresses,
        unusable_addresses=unusable,
        **_texts(row),
    )


def require_site(job: Job, site_id: str) -> None:
    """Raises ``InvalidRecordError`` for a job of another site than the one that was asked for."""
    if job.site_id != site_id:
        raise InvalidRecordError("site_id is not the site that was asked for")


def _required(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if type(value) is str and value:
        return value
    is_broken = isinstance(value, BrokenText)
    raise InvalidRecordError(f"{name} holds broken characters" if is_broken else f"{name} is missing or no text")


def _job_id(row: Mapping[str, Any]) -> str:
    """The id; without control characters, since it is a part of Redis keys and of the event's tag."""
    job_id = _required(row, "job_id")
    if not job_id.isprintable() and _CONTROL.search(job_id):
        raise InvalidRecordError("job_id holds control characters")
    return job_id


def _texts(row: Mapping[str, Any]) -> dict[str, str | None]:
    texts = {name: row.get(name) for name in _TEXTS}
    if not _TEXT_TYPES.issuperset(map(type, texts.values())):
        [wrong, *_] = (name for name, value in texts.items() if type(value) not in _TEXT_TYPES)
        what = "holds broken characters" if isinstance(texts[wrong], BrokenText) else "is not text"
        raise InvalidRecordError(f"{wrong} {what}")
    return texts


def _time(row: Mapping[str, Any], name: str) -> datetime | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            # RFC 3339 has no hour 24; newer versions of Python read it as the next day's first.
            value = None if value[11:13] == "24" else datetime.fromisoformat(value)
        except ValueError:
            value = None
        if value is None:
            raise InvalidRecordError(f"{name} is not an RFC 3339 time")
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidRecordError(f"{name} is not a time with an offset")
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise InvalidRecordError(f"{name} is out of range")
    return value.astimezone(UTC)


def _addresses(workers: Any) -> tuple[frozenset[str], int]:
    """The mailboxes of the workers, and how many workers have an unusable address.

    Workers that cannot be read are an invalid record, never "nobody". An unusable address is not: the record is for
    the other workers too. See :func:`consumer.domain.job.may_conceal`.
    """
    workers = _parsed(workers)
    if not isinstance(workers, list):
        raise InvalidRecordError("workers is missing or no list")
    found, unusable = set(), 0
    for worker in map(_parsed, workers):  # of PostgreSQL's jsonb[] Debezium makes an array of texts
        if not isinstance(worker, Mapping) or not isinstance(worker.get("worker_id"), str):
            raise InvalidRecordError("workers has an entry without worker_id")
        email = worker.get("calendar_email")
        if email is not None and not isinstance(email, str):
            raise InvalidRecordError("workers has a calendar_email that is not text")
        if email is None or (address := normalise(email)) is None:
            continue
        if is_usable(email):
            found.add(address)
        else:
            unusable += 1
    return frozenset(found), unusable


def _parsed(workers: Any) -> Any:
    if not isinstance(workers, str):
        return workers
    try:
        return loads(workers)
    except ValueError:
        raise InvalidRecordError("workers is not JSON") from None
