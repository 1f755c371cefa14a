"""Mistakes of operators, and servers that become unavailable while the service runs."""

import asyncio
import socket
import subprocess
from datetime import timedelta
from pathlib import Path

import httpx

from sandbox.core.rows import Job
from sandbox.servers.embedded import embedded_valkey
from tests.company import Company, eventually, found_company, now
from tests.warm import Warm


def refused(company: Company, **environment: str) -> str:
    """The output of the service when it refuses to run with these settings."""
    service = company.stack.service(**environment)
    process = service.process
    done = subprocess.run(
        process.command, env=dict(process.environment), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


async def test_every_problem_of_the_settings_is_reported_at_once_without_their_values(company: Company) -> None:
    reported = refused(
        company,
        CALSYNC_GRAPH_URL="http://graph.example/v1.0",
        CALSYNC_WINDOW_DAYS="never",
        CALSYNC_REDIS_URL="mysql://user:hidden@host",
        CALSYNC_HTTP_BIND="nowhere",
    )
    assert "CALSYNC_GRAPH_URL: must be https" in reported
    assert "CALSYNC_WINDOW_DAYS" in reported
    assert "CALSYNC_REDIS_URL" in reported
    assert "CALSYNC_HTTP_BIND" in reported
    assert "hidden" not in reported


async def test_a_port_in_use_is_reported_with_its_setting(company: Company) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        reported = refused(company, CALSYNC_HTTP_BIND=f"127.0.0.1:{taken.getsockname()[1]}")
    assert "CALSYNC_HTTP_BIND: cannot listen on 127.0.0.1" in reported
    assert all(line.startswith(("{", "calsync:")) for line in reported.splitlines()), reported


async def test_an_unusable_sites_file_is_reported_with_every_problem(company: Company) -> None:
    company.stack.sites_file.write_text('[[site]]\nid = "Bad Id"\nname = "x"\ntimezone = "Mars/Olympus"\n')
    reported = refused(company)
    assert "id must be small letters" in reported
    assert "timezone is not an IANA time zone" in reported
    assert "tenant_id is missing" in reported


async def test_a_sites_file_broken_while_running_is_reported_and_the_last_good_one_kept(company: Company) -> None:
    company.publish(company.generate(workers=2, jobs=2))
    await company.open_mailboxes()
    service = await company.start()
    company.stack.sites_file.write_text("[[site]\nsecret")

    async def reported() -> bool:
        return "the last good one is kept" in service.process.log.read_text()

    await eventually(reported, "the broken sites file is reported")
    await company.consumed()
    await company.judge()


async def test_work_pauses_while_redis_is_unavailable_and_nothing_is_lost(
    tmp_path: Path, broker: str, warm: Warm
) -> None:
    folder = tmp_path / "valkey"
    folder.mkdir()
    with embedded_valkey(folder, persistent=True) as valkey:
        async with found_company(
            tmp_path,
            broker,
            valkey.url,
            name=f"redis-{tmp_path.name[-8:]}",
            kafka_properties={"fetch.wait.max.ms": "10"},
            warm=warm,
        ) as company:
            company.publish(company.generate(workers=3, jobs=3))
            await company.open_mailboxes()
            service = await company.start()
            await company.consumed()
            await asyncio.to_thread(valkey.stop)
            start = now() + timedelta(days=3)
            worker = next(worker for worker in company.schedule.workers.values() if worker.calendar_email)
            job = Job(job_id="J-late", site_id=worker.site_id, starts_at=start, ends_at=start + timedelta(hours=1))
            company.publish(company.schedule.add_job(job, [worker.worker_id]))

            async def unready() -> bool:
                return not await company.ready(service)

            await eventually(unready, "readiness fails without Redis")
            async with httpx.AsyncClient(verify=False) as client:
                assert (await client.get(f"{service.url}/livez")).status_code == 200
            await asyncio.to_thread(valkey.start)
            await company.consumed()
            await company.judge()
