"""A writer's schema, and the encodings of times in it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, Final

import fastavro

from consumer.domain.errors import InvalidRecordError, UndecodableError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_FIELDS: Final = ("starts_at", "ends_at")
_UNITS: Final = {
    "io.debezium.time.Timestamp": 1_000,
    "org.apache.kafka.connect.data.Timestamp": 1_000,
    "io.debezium.time.MicroTimestamp": 1,
    "io.debezium.time.NanoTimestamp": 0,
}
"""Microseconds of one unit; 0 for nanoseconds, which are divided instead."""
_BOX: Final = "_consumer_datum"


class WriterSchema:
    """Decodes data that was written with one schema, and converts its times to ``datetime``."""

    def __init__(self, schema: Any, parts: Sequence[Any] = ()) -> None:
        """``parts`` are the schemas that this one refers to, each after those that it refers to itself.

        Raises:
            fastavro.schema.SchemaParseException: it is not an Avro schema, or refers to one that is not defined.
        """
        named: dict[str, Any] = {}
        try:
            for part in parts:
                fastavro.parse_schema(part, named)
            # fastavro resolves names only inside records, so a union of names cannot be read. A record has the same
            # bytes as its fields, so the schema becomes the only field of one.
            self._schema = fastavro.parse_schema(_boxed(schema) if parts else schema, named)
            self._times = _time_readers([*parts, schema])
        except (fastavro.schema.UnknownType, KeyError, TypeError, RecursionError) as error:
            raise fastavro.schema.SchemaParseException(f"no Avro schema: {type(error).__name__}") from None
        self._boxed = bool(parts)

    def decode(self, data: bytes, start: int) -> Any:
        """Decode the datum that begins at ``start`` and ends with the data.

        Raises:
            UndecodableError: it ends too early or too late, or does not match this schema.
        """
        stream = BytesIO(data)
        stream.seek(start)
        try:
            datum: Any = fastavro.schemaless_reader(stream, self._schema, None)
        except (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
            raise UndecodableError(f"the bytes are not a datum of their schema: {type(error).__name__}") from None
        if stream.tell() != len(data):
            # fastavro ignores the rest. Data of another schema often ends early.
            raise UndecodableError("bytes are left over after the datum")
        return datum[_BOX] if self._boxed else datum

    def row(self, after: dict[str, Any]) -> dict[str, Any]:
        """``after`` with its times as the domain reads them. Raises ``InvalidRecordError`` if one is out of range."""
        for name, read in self._times.items():
            value = after.get(name)
            if isinstance(value, int):
                after[name] = read(value)
        return after


def _boxed(schema: Any) -> dict[str, Any]:
    return {"type": "record", "name": _BOX, "fields": [{"name": _BOX, "type": schema}]}


def _time_readers(schema: Any) -> dict[str, Callable[[int], datetime]]:
    """For each time field that is a number: how to read it, according to the ``connect.name`` of its type."""
    readers: dict[str, Callable[[int], datetime]] = {}
    for field in _fields(schema):
        name, kind = field.get("name"), field.get("type")
        if name not in _TIME_FIELDS:
            continue
        for branch in kind if isinstance(kind, list) else [kind]:
            encoding = branch.get("connect.name") if isinstance(branch, dict) else None
            if isinstance(encoding, str) and encoding in _UNITS:
                readers[name] = _reader(name, _UNITS[encoding])
    return readers


def _fields(schema: Any) -> list[dict[str, Any]]:
    """Every field of every record in the schema.

    fastavro ignores members that have no meaning for their type, so ``fields`` of a type that is not a record may be
    any value. Entries that are not objects are ignored.
    """
    if isinstance(schema, list):
        return [field for branch in schema for field in _fields(branch)]
    if not isinstance(schema, dict):
        return []
    stated, kind = schema.get("fields"), schema.get("type")
    own = [field for field in stated if isinstance(field, dict)] if isinstance(stated, list) else []
    nested = [field for entry in own for field in _fields(entry.get("type"))]
    return [*own, *nested, *(_fields(kind) if isinstance(kind, dict | list) else [])]


def _reader(name: str, unit: int) -> Callable[[int], datetime]:
    def read(value: int) -> datetime:
        microseconds = value * unit if unit else value // 1_000
        try:
            return _EPOCH + timedelta(microseconds=microseconds)
        except OverflowError:
            raise InvalidRecordError(f"{name} is out of range") from None

    return read
