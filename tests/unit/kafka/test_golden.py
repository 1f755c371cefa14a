"""What the real connector put on the topic (tests/golden), read with the schemas that the registry then held."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from consumer.domain.errors import InvalidRecordError, UndecodableError
from consumer.domain.job import Job
from consumer.http import Http
from consumer.kafka.decode import Changed, Decoded, Decoder, Deleted, Incomplete, Truncated
from consumer.kafka.decode_with_registry import decode
from consumer.kafka.record import Epoch, Record
from consumer.kafka.registry import Registry
from tests.golden import captured
from tests.golden.traps import TRAPS

START = datetime(2099, 12, 1, 8, 0, 0, 123456, tzinfo=UTC)
END = datetime(2099, 12, 1, 10, tzinfo=UTC)
ANN = frozenset({"ann@acme.example"})


class Reader:
    """Reads traps as the service does."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._decoder = Decoder(registry)

    async def each(self, trap: str) -> list[Decoded | Exception]:
        """What each record of a trap says, or why it is refused."""
        return [await self.one(record) for record in records(trap)]

    async def one(self, record: Record) -> Decoded | Exception:
        try:
            return await decode(self._decoder, self._registry, record)
        except (UndecodableError, InvalidRecordError) as error:
            return error

    async def jobs(self, trap: str) -> list[Job]:
        """The states in a trap's records. Each record must be a state."""
        found = await self.each(trap)
        assert all(isinstance(each, Changed) for each in found), found
        return [each.job for each in found if isinstance(each, Changed)]


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    async with TestServer(captured.registry().app()) as server:
        http = Http(ca_file=None, timeout=5.0)
        yield Reader(Registry(str(server.make_url("/")), None, http))
        await http.close()


def records(trap: str) -> list[Record]:
    return [
        Record("core.job-changed", 0, offset, record.key, record.value, list(record.headers), 0.0, Epoch(0))
        for offset, record in enumerate(captured.records(trap))
    ]


def committed(said: dict[str, Any]) -> float:
    return float(said["source"]["ts_ms"] / 1000)


async def test_a_row_is_created_changed_and_deleted(reader: Reader) -> None:
    created, changed, *deleted = await reader.each("before")
    says = captured.says("before")
    job = Job("J-1", "acme", 1, "scheduled", "Annual inspection", starts_at=START, ends_at=END, addresses=ANN)
    assert created == Changed(job, committed(says[0]))
    again = replace(job, revision=2, subject="Second visit", addresses=frozenset())
    assert changed == Changed(again, committed(says[1]))
    assert deleted == [Deleted("J-1", committed(says[2])), Deleted("J-1", None)]


async def test_placeholder_values_in_before_are_ignored(reader: Reader) -> None:
    *_, said = captured.says("before")
    assert said["op"] == "d"
    assert (said["before"]["site_id"], said["before"]["revision"], said["before"]["status"]) == ("", 0, "")
    *_, deletion, _ = await reader.each("before")
    assert deletion == Deleted("J-1", committed(said))


async def test_a_whole_row_in_before_is_ignored(reader: Reader) -> None:
    *_, said = captured.says("before-full")
    assert said["before"]["site_id"] == "acme"
    first, second, *deleted = await reader.each("before-full")
    assert isinstance(first, Changed)
    assert isinstance(second, Changed)
    assert second.job == replace(first.job, revision=2, subject="Second visit")
    assert deleted == [Deleted("J-1", committed(said)), Deleted("J-1", None)]


@pytest.mark.parametrize(("trap", "incomplete"), [("toast", [1, 3]), ("toast-array", [1])])
async def test_a_large_value_that_was_not_logged_makes_a_record_incomplete(
    reader: Reader, trap: str, incomplete: list[int]
) -> None:
    said = captured.says(trap)
    for number, found in enumerate(await reader.each(trap)):
        if number in incomplete:
            assert found == Incomplete("J-1", "acme", committed(said[number]))
        else:
            assert isinstance(found, Changed)


async def test_replica_identity_full_logs_a_large_value_that_did_not_change(reader: Reader) -> None:
    first, second, *_ = await reader.each("before-full")
    assert isinstance(first, Changed)
    assert isinstance(second, Changed)
    assert second.job.notes == first.job.notes
    assert len(first.job.notes or "") == 4_000


async def test_snapshots_are_states_without_commit_times(reader: Reader) -> None:
    found = await reader.each("snapshots")
    said = captured.says("snapshots")
    kinds = [each["source"]["snapshot"] for each in said]
    assert kinds == ["first", "true", "last", "false", *["incremental"] * 3]
    states = [(each.job.job_id, each.job.revision, each.committed_at) for each in found if isinstance(each, Changed)]
    assert states == [
        *[("J-1", 1, None), ("J-2", 2, None), ("J-3", 3, None)],
        ("J-2", 4, committed(said[3])),
        *[("J-1", 1, None), ("J-2", 4, None), ("J-3", 3, None)],
    ]
    assert said[-1]["source"]["lsn"] is None


@pytest.mark.parametrize("trap", ["before", "before-full", "references"])
async def test_a_tombstone_alone_is_a_deletion(reader: Reader, trap: str) -> None:
    """After compaction nothing else is left."""
    *_, tombstone = records(trap)
    assert tombstone.value is None
    assert await reader.one(tombstone) == Deleted("J-1", None)


async def test_a_changed_key_is_a_deletion_of_the_old_job_and_a_new_one(reader: Reader) -> None:
    first, deletion, tombstone, created = await reader.each("key-change")
    said = captured.says("key-change")
    assert isinstance(first, Changed)
    assert [deletion, tombstone] == [Deleted("J-1", committed(said[1])), Deleted("J-1", None)]
    assert created == Changed(replace(first.job, job_id="J-2", revision=2), committed(said[2]))
    assert said[1]["source"]["lsn"] == said[2]["source"]["lsn"]
    assert [sorted(name for name, _ in record.headers if "key" in name) for record in records("key-change")] == [
        [],
        ["__debezium.newkey"],
        ["__debezium.newkey"],
        ["__debezium.oldkey"],
    ]


async def test_a_truncation_has_no_key_and_changes_nothing(reader: Reader) -> None:
    _, truncation = await reader.each("truncate")
    assert records("truncate")[1].key is None
    assert truncation == Truncated()


async def test_null_columns_are_empty_but_null_workers_are_invalid(reader: Reader) -> None:
    empty, without_workers = await reader.each("nulls")
    assert isinstance(empty, Changed)
    assert empty.job == Job("J-1", "acme", 1, "scheduled")
    assert isinstance(without_workers, InvalidRecordError)
    assert str(without_workers) == "workers is missing or no list"


async def test_a_nullable_column_with_a_default_is_read_and_its_null_arrives_as_the_default(reader: Reader) -> None:
    """The converter replaces null by the default, so docs/for-cores-team.md forbids such a column."""
    filled, emptied = await reader.jobs("defaults")
    assert (filled.notes, emptied.notes) == ("By the gate.", "Ring the bell.")
    assert filled.addresses == ANN


async def test_records_of_old_and_new_schemas_can_be_on_one_topic(reader: Reader) -> None:
    """A column added, `revision` widened from int to long, a column dropped."""
    jobs = await reader.jobs("evolution")
    assert [job.revision for job in jobs] == [1, 2, 5_000_000_001, 5_000_000_002]
    assert [job.subject for job in jobs] == ["Annual inspection", "Annual inspection", "Widened", "Dropped"]
    assert [job.contact_phone for job in jobs] == [*["0113 496 0000"] * 3, None]
    assert len({(record.value or b"")[:5] for record in records("evolution")}) == 4
    # What was read before is read again, and in any order.
    assert [await reader.one(record) for record in records("evolution")[::-1]] == (await reader.each("evolution"))[::-1]


async def test_apicurios_long_ids_are_reported_with_a_hint(reader: Reader) -> None:
    found = await reader.each("long-ids")
    assert all(isinstance(each, UndecodableError) for each in found)
    assert len(found) == 3
    for each in found:
        assert "8-byte ids" in str(each)
        assert "Default4ByteIdHandler" in str(each)


async def test_ids_in_headers_are_reported_with_a_hint_and_their_values_are_not_decoded(
    reader: Reader,
) -> None:
    """A bare creation begins as Confluent's framing does, and a bare key is text: the wrong job's id."""
    creation, *_, tombstone = records("header-ids")
    assert (creation.value or b"").startswith(b"\0")
    assert (tombstone.key, tombstone.value) == (b"\x06J-1", None)
    found = await reader.each("header-ids")
    assert len(found) == 4
    for each in found:
        assert isinstance(each, UndecodableError)
        assert "headers.enabled" in str(each)


async def test_schemas_in_parts_that_name_one_another_are_read(reader: Reader) -> None:
    found = await reader.each("references")
    said = captured.says("references")
    job = Job("J-1", "acme", 1, "scheduled", "Annual inspection", starts_at=START, ends_at=END, addresses=ANN)
    assert found == [
        Changed(job, committed(said[0])),
        Changed(replace(job, revision=2, subject="Second visit"), committed(said[1])),
        Deleted("J-1", committed(said[2])),
        Deleted("J-1", None),
    ]


async def test_workers_may_be_an_array_of_json(reader: Reader) -> None:
    two, none, null = await reader.each("workers-array")
    assert isinstance(two, Changed)
    assert isinstance(none, Changed)
    assert (two.job.addresses, none.job.addresses) == (ANN, frozenset())
    assert isinstance(null, InvalidRecordError)


@pytest.mark.parametrize(
    ("trap", "microsecond"),
    [
        ("times-zoned", 123456),
        ("times-millis", 123000),
        ("times-micros", 123456),
        ("times-connect", 123000),
        ("times-microseconds", 123000),
        ("times-nanoseconds", 123000),
        ("times-isostring", 123456),
    ],
)
async def test_times_are_the_same_in_every_encoding(reader: Reader, trap: str, microsecond: int) -> None:
    usual, far, none = await reader.jobs(trap)
    assert (usual.starts_at, usual.ends_at) == (START.replace(microsecond=microsecond), END)
    half_before_the_epoch = datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)
    assert (far.starts_at, far.ends_at) == (half_before_the_epoch, datetime(2262, 1, 1, tzinfo=UTC))
    assert (none.starts_at, none.ends_at) == (None, None)


async def test_infinite_times_are_invalid(reader: Reader) -> None:
    always, forever = await reader.each("times-infinite")
    assert isinstance(always, InvalidRecordError)
    assert str(always) == "starts_at is out of range"
    assert isinstance(forever, InvalidRecordError)
    assert str(forever) == "ends_at is not an RFC 3339 time"


async def test_a_heartbeats_time_is_that_of_its_record_and_a_heartbeat_is_not_a_change(reader: Reader) -> None:
    """`Heartbeats` reads the record's time alone."""
    for said, timestamp in zip(captured.says("heartbeats"), captured.timestamps("heartbeats"), strict=True):
        assert 0 <= timestamp - said["ts_ms"] < 10_000
    for each in await reader.each("heartbeats"):
        assert isinstance(each, UndecodableError)


async def test_a_schema_that_the_registry_does_not_know_is_reported_after_two_requests() -> None:
    record, *_ = records("before")
    value_id = int.from_bytes((record.value or b"")[1:5], "big")
    held = captured.registry(without={value_id})
    async with TestServer(held.app()) as server:
        http = Http(ca_file=None, timeout=5.0)
        found = await Reader(Registry(str(server.make_url("/")), None, http)).one(record)
        await http.close()
    assert isinstance(found, UndecodableError)
    assert str(found) == f"the schema registry has no schema {value_id}"
    assert held.requests[f"/schemas/ids/{value_id}"] == 2


def test_the_captured_records_match_the_described_traps() -> None:
    """Otherwise `make capture` is due."""
    assert {file.stem for file in captured.FOLDER.glob("*.json")} == {trap.name for trap in TRAPS}
    for trap in TRAPS:
        document = json.loads((captured.FOLDER / f"{trap.name}.json").read_text(encoding="utf-8"))
        assert document["sql"] == [*trap.prepared, *(step.sql for step in trap.steps)]
        assert document["connector"] == dict(trap.connector)
        assert len(document["records"]) == trap.snapshot + sum(step.records for step in trap.steps)
