"""The feed: records as Debezium writes them, in every framing."""

import copy
import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader

import schemas
from sandbox.core.feed import (
    UNAVAILABLE,
    Encoder,
    Schema,
    apicurio,
    confluent,
    heartbeat,
    schema,
    single_object,
)
from sandbox.core.rows import Job, Site, Worker
from sandbox.core.schedule import Schedule

NOW = datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def schedule() -> Schedule:
    schedule = Schedule(lambda: NOW)
    schedule.put_site(Site("acme", "Acme", "Europe/London"))
    schedule.put_worker(Worker("ann", "acme", "Zoë@acme.example"))
    return schedule


def job(**columns: Any) -> Job:
    return Job(job_id="J-1", site_id="acme", starts_at=NOW, ends_at=NOW + timedelta(hours=1), **columns)


def decode(value: bytes | None, writer: Schema, opening: int = 10) -> dict[str, Any]:
    assert value is not None
    buffer = BytesIO(value[opening:])
    decoded = schemaless_reader(buffer, writer, None)
    assert buffer.read() == b""
    assert isinstance(decoded, dict)
    return decoded


def test_a_created_row_is_a_single_object_with_a_plain_key(schedule: Schedule) -> None:
    (record,) = Encoder().records(schedule.add_job(job(notes="a\nb"), ["ann"])[0])

    assert record.key == b"J-1"
    assert record.value is not None
    assert record.value.startswith(single_object(schema("job-changed-value")))
    event = decode(record.value, schema("job-changed-value"))
    assert event["op"] == "c"
    assert event["before"] is None
    assert event["after"]["starts_at"] == "2026-11-23T08:00:00.123456Z"
    assert event["after"]["notes"] == "a\nb"
    assert event["after"]["subject"] is None
    assert json.loads(event["after"]["workers"]) == [{"worker_id": "ann", "calendar_email": "Zoë@acme.example"}]
    assert event["source"]["ts_us"] == 1795420800123456
    assert event["ts_ms"] >= event["source"]["ts_ms"]
    assert "__debezium.context.taskId" in dict(record.headers)


def test_the_single_object_prefix_is_the_little_endian_fingerprint() -> None:
    # The value that the Avro specification's table of CRC-64-AVRO starts from, for the schema "null":
    # 63dd24e7cc258f8a as a number, so 8a8f25cce724dd63 on the wire.
    assert single_object("null").hex() == "c3018a8f25cce724dd63"


def test_a_delete_has_only_its_key_and_is_followed_by_a_tombstone(schedule: Schedule) -> None:
    schedule.add_job(job(subject="Lift"), ["ann"])

    event, tombstone = Encoder().records(schedule.delete("J-1")[0])

    before = decode(event.value, schema("job-changed-value"))["before"]
    assert {name: value for name, value in before.items() if value is not None} == {
        "job_id": "J-1",
        "site_id": "",
        "revision": 0,
        "status": "",
    }
    assert (tombstone.key, tombstone.value) == (b"J-1", None)


def test_a_truncate_has_neither_key_nor_rows(schedule: Schedule) -> None:
    (record,) = Encoder().records(schedule.truncate()[0])
    event = decode(record.value, schema("job-changed-value"))

    assert record.key is None
    assert (event["op"], event["before"], event["after"]) == ("t", None, None)


@pytest.mark.parametrize(
    ("framing", "opening"), [(confluent(7), b"\0\0\0\0\x07"), (apicurio(7), b"\0\0\0\0\0\0\0\0\x07")]
)
def test_values_and_keys_take_a_registrys_framing(schedule: Schedule, framing: bytes, opening: bytes) -> None:
    encoder = Encoder(value_framing=framing, key_framing=framing)
    (record,) = encoder.records(schedule.add_job(job())[0])

    assert record.value is not None
    assert record.key is not None
    assert record.value.startswith(opening)
    assert record.key.startswith(opening)
    assert decode(record.key, schema("job-changed-key"), len(opening)) == {"job_id": "J-1"}


def test_an_incremental_snapshot_has_no_position_but_a_sequence(schedule: Schedule) -> None:
    schedule.add_job(job())
    (change,) = schedule.snapshot("incremental")

    event = decode(Encoder().records(change)[0].value, schema("job-changed-value"))

    assert (event["op"], event["source"]["snapshot"]) == ("r", "incremental")
    assert (event["source"]["lsn"], event["source"]["txId"]) == (None, None)
    assert json.loads(event["source"]["sequence"]) == ["22231288", "22231288"]


def test_the_commit_time_can_be_set_and_columns_can_be_unavailable(schedule: Schedule) -> None:
    (change,) = schedule.add_job(job(notes="long"))

    (record,) = Encoder().records(change, source_ts_ms=1_000_000, unavailable=("notes",))

    event = decode(record.value, schema("job-changed-value"))
    assert event["source"]["ts_ms"] == 1_000_000
    assert event["after"]["notes"] == UNAVAILABLE


def test_a_table_with_a_further_column_has_a_schema_of_its_own(schedule: Schedule) -> None:
    document = json.loads((schemas.FOLDER / "job-changed-value.avsc").read_text(encoding="utf-8"))
    wider = copy.deepcopy(document)
    wider["fields"][0]["type"][1]["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    writer = parse_schema(wider)
    assert isinstance(writer, dict)

    (record,) = Encoder(value_schema=writer).records(schedule.add_job(job())[0])

    assert decode(record.value, writer)["after"]["colour"] is None
    assert single_object(writer) != single_object(schema("job-changed-value"))


def test_a_heartbeat_contains_the_time() -> None:
    record = heartbeat(NOW)

    assert decode(record.value, schema("heartbeat-value")) == {"ts_ms": 1795420800123}
