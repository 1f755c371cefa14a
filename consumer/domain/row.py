"""From a row of Core, as the topic or Core's API has it, to a job. Reads tolerantly: unknown fields are ignored."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from consumer.domain.errors import InvalidRecordError
from consumer.domain.job import Job
from consumer.domain.mailbox import normalise

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
_MAX_REVISION: Final = 2**62


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
    return Job(
        job_id=_required(row, "job_id"),
        site_id=_required(row, "site_id"),
        revision=revision,
        status=_required(row, "status"),
        starts_at=starts_at,
        ends_at=ends_at,
        addresses=_addresses(row.get("workers")) if addresses is None else addresses,
        **_texts(row),
    )


def _required(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRecordError(f"{name} is missing or no text")
    return value


def _texts(row: Mapping[str, Any]) -> dict[str, str | None]:
    texts = {name: row.get(name) for name in _TEXTS}
    if not _TEXT_TYPES.issuperset(map(type, texts.values())):
        [wrong, *_] = (name for name, value in texts.items() if type(value) not in _TEXT_TYPES)
        raise InvalidRecordError(f"{wrong} is no text")
    return texts


def _time(row: Mapping[str, Any], name: str) -> datetime | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRecordError(f"{name} is no RFC 3339 time") from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidRecordError(f"{name} is no time with an offset")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidRecordError(f"{name} is out of range") from None


def _addresses(workers: Any) -> frozenset[str]:
    """The mailboxes of the workers. What cannot be read is an invalid record, never "nobody"."""
    workers = _parsed(workers)
    if not isinstance(workers, list):
        raise InvalidRecordError("workers is missing or no list")
    found = set()
    for worker in map(_parsed, workers):  # of PostgreSQL's jsonb[] Debezium makes an array of texts
        if not isinstance(worker, Mapping) or not isinstance(worker.get("worker_id"), str):
            raise InvalidRecordError("workers has an entry without worker_id")
        email = worker.get("calendar_email")
        if email is not None and not isinstance(email, str):
            raise InvalidRecordError("workers has a calendar_email that is no text")
        if address := normalise(email):
            found.add(address)
    return frozenset(found)


def _parsed(workers: Any) -> Any:
    if not isinstance(workers, str):
        return workers
    try:
        return orjson.loads(workers)
    except orjson.JSONDecodeError:
        raise InvalidRecordError("workers is no JSON") from None
