"""The stand-ins and the service that is measured."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from sandbox.control import GraphControl, Secret
from sandbox.core.feed import Encoder
from sandbox.core.producer import FeedProducer
from sandbox.core.rows import Change, Job, Site, Worker
from sandbox.core.schedule import Schedule
from sandbox.servers.embedded import embedded_broker, embedded_valkey
from sandbox.stack import SECRET, Service, SiteSpec, Stack, stand_in, url_of

SITE = SiteSpec("bench", "Bench")
ROLES = ("Calendars.ReadWrite", "MailboxSettings.Read")


@dataclass(frozen=True, slots=True)
class Figures:
    """A row of the table."""

    name: str
    values: dict[str, float]


@dataclass(slots=True)
class Rig:
    """One world to measure in."""

    stack: Stack
    graph: GraphControl
    schedule: Schedule
    producer: FeedProducer
    encoder: Encoder

    def publish(self, changes: list[Change], *, flush: bool = True) -> None:
        """Publishes the changes on the topic."""
        for change in changes:
            self.producer.send(self.encoder.records(change))
        if flush:
            self.producer.flush()

    def add_job(self, number: int, worker_id: str) -> list[Change]:
        """A job a day or more from now."""
        return self.schedule.add_job(job(f"J{number}", timedelta(days=1, minutes=number % 20_000)), [worker_id])


def job(job_id: str, ahead: timedelta) -> Job:
    """A job that begins this long from now."""
    start = datetime.now(UTC).replace(microsecond=0) + ahead
    return Job(
        job_id=job_id,
        site_id=SITE.site_id,
        subject="Annual inspection",
        client_name="Northwind",
        site_name="Plant 4",
        contact_name="Sam Field",
        address="1 High Street\nLeeds\nLS1 1AA",
        notes="Ring the bell twice.\nAsk for Sam at the gate.",
        starts_at=start,
        ends_at=start + timedelta(hours=2),
    )


@asynccontextmanager
async def rig(folder: Path, name: str, mailboxes: int, latency_ms: float) -> AsyncIterator[Rig]:
    """Broker, Valkey, Graph and Core, with a worker for each mailbox."""
    here = folder / name
    here.mkdir()
    with ExitStack() as servers:
        broker = servers.enter_context(embedded_broker(here, [name, f"{name}.dlq"]))
        valkey = servers.enter_context(embedded_valkey(here))
        graph = servers.enter_context(stand_in("graph", here, "--latency-ms", str(latency_ms)))
        core = servers.enter_context(stand_in("core", here))
        properties = {"fetch.wait.max.ms": "5"}
        stack = Stack(
            here, broker, valkey.url, url_of(graph), url_of(core), topic=name, group=name, kafka_properties=properties
        )
        stack.write_sites([SITE])
        schedule = Schedule(lambda: datetime.now(UTC))
        schedule.put_site(Site(SITE.site_id, SITE.name, SITE.timezone))
        async with GraphControl(stack.graph_url) as control:
            await control.add_tenant(SITE.tenant_id)
            await control.add_app(SITE.tenant_id, SITE.client_id, [Secret(SECRET)], ROLES)
            await control.add_many_mailboxes(SITE.tenant_id, "w{n}@bench.example", mailboxes)
            for n in range(1, mailboxes + 1):
                schedule.put_worker(Worker(f"w{n}", SITE.site_id, f"w{n}@bench.example"))
            yield Rig(stack, control, schedule, FeedProducer(broker, name), Encoder())


async def ready(service: Service) -> None:
    """Wait until the service is in its group."""
    async with httpx.AsyncClient() as client:
        while True:
            if (await client.get(f"{service.url}/readyz")).status_code == 200:
                return
            await asyncio.sleep(0.02)


async def reached(service: Service, name: str, value: float) -> float:
    """Waits until a sample is at least ``value``; returns it."""
    while True:
        found = await sample(service, name)
        if found >= value:
            return found
        await asyncio.sleep(0.02)


async def sample(service: Service, name: str) -> float:
    """One sample of the service's metrics."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{service.url}/metrics")).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory_mib(pid: int) -> float:
    """The peak memory of a process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
