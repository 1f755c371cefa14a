"""Any Avro schema a registry may hold, and any bytes that claim to be of it."""

from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import UndecodableError
from consumer.kafka.writer_schema import WriterSchema

MANY_TYPES = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "float", "type": "float"},
        {"name": "double", "type": "double"},
        {"name": "fixed", "type": {"type": "fixed", "name": "f", "size": 3}},
        {"name": "decimal", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}},
        {"name": "enum", "type": {"type": "enum", "name": "e", "symbols": ["A", "B"]}},
        {"name": "map", "type": {"type": "map", "values": "string"}},
        {"name": "array", "type": {"type": "array", "items": "boolean"}},
        {"name": "date", "type": {"type": "int", "logicalType": "date"}},
        {"name": "millis", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "time", "type": {"type": "long", "logicalType": "time-micros"}},
        {"name": "uuid", "type": {"type": "string", "logicalType": "uuid"}},
    ],
}


@pytest.mark.parametrize("first", range(len(MANY_TYPES["fields"])))
@given(data=st.binary(max_size=40))
def test_random_bytes_of_any_avro_type_raise_nothing_undocumented(first: int, data: bytes) -> None:
    fields = MANY_TYPES["fields"][first:] + MANY_TYPES["fields"][:first]  # type: ignore[index]
    schema = WriterSchema(MANY_TYPES | {"fields": fields})
    try:
        schema.decode(data, 0)
    except UndecodableError:
        return


@pytest.mark.parametrize(
    "schema",
    [
        "Nope",
        5,
        None,
        {},
        {"type": "Nope"},
        {"type": "enum", "name": "e"},
        {"type": "array"},
        {"type": "record", "fields": []},
        {"type": "record", "name": "r", "fields": 5},
        {"type": "record", "name": "r", "fields": [{"name": "a"}]},
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": "other.Referenced"}]},
    ],
)
def test_what_is_no_avro_schema_is_told_by_one_error(schema: Any) -> None:
    with pytest.raises(fastavro.schema.SchemaParseException):
        WriterSchema(schema)
