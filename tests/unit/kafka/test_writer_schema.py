"""Any Avro schema a registry may hold, and any bytes that claim to be of it."""

from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import UndecodableError
from consumer.kafka.writer_schema import WriterSchema

MANY_TYPES: dict[str, Any] = {
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
    fields = MANY_TYPES["fields"][first:] + MANY_TYPES["fields"][:first]
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
        {"type": "record", "name": "r", "fields": {"name": "a", "type": "string"}},
        {"type": "record", "name": "r", "fields": ["a"]},
        {"type": "record", "name": "r", "fields": [None]},
        {"type": "record", "name": "r", "fields": [["a", "string"]]},
        {"type": "record", "name": "r", "fields": [{"name": "a"}]},
        {"type": "record", "name": "r", "fields": [{"name": "a", "type": "other.Referenced"}]},
    ],
)
def test_every_invalid_avro_schema_raises_the_same_error(schema: Any) -> None:
    with pytest.raises(fastavro.schema.SchemaParseException):
        WriterSchema(schema)


@pytest.mark.parametrize(
    "odd",
    [
        {"fields": None},
        {"fields": 5},
        {"fields": {"name": "starts_at"}},
        {"fields": ["starts_at"]},
        {"fields": [None, 5, ["starts_at"], {}]},
        {"fields": [{"name": "starts_at"}]},
        {"fields": [{"name": ["starts_at"], "type": "long"}]},
        {"fields": [{"name": "starts_at", "type": {"type": "long", "connect.name": {}}}]},
        {"fields": [{"name": "starts_at", "type": {"type": "long", "connect.name": [1]}}]},
    ],
)
def test_members_without_a_meaning_for_their_type_are_ignored(odd: dict[str, Any]) -> None:
    schema = WriterSchema({"type": "string"} | odd)
    assert schema.decode(b"\x02x", 0) == "x"
    assert schema.row({"starts_at": 1}) == {"starts_at": 1}


@pytest.mark.parametrize("name", [["io.debezium.time.Timestamp"], {"a": 1}, 5, None])
def test_a_connect_name_that_is_not_a_string_is_ignored(name: Any) -> None:
    field = {"name": "starts_at", "type": ["null", {"type": "long", "connect.name": name}]}
    schema = WriterSchema({"type": "record", "name": "r", "fields": [field]})
    assert schema.row(schema.decode(b"\x02\x02", 0)) == {"starts_at": 1}


def test_a_schema_that_is_nested_too_deep_raises_the_same_error() -> None:
    schema: Any = []
    for _ in range(1_000):
        schema = [schema]
    with pytest.raises(fastavro.schema.SchemaParseException):
        WriterSchema(schema)
