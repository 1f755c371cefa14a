"""Records to what they say: every framing, every operation, and bytes that are not a record at all."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import schemas
from consumer.domain.errors import InvalidRecordError, UndecodableError
from consumer.http import Answer
from consumer.kafka.decode import (
    Changed,
    Decoded,
    Decoder,
    Deleted,
    Ignored,
    Incomplete,
    SchemaNeededError,
    Truncated,
)
from consumer.kafka.record import Epoch, Record
from consumer.kafka.registry import Registry
from sandbox.core import feed
from sandbox.core.feed import Encoder, apicurio, confluent, single_object
from sandbox.core.rows import Change, Job, Site, Worker
from sandbox.core.schedule import Schedule

NOW = datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=UTC)
COMMITTED = 1795420800.123
VALUE = json.loads((schemas.FOLDER / "job-changed-value.avsc").read_text(encoding="utf-8"))
KEY = json.loads((schemas.FOLDER / "job-changed-key.avsc").read_text(encoding="utf-8"))
SECRET = "s3cret-content"
ROW = {"job_id": "J-1", "site_id": "acme", "revision": 7, "status": "scheduled", "workers": "[]"}
SOURCE = {
    "version": "3.6",
    "connector": "postgresql",
    "name": "core",
    "ts_ms": 5_000,
    "db": "core",
    "schema": "public",
    "table": "calendar_job",
}


class Documents:
    """A schema registry's answers."""

    def __init__(self, known: dict[int, Any]) -> None:
        self.known = known

    async def request(self, method: str, url: str, **_: Any) -> Answer:
        assert method == "GET"
        schema = self.known.get(int(url.rpartition("/")[2]))
        body = json.dumps({"schema": json.dumps(schema)}).encode()
        return Answer(404 if schema is None else 200, {}, body)


async def decoder(**known: Any) -> Decoder:
    """A decoder to which the registry's schemas are known by id: ``_7=schema``."""
    ids = {int(name.removeprefix("_")): schema for name, schema in known.items()}
    registry = Registry("http://registry.example", None, Documents(ids))  # type: ignore[arg-type]
    for schema_id in ids:
        await registry.fetch(schema_id)
    return Decoder(registry)


LOCAL = Decoder(Registry(None, None, Documents({})))  # type: ignore[arg-type]


def record(key: bytes | None, value: bytes | None) -> Record:
    return Record("core.job-changed", 0, 5, key, value, [], 0.0, Epoch(0))


def sent(*records: feed.Record) -> list[Record]:
    return [record(one.key, one.value) for one in records]


def avro(schema: Any, datum: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(copy.deepcopy(schema)), datum)
    return stream.getvalue()


def envelope(after: dict[str, Any] | None, **parts: Any) -> dict[str, Any]:
    return {"before": None, "after": after, "source": SOURCE, "op": "u", **parts}


def local(datum: dict[str, Any], key: bytes | None = b"J-1") -> Decoded:
    """What a record of this envelope says, in the bundled schema."""
    framing = single_object(feed.schema("job-changed-value"))
    return LOCAL.decode(record(key, framing + avro(VALUE, datum)))


def with_column(name: str, kind: Any) -> Any:
    """The value's schema with a column of another type, or one more."""
    schema = copy.deepcopy(VALUE)
    columns = schema["fields"][0]["type"][1]["fields"]
    columns[:] = [column for column in columns if column["name"] != name]
    columns.append({"name": name, "type": ["null", kind], "default": None})
    return schema


@pytest.fixture
def schedule() -> Schedule:
    schedule = Schedule(lambda: NOW)
    schedule.put_site(Site("acme", "Acme", "Europe/London"))
    schedule.put_worker(Worker("ann", "acme", " Ann@Acme.example"))
    schedule.put_worker(Worker("bob", "acme", None))
    return schedule


def created(schedule: Schedule, **columns: Any) -> Change:
    job = Job(job_id="J-1", site_id="acme", starts_at=NOW, ends_at=NOW + timedelta(hours=1), **columns)
    return schedule.add_job(job, ["ann", "bob"])[0]


@pytest.mark.parametrize("key_framing", [None, confluent(8), single_object(feed.schema("job-changed-key"))])
@pytest.mark.parametrize("value_framing", [None, confluent(7)])
async def test_a_created_row_is_a_job_in_every_framing(
    schedule: Schedule, key_framing: bytes | None, value_framing: bytes | None
) -> None:
    encoder = Encoder(key_framing=key_framing, value_framing=value_framing)
    (change,) = sent(*encoder.records(created(schedule, subject="Lift", notes="a\nb")))
    decoded = (await decoder(_7=VALUE, _8=KEY)).decode(change)
    assert isinstance(decoded, Changed)
    assert (decoded.job.job_id, decoded.job.site_id, decoded.job.revision) == ("J-1", "acme", 1)
    assert (decoded.job.subject, decoded.job.notes, decoded.job.client_name) == ("Lift", "a\nb", None)
    assert decoded.job.scheduled == (NOW, NOW + timedelta(hours=1))
    assert decoded.job.addresses == {"ann@acme.example"}
    assert decoded.committed_at == COMMITTED


def test_a_worker_with_an_unusable_address_is_reported_and_the_others_are_served() -> None:
    found: list[tuple[Any, ...]] = []

    def note(*what: Any, **where: Any) -> None:
        found.append((*what[:2], where))

    workers = [
        {"worker_id": "1", "calendar_email": "\tAnn@acme.example\n"},
        {"worker_id": "2", "calendar_email": "bob\u200b@acme.example"},
        {"worker_id": "3\ud83d", "calendar_email": "cid\ud83d@acme.example"},
    ]
    framing = single_object(feed.schema("job-changed-value"))
    reading = Decoder(Registry(None, None, Documents({})), note)  # type: ignore[arg-type]
    row = ROW | {"workers": json.dumps(workers)}
    decoded = reading.decode(record(b"J-1", framing + avro(VALUE, envelope(row))))
    assert isinstance(decoded, Changed)
    assert (set(decoded.job.addresses), decoded.job.unusable_addresses) == ({"ann@acme.example"}, 2)
    assert found == [("acme", "address", {"job": "J-1"})] * 2


async def test_a_key_may_be_an_avro_string(schedule: Schedule) -> None:
    (change,) = Encoder().records(created(schedule))
    key = confluent(9) + avro("string", "J-1")
    assert isinstance((await decoder(_9="string")).decode(record(key, change.value)), Changed)


def test_an_update_is_the_new_state_and_before_is_ignored(schedule: Schedule) -> None:
    created(schedule)
    (change,) = sent(*Encoder().records(schedule.change_job("J-1", subject="Hoist")[0]))
    decoded = LOCAL.decode(change)
    assert isinstance(decoded, Changed)
    assert (decoded.job.subject, decoded.job.revision) == ("Hoist", 2)
    wrong_before = local(envelope(ROW, before=ROW | {"job_id": "J-2", "workers": "nonsense"}))
    assert isinstance(wrong_before, Changed)


def test_a_delete_and_its_tombstone_are_identified_by_their_key(schedule: Schedule) -> None:
    created(schedule)
    deletion, tombstone = sent(*Encoder().records(schedule.delete("J-1")[0]))
    assert LOCAL.decode(deletion) == Deleted("J-1", COMMITTED)
    assert LOCAL.decode(tombstone) == Deleted("J-1", None)


@pytest.mark.parametrize("kind", ["initial", "incremental"])
def test_a_snapshots_row_is_a_state_without_a_commit_time(schedule: Schedule, kind: Any) -> None:
    created(schedule)
    (read,) = schedule.snapshot(kind)
    decoded = LOCAL.decode(*sent(*Encoder().records(read)))
    assert isinstance(decoded, Changed)
    assert decoded.committed_at is None


@pytest.mark.parametrize("snapshot", ["true", "first", "last", "incremental", "last_in_data_collection"])
def test_every_snapshot_marker_except_false_means_no_commit_time(snapshot: str) -> None:
    decoded = local(envelope(ROW, source=SOURCE | {"snapshot": snapshot}))
    assert isinstance(decoded, Changed)
    assert decoded.committed_at is None
    news = local(envelope(ROW, source=SOURCE | {"snapshot": "false"}))
    assert isinstance(news, Changed)
    assert news.committed_at == 5.0


def test_a_truncate_is_reported_and_a_logical_message_is_ignored(schedule: Schedule) -> None:
    (truncate,) = sent(*Encoder().records(schedule.truncate()[0]))
    assert LOCAL.decode(truncate) == Truncated()
    assert local(envelope(None, op="m"), key=None) == Ignored()


@pytest.mark.parametrize("column", ["notes", "workers", "subject"])
def test_a_row_with_a_value_that_was_not_logged_is_incomplete(schedule: Schedule, column: str) -> None:
    (change,) = sent(*Encoder().records(created(schedule), unavailable=[column]))
    assert LOCAL.decode(change) == Incomplete("J-1", "acme", COMMITTED)


def test_an_incomplete_row_without_a_site_is_invalid() -> None:
    with pytest.raises(InvalidRecordError, match="site_id"):
        local(envelope(ROW | {"site_id": "", "notes": feed.UNAVAILABLE}))


def test_a_key_of_another_job_is_invalid(schedule: Schedule) -> None:
    (change,) = Encoder().records(created(schedule))
    with pytest.raises(InvalidRecordError, match="key"):
        LOCAL.decode(record(b"J-2", change.value))


@pytest.mark.parametrize("key", [None, b""])
def test_a_record_without_a_key_is_invalid(schedule: Schedule, key: bytes | None) -> None:
    (change,) = Encoder().records(created(schedule))
    for value in (change.value, None):
        with pytest.raises(InvalidRecordError, match="key"):
            LOCAL.decode(record(key, value))


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"op": SECRET}, "op"),
        ({"after": None}, "after"),
        ({"after": ROW | {"workers": None}}, "workers"),
        ({"after": ROW | {"workers": SECRET}}, "workers"),
        ({"after": ROW | {"status": ""}}, "status"),
        ({"after": ROW | {"starts_at": SECRET}}, "starts_at"),
        ({"after": ROW | {"revision": -1}}, "revision"),
        ({"after": ROW | {"starts_at": "2026-12-01T09:00:00Z", "ends_at": "2026-12-01T08:00:00Z"}}, "ends_at"),
    ],
)
def test_an_impossible_value_is_named_without_its_content(parts: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidRecordError, match=fault) as caught:
        local(envelope(ROW) | parts)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("connect_name", "unit"),
    [
        ("io.debezium.time.Timestamp", 1_000),
        ("org.apache.kafka.connect.data.Timestamp", 1_000),
        ("io.debezium.time.MicroTimestamp", 1_000_000),
        ("io.debezium.time.NanoTimestamp", 1_000_000_000),
    ],
)
async def test_times_may_be_numbers_in_the_unit_of_their_connect_name(connect_name: str, unit: int) -> None:
    schema = with_column("starts_at", {"type": "long", "connect.name": connect_name})
    after = ROW | {"starts_at": 1_795_420_800 * unit + unit // 2, "ends_at": "2027-01-01T00:00:00Z"}
    decoded = (await decoder(_7=schema)).decode(record(b"J-1", confluent(7) + avro(schema, envelope(after))))
    assert isinstance(decoded, Changed)
    assert decoded.job.starts_at == NOW.replace(microsecond=500_000)


@pytest.mark.parametrize("logical", ["timestamp-millis", "timestamp-micros"])
async def test_times_may_be_avros_own_timestamps(logical: str) -> None:
    schema = with_column("starts_at", {"type": "long", "logicalType": logical})
    after = ROW | {"starts_at": NOW, "ends_at": "2027-01-01T00:00:00Z"}
    decoded = (await decoder(_7=schema)).decode(record(b"J-1", confluent(7) + avro(schema, envelope(after))))
    assert isinstance(decoded, Changed)
    assert decoded.job.starts_at == NOW.replace(microsecond=123_000 if logical.endswith("millis") else 123_456)


@pytest.mark.parametrize("number", [9223372036825200000, -9223372036832400000])
async def test_an_infinite_time_is_invalid(number: int) -> None:
    schema = with_column("starts_at", {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"})
    value = confluent(7) + avro(schema, envelope(ROW | {"starts_at": number}))
    with pytest.raises(InvalidRecordError, match="starts_at"):
        (await decoder(_7=schema)).decode(record(b"J-1", value))


async def test_a_number_of_an_unknown_unit_is_not_a_time() -> None:
    schema = with_column("starts_at", "long")
    value = confluent(7) + avro(schema, envelope(ROW | {"starts_at": 5}))
    with pytest.raises(InvalidRecordError, match="starts_at"):
        (await decoder(_7=schema)).decode(record(b"J-1", value))


WORKER = {
    "type": "record",
    "name": "worker",
    "fields": [{"name": "worker_id", "type": "string"}, {"name": "calendar_email", "type": ["null", "string"]}],
}


async def test_workers_may_be_an_array() -> None:
    schema = with_column("workers", {"type": "array", "items": WORKER})
    workers = [{"worker_id": "a", "calendar_email": "A@x.example"}, {"worker_id": "b", "calendar_email": None}]
    value = confluent(7) + avro(schema, envelope(ROW | {"workers": workers}))
    decoded = (await decoder(_7=schema)).decode(record(b"J-1", value))
    assert isinstance(decoded, Changed)
    assert decoded.job.addresses == {"a@x.example"}


async def test_an_array_that_was_not_logged_is_incomplete() -> None:
    schema = with_column("workers", {"type": "array", "items": "string"})
    value = confluent(7) + avro(schema, envelope(ROW | {"workers": [feed.UNAVAILABLE]}))
    assert (await decoder(_7=schema)).decode(record(b"J-1", value)) == Incomplete("J-1", "acme", 5.0)


async def test_an_additional_column_is_ignored() -> None:
    schema = with_column("colour", "string")
    value = confluent(7) + avro(schema, envelope(ROW | {"colour": "red"}))
    assert isinstance((await decoder(_7=schema)).decode(record(b"J-1", value)), Changed)


def test_a_schema_id_is_looked_up_in_the_registry(schedule: Schedule) -> None:
    change = created(schedule)
    for encoder, schema_id in ((Encoder(value_framing=confluent(7)), 7), (Encoder(key_framing=confluent(8)), 8)):
        with pytest.raises(SchemaNeededError) as needed:
            LOCAL.decode(*sent(*encoder.records(change)))
        assert needed.value.schema_id == schema_id


def test_apicurios_long_ids_are_refused_with_a_hint(schedule: Schedule) -> None:
    with pytest.raises(UndecodableError, match="Default4ByteIdHandler"):
        LOCAL.decode(*sent(*Encoder(value_framing=apicurio(7)).records(created(schedule))))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00",
        b"\xc3\x01",
        b"\xc3\x01\x00\x00",
        b"\xc3\x01" + bytes(8) + b"x",
        b'{"op": "u"}',
        b"\x01" + bytes(16),
    ],
)
def test_other_first_bytes_are_undecodable(value: bytes) -> None:
    with pytest.raises(UndecodableError):
        LOCAL.decode(record(b"J-1", value))


async def test_a_datum_that_is_not_a_change_event_is_undecodable() -> None:
    known = await decoder(_7="string", _8=KEY)
    for value in (confluent(7) + avro("string", "op"), confluent(8) + avro(KEY, {"job_id": "J-1"})):
        with pytest.raises(UndecodableError, match="op"):
            known.decode(record(b"J-1", value))


def test_a_key_that_is_not_utf_8_is_undecodable() -> None:
    with pytest.raises(UndecodableError):
        LOCAL.decode(record(b"\xff\xfe", None))


GOOD = single_object(feed.schema("job-changed-value")) + avro(VALUE, envelope(ROW | {"notes": "naïve", "subject": "x"}))


@given(st.integers(0, len(GOOD) - 1))
def test_a_record_that_ends_early_is_undecodable(length: int) -> None:
    with pytest.raises(UndecodableError):
        LOCAL.decode(record(b"J-1", GOOD[:length]))


@given(st.binary(min_size=1, max_size=5))
def test_bytes_after_the_datum_are_undecodable(rest: bytes) -> None:
    with pytest.raises(UndecodableError, match="left over"):
        LOCAL.decode(record(b"J-1", GOOD + rest))


def attempt(known: Decoder, key: bytes | None, value: bytes | None) -> None:
    """Decode; anything but the three documented errors fails the test."""
    try:
        decoded = known.decode(record(key, value))
    except (UndecodableError, InvalidRecordError, SchemaNeededError):
        return
    assert isinstance(decoded, Changed | Incomplete | Deleted | Truncated | Ignored)


FRAMINGS = [b"", b"\x00", confluent(7), GOOD[:10], single_object(feed.schema("job-changed-key"))]
BYTES = st.builds(lambda opening, rest: opening + rest, st.sampled_from(FRAMINGS), st.binary())


@given(st.none() | BYTES, st.none() | BYTES)
def test_random_bytes_raise_nothing_undocumented(key: bytes | None, value: bytes | None) -> None:
    attempt(LOCAL, key, value)


@given(st.lists(st.tuples(st.integers(10, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@example([(11, 0x7F)])
def test_damaged_bytes_raise_nothing_undocumented(damages: list[tuple[int, int]]) -> None:
    damaged = bytearray(GOOD)
    for place, byte in damages:
        damaged[place] = byte
    attempt(LOCAL, b"J-1", bytes(damaged))


def test_a_records_place_and_headers_do_not_change_its_content() -> None:
    one = record(b"J-1", GOOD)
    other = replace(one, topic="t", partition=3, offset=9, headers=[("x", b"y")], timestamp=5.0)
    assert LOCAL.decode(one) == LOCAL.decode(other)
