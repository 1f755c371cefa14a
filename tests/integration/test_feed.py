"""Framings, snapshots and unlogged values: what Debezium sends besides plain changes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson

from sandbox.core.feed import Encoder, confluent, schema
from sandbox.core.rows import Job, Worker
from sandbox.stack import stand_in, url_of
from tests.company import Company, eventually, now


async def hired(company: Company) -> Worker:
    """One worker with a mailbox, in a site of the company."""
    company.generate(workers=1, jobs=0)
    worker = Worker("site-1-w1", "site-1", "anna@site-1.example")
    company.schedule.put_worker(worker)
    await company.open_mailboxes()
    return worker


def job(job_id: str, **columns: Any) -> Job:
    start = now() + timedelta(days=2)
    return Job(job_id=job_id, site_id="site-1", starts_at=start, ends_at=start + timedelta(hours=1), **columns)


async def test_values_by_registry_id_wait_for_an_unavailable_registry(company: Company, tmp_path: Path) -> None:
    worker = await hired(company)
    registry = stand_in("registry", tmp_path)
    with registry:
        url = url_of(registry)
        async with httpx.AsyncClient(verify=False) as client:
            body = orjson.dumps({"schema": orjson.dumps(schema("job-changed-value")).decode()})
            answer = await client.post(f"{url}/subjects/{company.stack.topic}-value/versions", content=body)
            schema_id = answer.json()["id"]
            await client.put(f"{url}/_sandbox/fault", json={"kind": "down"})
        company.encoder = Encoder(value_framing=confluent(schema_id))
        company.publish(company.schedule.add_job(job("J1", subject="by id"), [worker.worker_id]))
        service = await company.start(CALSYNC_SCHEMA_REGISTRY_URL=url)

        async def waiting() -> bool:
            return "partition waits" in service.process.log.read_text()

        await eventually(waiting, "the service waits for the registry")
        assert await company.metric(service, 'calsync_dead_letters_total{reason="undecodable"}') == 0
        async with httpx.AsyncClient(verify=False) as client:
            await client.delete(f"{url}/_sandbox/fault")
        await company.consumed()
        await company.judge()


async def test_a_value_that_was_not_logged_is_read_from_core(company: Company) -> None:
    worker = await hired(company)
    [change] = company.schedule.add_job(job("J1", subject="whole", notes="long notes"), [worker.worker_id])
    await company.give_core_the_schedule()
    company.publish_raw(*company.encoder.records(change, unavailable=("notes",)))
    await company.start()
    await company.consumed()
    await company.judge()


async def test_a_value_that_was_not_logged_is_left_to_the_sweep_while_core_is_unavailable(company: Company) -> None:
    worker = await hired(company)
    [change] = company.schedule.add_job(job("J1", notes="long notes"), [worker.worker_id])
    company.publish_raw(*company.encoder.records(change, unavailable=("notes",)))
    service = await company.start(CALSYNC_CORE_API_URL="http://127.0.0.1:1")
    await company.consumed()
    assert await company.metric(service, 'calsync_events_total{result="handed_over"}') == 1
    held = await company.graph.events()
    assert worker.calendar_email in held
    assert not any(held.values())


async def test_snapshot_reads_are_states_like_any_other_but_have_no_latency(company: Company) -> None:
    worker = await hired(company)
    company.schedule.add_job(job("J1", subject="before the connector"), [worker.worker_id])
    company.publish(company.schedule.snapshot())
    service = await company.start()
    await company.consumed()
    await company.judge()
    assert await company.metric(service, "calsync_event_latency_seconds_count") == 0


async def test_a_truncated_table_deletes_nothing_and_is_reported(company: Company) -> None:
    worker = await hired(company)
    company.publish(company.schedule.add_job(job("J1"), [worker.worker_id]))
    service = await company.start()
    await company.consumed()
    before = await company.graph.events()
    assert await company.ours()
    company.publish(company.schedule.truncate())
    await company.consumed()
    assert await company.graph.events() == before
    assert "truncated" in service.process.log.read_text()
