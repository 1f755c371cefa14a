"""A backlog: how fast the service processes it, compared with the simplest loop."""

import asyncio
import time
from pathlib import Path

import httpx
from confluent_kafka import Consumer

from benchmarks.rig import SITE, Figures, cpu_seconds, memory_mib, reached, ready, rig, sample
from sandbox.stack import SECRET

_APPLIED = 'calsync_events_total{result="applied"}'


async def measure_backlog(folder: Path, changes: int, mailboxes: int, latency_ms: float) -> Figures:
    """One replica, each job changed once: ordering, links in Redis and commits included."""
    async with rig(folder, "backlog", mailboxes, latency_ms) as world:
        worker_ids = list(world.schedule.workers)
        backlog = [
            change for n in range(changes) for change in world.add_job(n, worker_ids[n * 7919 % len(worker_ids)])
        ]
        world.publish(backlog)
        service = world.stack.service()
        with service.process:
            await ready(service)
            await reached(service, _APPLIED, 1)
            pid = service.process.pid
            first, started, used = await sample(service, _APPLIED), time.monotonic(), cpu_seconds(pid)
            done = await reached(service, _APPLIED, changes)
            seconds, cpu = time.monotonic() - started, cpu_seconds(pid) - used
            return Figures(
                "calsync",
                {
                    "writes": done - first,
                    "writes/s": (done - first) / seconds,
                    "CPU ms/write": cpu * 1000 / (done - first),
                    "MiB": memory_mib(pid),
                },
            )


async def measure_naive(folder: Path, changes: int, latency_ms: float) -> Figures:
    """Poll, post, commit: without order, without memory, one request at a time."""
    async with rig(folder, "naive", 50, latency_ms) as world:
        for n in range(changes):
            world.publish(world.add_job(n, f"w{n % 50 + 1}"), flush=False)
        world.producer.flush()
        return await asyncio.to_thread(_naive, world.stack.bootstrap_servers, world.stack.graph_url, changes)


def _naive(bootstrap_servers: str, graph_url: str, changes: int) -> Figures:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "naive",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
        }
    )
    consumer.subscribe(["naive"])
    with httpx.Client() as client:
        form = {
            "grant_type": "client_credentials",
            "client_id": SITE.client_id,
            "client_secret": SECRET,
            "scope": "https://graph.microsoft.com/.default",
        }
        token = client.post(f"{graph_url}/{SITE.tenant_id}/oauth2/v2.0/token", data=form).json()["access_token"]
        started, used, done = 0.0, 0.0, 0
        while done < changes:
            message = consumer.poll(1)
            if message is None or message.error():
                continue
            if not done:
                started, used = time.monotonic(), time.process_time()
            event = {
                "subject": "Core Job",
                "start": {"dateTime": "2026-12-01T09:00:00", "timeZone": "UTC"},
                "end": {"dateTime": "2026-12-01T10:00:00", "timeZone": "UTC"},
            }
            answer = client.post(
                f"{graph_url}/v1.0/users/w{done % 50 + 1}@bench.example/events",
                json=event,
                headers={"Authorization": f"Bearer {token}"},
            )
            answer.raise_for_status()
            consumer.commit(message=message, asynchronous=False)
            done += 1
    seconds, cpu = time.monotonic() - started, time.process_time() - used
    consumer.close()
    return Figures(
        "poll, post, commit", {"writes": done, "writes/s": done / seconds, "CPU ms/write": cpu * 1000 / done}
    )
