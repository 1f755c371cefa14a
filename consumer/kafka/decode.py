"""Decodes records. The first bytes show the framing, and the framing names the schema."""

from dataclasses import dataclass
from typing import Any, Final

from consumer.domain.errors import InvalidRecordError, UndecodableError
from consumer.domain.job import Job
from consumer.domain.row import is_complete, job_of
from consumer.kafka.record import Record
from consumer.kafka.registry import Registry, bundled
from consumer.kafka.writer_schema import WriterSchema
from consumer.unusable import Found, ignore

_REGISTRY: Final = b"\x00"
_REGISTRY_HEADER: Final = 5
_SINGLE_OBJECT: Final = b"\xc3\x01"
_SINGLE_OBJECT_HEADER: Final = 10
_IDS_IN_HEADERS: Final = frozenset(
    {f"apicurio.{part}.{kind}" for part in ("key", "value") for kind in ("contentId", "globalId", "contentHash")}
    | {"__key_schema_id", "__value_schema_id"}
)
"""Headers that converters write when they put the schema's id there. The value then has no framing, and its first bytes
can look like any framing or like text."""


class SchemaNeededError(Exception):
    """The record's schema must be fetched from the registry first."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(schema_id)
        self.schema_id = schema_id


@dataclass(frozen=True, slots=True)
class Changed:
    """The job's new state."""

    job: Job
    committed_at: float | None
    """Unix time of the commit; ``None`` for a snapshot, which reads old commits."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A new state without the values that the database did not log. Core has them."""

    job_id: str
    site_id: str
    committed_at: float | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """The job's row was deleted."""

    job_id: str
    committed_at: float | None


@dataclass(frozen=True, slots=True)
class Truncated:
    """The whole table was emptied. No event is deleted for this, but it is logged."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A logical-decoding message, which is not about jobs."""


Decoded = Changed | Incomplete | Deleted | Truncated | Ignored


class Decoder:
    """Decodes records with their writers' schemas."""

    def __init__(self, registry: Registry, found: Found = ignore) -> None:
        """``found`` is called for each worker whose calendar email cannot be the address of a mailbox."""
        self._registry = registry
        self._found = found
        self._bundled = bundled()

    def decode(self, record: Record) -> Decoded:
        """The record's content.

        Raises:
            SchemaNeededError: this schema must be fetched first.
            UndecodableError: the bytes are not a change event.
            InvalidRecordError: the record can be read, but its values are impossible.
        """
        if record.headers and not _IDS_IN_HEADERS.isdisjoint(name for name, _ in record.headers):
            raise UndecodableError(
                "the schema's id is in the record's headers; set the converter's headers.enabled to false, so that "
                "it stands before the datum"
            )
        if record.value is None:
            # A record without a value. After compaction it may be all that is left of a deletion.
            return Deleted(self._job_id(record.key), None)
        schema, start = self._schema(record.value)
        envelope = schema.decode(record.value, start)
        if not isinstance(envelope, dict) or "op" not in envelope:
            raise UndecodableError("the value is not a change event: it has no op")
        return self._change(record, schema, envelope)

    def _change(self, record: Record, schema: WriterSchema, envelope: dict[str, Any]) -> Decoded:
        operation = envelope["op"]
        if operation == "t":
            return Truncated()
        if operation == "m":
            return Ignored()
        job_id = self._job_id(record.key)
        committed_at = _committed_at(envelope, operation)
        if operation == "d":
            return Deleted(job_id, committed_at)
        if operation not in ("c", "u", "r"):
            raise InvalidRecordError("op is not one of c, u, d, r, t, m")
        after = envelope.get("after")
        if not isinstance(after, dict):
            raise InvalidRecordError(f"after is empty in a record with op {operation}")
        if after.get("job_id") != job_id:
            raise InvalidRecordError("the key is not after.job_id")
        row = schema.row(after)
        if not is_complete(row):
            site_id = row.get("site_id")
            if not isinstance(site_id, str) or not site_id:
                raise InvalidRecordError("site_id is missing or not a string")
            return Incomplete(job_id, site_id, committed_at)
        job = job_of(row)
        for _ in range(job.unusable_addresses):
            self._found(job.site_id, "address", "no mailbox can have this calendar_email", job=job_id)
        return Changed(job, committed_at)

    def _schema(self, data: bytes) -> tuple[WriterSchema, int]:
        if data.startswith(_SINGLE_OBJECT) and len(data) >= _SINGLE_OBJECT_HEADER:
            schema = self._bundled.get(data[2:_SINGLE_OBJECT_HEADER])
            if schema is None:
                raise UndecodableError("the single-object fingerprint matches no schema under schemas/")
            return schema, _SINGLE_OBJECT_HEADER
        if data.startswith(_REGISTRY) and len(data) >= _REGISTRY_HEADER:
            schema_id = int.from_bytes(data[1:_REGISTRY_HEADER], "big")
            if schema_id == 0:
                raise UndecodableError(
                    "schema id 0: this looks like Apicurio's 8-byte ids; set the converter's id-handler to "
                    "Default4ByteIdHandler"
                )
            known = self._registry.get(schema_id)
            if known is None:
                raise SchemaNeededError(schema_id)
            return known, _REGISTRY_HEADER
        raise UndecodableError("the first bytes are neither a schema-registry id nor an Avro single object")

    def _job_id(self, key: bytes | None) -> str:
        if not key:
            raise InvalidRecordError("the record has no key; it must be the job id")
        if key.startswith((_REGISTRY, _SINGLE_OBJECT)):
            schema, start = self._schema(key)
            datum = schema.decode(key, start)
            job_id = datum.get("job_id") if isinstance(datum, dict) else datum
        else:
            try:
                job_id = key.decode()
            except UnicodeDecodeError:
                raise UndecodableError("the key is neither UTF-8 nor Avro") from None
        if not isinstance(job_id, str) or not job_id:
            raise InvalidRecordError("the key contains no job id")
        return job_id


def _committed_at(envelope: dict[str, Any], operation: str) -> float | None:
    source = envelope.get("source")
    if not isinstance(source, dict) or operation == "r":
        return None
    milliseconds = source.get("ts_ms")
    # Every value except "false" marks a part of a snapshot; in a table of one row it is "last".
    if not isinstance(milliseconds, int) or source.get("snapshot") not in (None, "false"):
        return None
    return milliseconds / 1000
