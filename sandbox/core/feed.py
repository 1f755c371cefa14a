"""Core's change feed: encodes changes of `calendar_job` as the records that Debezium writes, byte for byte.

The shapes come from a real run of Debezium 3.6 on PostgreSQL with Confluent's Avro converter
(docs/facts/kafka.md, part 1; Debezium documentation, PostgreSQL connector). This module is pure: it sends nothing.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final, cast

from fastavro import parse_schema, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

import schemas
from sandbox.core.rows import Change, Job, worker_json

Schema = dict[str, Any]

UNAVAILABLE: Final = "__debezium_unavailable_value"
"""The placeholder for a large value that an update did not change (Debezium's `unavailable.value.placeholder`)."""

HEADERS: Final = (
    ("__debezium.context.connectorLogicalName", b"core"),
    ("__debezium.context.taskId", b"0"),
    ("__debezium.context.connectorName", b"postgresql"),
    ("__debezium.context.runId", b"0197d3c2-6a8e-7c11-9f5e-3a7b0c4d2e10"),
)

_SECOND_US = 1_000_000


def schema(name: str) -> Schema:
    """Returns one of the topic's schemas, ready for fastavro. `name` is the file's name without `.avsc`."""
    document = json.loads((schemas.FOLDER / f"{name}.avsc").read_text(encoding="utf-8"))
    return cast("Schema", parse_schema(document))


def single_object(writer: Schema | str) -> bytes:
    """Returns the prefix of Avro's single-object encoding: `C3 01` and the CRC-64-AVRO fingerprint, little-endian."""
    return b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(writer), "CRC-64-AVRO"))


def confluent(schema_id: int) -> bytes:
    """Returns the prefix of Confluent's framing: a zero byte and the registry's id in four bytes."""
    return b"\0" + schema_id.to_bytes(4, "big")


def apicurio(global_id: int) -> bytes:
    """Returns the prefix of Apicurio 2's framing, which the service refuses: a zero byte and an 8-byte id."""
    return b"\0" + global_id.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class Record:
    """A record for the topic."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = HEADERS


def _value_schema() -> Schema:
    return schema("job-changed-value")


def _key_schema() -> Schema:
    return schema("job-changed-key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """Encodes changes. Without arguments, values are single objects and keys are plain UTF-8.

    `value_framing` and `key_framing` are prefixes of `single_object`, `confluent` or `apicurio`. None encodes the value
    as a single object of `value_schema`, and the key as plain UTF-8. Pass another `value_schema` for a table that has
    changed: its further columns take their defaults.
    """

    value_schema: Schema = field(default_factory=_value_schema)
    value_framing: bytes | None = None
    key_schema: Schema = field(default_factory=_key_schema)
    key_framing: bytes | None = None
    _value_opening: bytes = field(init=False)

    def __post_init__(self) -> None:
        opening = single_object(self.value_schema) if self.value_framing is None else self.value_framing
        object.__setattr__(self, "_value_opening", opening)

    def records(
        self, change: Change, *, source_ts_ms: int | None = None, unavailable: Collection[str] = ()
    ) -> tuple[Record, ...]:
        """Returns the record of a change. For a delete, also returns the tombstone after it.

        `source_ts_ms` replaces the time of the commit (epoch milliseconds). The columns named in `unavailable` contain
        the placeholder, like large values that an update did not change.
        """
        key = None if change.job_id is None else self.key(change.job_id)
        event = Record(key, self.value(change, source_ts_ms=source_ts_ms, unavailable=unavailable))
        return (event, Record(key, None)) if change.op == "d" else (event,)

    def key(self, job_id: str) -> bytes:
        """Returns the key of a job's records."""
        if self.key_framing is None:
            return job_id.encode()
        return self.key_framing + _avro(self.key_schema, {"job_id": job_id})

    def value(self, change: Change, *, source_ts_ms: int | None = None, unavailable: Collection[str] = ()) -> bytes:
        """Returns the value of a change's record. (A tombstone has no value.)"""
        after = None if change.after is None else _columns(change.after)
        if after is not None:
            after.update(dict.fromkeys(unavailable, UNAVAILABLE))
        committed_us = _epoch_us(change.committed_at) if source_ts_ms is None else source_ts_ms * 1000
        seen_us = committed_us + 1500
        envelope = {
            "before": _before(change),
            "after": after,
            "source": _source(change, committed_us),
            "transaction": None,
            "op": change.op,
            "ts_ms": seen_us // 1000,
            "ts_us": seen_us,
            "ts_ns": seen_us * 1000,
        }
        return self._value_opening + _avro(self.value_schema, envelope)


def heartbeat(at: datetime, *, framing: bytes | None = None) -> Record:
    """Returns a record of the heartbeat topic. Its key is plain here; Debezium encodes it as `ServerNameKey`."""
    writer = schema("heartbeat-value")
    opening = single_object(writer) if framing is None else framing
    return Record(b"core", opening + _avro(writer, {"ts_ms": _epoch_us(at) // 1000}))


def zoned_timestamp(moment: datetime | None) -> str | None:
    """Returns a timestamptz value as Debezium's ZonedTimestamp: always UTC, with microseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _columns(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "site_id": job.site_id,
        "revision": job.revision,
        "status": job.status,
        "subject": job.subject,
        "client_name": job.client_name,
        "site_name": job.site_name,
        "customer_reference": job.customer_reference,
        "contact_name": job.contact_name,
        "contact_mobile": job.contact_mobile,
        "contact_phone": job.contact_phone,
        "contact_email": job.contact_email,
        "address": job.address,
        "notes": job.notes,
        "starts_at": zoned_timestamp(job.starts_at),
        "ends_at": zoned_timestamp(job.ends_at),
        "workers": json.dumps([worker_json(worker) for worker in job.workers], ensure_ascii=False),
    }


def _before(change: Change) -> Mapping[str, Any] | None:
    """Returns the old row under REPLICA IDENTITY DEFAULT: the key, and default values where null is not allowed."""
    if change.op != "d":
        return None
    return {"job_id": change.job_id, "site_id": "", "revision": 0, "status": ""}


def _source(change: Change, committed_us: int) -> Mapping[str, Any]:
    last_commit, own = change.sequence
    return {
        "version": "3.6.3.Final",
        "connector": "postgresql",
        "name": "core",
        "ts_ms": committed_us // 1000,
        "snapshot": change.snapshot,
        "db": "core",
        "sequence": json.dumps([None if last_commit is None else str(last_commit), str(own)], separators=(",", ":")),
        "ts_us": committed_us,
        "ts_ns": committed_us * 1000,
        "schema": "public",
        "table": "calendar_job",
        "txId": change.tx_id,
        "lsn": change.lsn,
        "xmin": None,
        "origin": None,
        "origin_lsn": None,
    }


def _epoch_us(moment: datetime) -> int:
    return int(moment.timestamp()) * _SECOND_US + moment.microsecond


def _avro(writer: Schema, datum: Mapping[str, Any]) -> bytes:
    buffer = BytesIO()
    schemaless_writer(buffer, writer, datum)
    return buffer.getvalue()
