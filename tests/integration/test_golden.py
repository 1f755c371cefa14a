"""What the real connector put on the topic (tests/golden), through the real service and a registry of its schemas."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestServer

from consumer.sync.receipts import RESULTS
from sandbox.core.feed import Record
from sandbox.core.rows import Site
from sandbox.registry import Fault, Registry
from sandbox.stack import Service
from tests.company import Company, eventually, found_company
from tests.golden import captured
from tests.warm import Warm

READABLE = ("before", "snapshots", "key-change", "truncate", "evolution", "references", "workers-array")
REFUSED = {
    "long-ids": b"8-byte ids",
    "header-ids": b"headers.enabled",
    "times-infinite": b"out of range|not an RFC 3339 time",
}


@pytest.fixture
async def company(tmp_path: Path, broker: str, warm: Warm, valkey_url: str) -> AsyncIterator[Company]:
    """A company of the one site that the captured rows name."""
    name = f"golden-{uuid4().hex[:8]}"
    properties = {"fetch.wait.max.ms": "10"}
    async with found_company(
        tmp_path, broker, valkey_url, name=name, site_ids=("acme",), kafka_properties=properties, warm=warm
    ) as founded:
        founded.schedule.put_site(Site("acme", "Acme", "Europe/London"))
        await founded.give_core_the_schedule()
        yield founded


@asynccontextmanager
async def served(held: Registry) -> AsyncIterator[None]:
    """The registry, for the service and its commands."""
    with pytest.MonkeyPatch.context() as patch:
        async with TestServer(held.app()) as server:
            patch.setenv("CALSYNC_SCHEMA_REGISTRY_URL", str(server.make_url("/")))
            yield


async def done(company: Company, service: Service) -> dict[str, float]:
    """The number of records for each result."""
    counts = {result: await company.metric(service, f'calsync_events_total{{result="{result}"}}') for result in RESULTS}
    return {result: count for result, count in counts.items() if count}


def read(*traps: str) -> list[Record]:
    return [record for trap in traps for record in captured.records(trap)]


async def test_while_the_registry_is_down_records_wait_and_none_is_lost(company: Company) -> None:
    held = captured.registry()
    held.fault = Fault("down")
    records = read(*READABLE)
    company.publish_raw(*records)
    async with served(held):
        service = await company.start()

        async def waiting() -> bool:
            return "partition waits" in service.process.log.read_text()

        await eventually(waiting, "the service waits for the registry")
        assert max(company.committed()) <= 0
        assert await done(company, service) == {}
        held.fault = None
        await company.consumed()
        results = await done(company, service)
    # The last of the arrays of workers is null, which does not mean "no workers".
    assert results.pop("dead_lettered") == 1
    assert sum(results.values()) == len(records) - 1


async def test_a_record_with_an_unknown_schema_is_dead_lettered_and_can_be_replayed_once_the_schema_exists(
    company: Company,
) -> None:
    records = read("before")
    [value_id, *_] = {int.from_bytes(record.value[1:5], "big") for record in records if record.value is not None}
    held = captured.registry(without={value_id})
    company.publish_raw(*records, *read("evolution"))
    async with served(held):
        service = await company.start()
        await company.consumed()
        # The tombstone needs only its key's schema, and later records on the partition are read.
        assert (await done(company, service))["dead_lettered"] == 3
        assert held.requests[f"/schemas/ids/{value_id}"] == 2
        letters = await asyncio.to_thread(company.dead_letters)
        assert {letter.value() for letter in letters} == {record.value for record in records[:3]}
        for letter in letters:
            assert dict(letter.headers())["calsync.reason"].endswith(f"has no schema {value_id}".encode())
        captured.register(held, value_id)
        replayed = await company.command("dead-letters", "replay")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


async def test_an_unreadable_record_becomes_a_whole_dead_letter_with_the_reason(company: Company) -> None:
    reasons = {(record.key, record.value): reason for trap, reason in REFUSED.items() for record in read(trap)}
    company.publish_raw(*read(*REFUSED))
    async with served(captured.registry()):
        service = await company.start()
        await company.consumed()
        assert await done(company, service) == {"dead_lettered": len(reasons)}
    letters = {
        (letter.key(), letter.value()): dict(letter.headers())["calsync.reason"]
        for letter in await asyncio.to_thread(company.dead_letters)
    }
    assert letters.keys() == reasons.keys()
    for record, reason in reasons.items():
        assert re.search(reason, letters[record])
