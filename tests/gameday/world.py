"""The world of the game day: real Kafka, Redis, Prometheus and Alertmanager; the sandbox's Graph and Core; the service.

Three replicas serve four sites under a few changes a second. Their sweeps and waits, the group's session and Debezium's
heartbeat are as much quicker as the alerts are.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

import httpx
import redis
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from sandbox.control import GraphControl, Secret
from sandbox.core.feed import Record
from sandbox.core.producer import FeedProducer
from sandbox.core.rows import Job, Site, Worker
from sandbox.core.schedule import Schedule
from sandbox.oracle import compare, expect
from sandbox.servers.redis import RedisServer, debian_redis
from sandbox.stack import SECRET, Service, SiteSpec, Stack, stand_in, url_of
from tests.company import now
from tests.gameday.feeds import SILENT, Feed, debezium_feed, stand_in_feed
from tests.gameday.monitoring import Monitoring, Sources
from tests.gameday.pager import Pager

REPLICAS: Final = 3
ROLES: Final = ("Calendars.ReadWrite", "MailboxSettings.Read")
SITE_IDS: Final = ("acme", "contoso", "fabrikam", "northwind")

_WORKERS: Final = 5
_JOBS: Final = 8
_CHANGES_A_SECOND: Final = 3.0
_SWEEP_SECONDS: Final = 300.0
_SESSION_SECONDS: Final = 3.0
"""Not divided by the factor: a busy machine must not end the session of a replica that lives."""
_READY_WITHIN: Final = 60.0
_QUIET_SECONDS: Final = 1.0


@dataclass(slots=True)
class World:
    """Everything that a fault may break, and that a repair mends."""

    stack: Stack
    graph: GraphControl
    feed: Feed
    redis: RedisServer
    replicas: list[Service]
    monitoring: Monitoring
    pager: Pager
    factor: float
    sites: dict[str, SiteSpec]
    topic: FeedProducer
    random: Random = field(default_factory=lambda: Random(1))
    jobs: list[str] = field(default_factory=list)
    """The jobs that planners change."""
    planning: bool = True
    """Whether planners change jobs now."""

    def put_site(self, site: SiteSpec) -> None:
        """Writes the sites file with this site changed."""
        self.sites[site.site_id] = site
        self.stack.write_sites(list(self.sites.values()))

    async def set_secret(self, site_id: str, *, expires: datetime | None) -> None:
        """Gives a site a client secret that expires then, in Entra and in the sites file. Old tokens are revoked."""
        site = self.sites[site_id]
        secret = Secret(SECRET, expires=None if expires is None else expires.timestamp())
        await self.graph.add_app(site.tenant_id, site.client_id, [secret])
        await self.graph.revoke_tokens(site.tenant_id)
        self.put_site(replace(site, client_secret_expires=expires and expires.date()))

    async def set_roles(self, site_id: str, *roles: str) -> None:
        """Gives a site's app these roles, and no others. Old tokens are revoked."""
        site = self.sites[site_id]
        await self.graph.add_app(site.tenant_id, site.client_id, roles=roles)
        await self.graph.revoke_tokens(site.tenant_id)

    def configure_redis(self, **parameters: str) -> None:
        with redis.Redis(port=self.redis.port) as client:
            for name, value in parameters.items():
                client.config_set(name.replace("_", "-"), value)

    def limit_dead_letters(self, size: str | None) -> None:
        """Sets the largest record that the dead-letter topic takes, in bytes. None: Kafka's own limit."""
        operation = AlterConfigOpType.DELETE if size is None else AlterConfigOpType.SET
        entry = ConfigEntry("max.message.bytes", size, incremental_operation=operation)
        topic = ConfigResource(ConfigResource.Type.TOPIC, f"{self.stack.topic}.dlq", incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": self.stack.bootstrap_servers, **SILENT})
        admin.incremental_alter_configs([topic])[topic].result(_READY_WITHIN)

    async def poison(self, count: int) -> None:
        """Puts unreadable records on one partition, with no readable one between them."""
        record = Record(self.jobs[0].encode(), b"not a record of Core")
        planning, self.planning = self.planning, False
        await asyncio.sleep(_QUIET_SECONDS)
        self.topic.send([record] * count)
        await asyncio.to_thread(self.topic.flush)
        self.planning = planning

    async def start_replica(self, replica: Service) -> None:
        await asyncio.to_thread(replica.process.start)
        deadline = time.monotonic() + _READY_WITHIN
        async with httpx.AsyncClient() as client:
            while (await client.get(f"{replica.url}/readyz")).status_code != 200:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{replica.process.name} is not ready; see {replica.process.log}")
                await asyncio.sleep(0.2)

    async def command(self, *arguments: str) -> None:
        """Runs `calsync` with these arguments. Raises RuntimeError with its output if it fails."""
        process = self.stack.service("command").process
        child = await asyncio.create_subprocess_exec(
            str(process.command[0]),
            *arguments,
            env={**os.environ, **process.environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"calsync {' '.join(arguments)}: {output.decode()}")

    async def differences(self) -> list[str]:
        """Returns what differs between the calendars and Core's schedule."""
        return compare(expect(await self.feed.schedule(), now()), await self.graph.events())

    async def plan(self) -> None:
        """Changes a job a few times a second, for ever."""
        while True:
            await asyncio.sleep(self.random.expovariate(_CHANGES_A_SECOND))
            if self.planning and self.feed.plans:
                await self.feed.change(self.random.choice(self.jobs), f"PO-{self.random.randrange(100_000):05}")


@asynccontextmanager
async def found_world(folder: Path, factor: float, sources: Sources, *, debezium: bool = False) -> AsyncIterator[World]:
    """Runs the world while the context lasts: every site is swept, and monitoring has seen each replica.

    With `debezium`, Core's feed is the real chain.
    """
    redis_server, graph, pager = debian_redis(folder), stand_in("graph", folder), Pager()
    async with AsyncExitStack() as opened:
        for server in (redis_server, graph):
            opened.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start)
        feed = await opened.enter_async_context((debezium_feed if debezium else stand_in_feed)(folder, factor))
        kafka = feed.kafka.bootstrap_servers
        stack = Stack(folder, kafka, redis_server.url, url_of(graph), feed.core.url)
        stack.kafka_properties = {
            "session.timeout.ms": f"{_SESSION_SECONDS * 1000:.0f}",
            "heartbeat.interval.ms": f"{_SESSION_SECONDS * 1000 / 3:.0f}",
        }
        replicas = [_replica(stack, feed, number, factor) for number in range(1, REPLICAS + 1)]
        await opened.enter_async_context(pager)
        targets = {replica.process.name: f"127.0.0.1:{replica.port}" for replica in replicas}
        world = World(
            stack,
            await opened.enter_async_context(GraphControl(url_of(graph))),
            feed,
            redis_server,
            replicas,
            Monitoring(folder, sources, factor, targets, pager.url),
            pager,
            factor,
            sites={site_id: SiteSpec(site_id, site_id.title()) for site_id in SITE_IDS},
            topic=FeedProducer(kafka, stack.topic, SILENT),
        )
        await _furnish(world)
        for replica in replicas:
            opened.push_async_callback(asyncio.to_thread, replica.process.stop)
        await asyncio.gather(*(world.start_replica(replica) for replica in replicas))
        await _settle(world)
        planning = asyncio.create_task(world.plan())
        opened.callback(planning.cancel)
        await opened.enter_async_context(world.monitoring)
        yield world


def _replica(stack: Stack, feed: Feed, number: int, factor: float) -> Service:
    interval = f"{max(1.0, _SWEEP_SECONDS / factor):g}"
    replica = stack.service(f"replica-{number}", CALSYNC_SWEEP_INTERVAL_SECONDS=interval, **feed.environment)
    replica.process.command = [sys.executable, "-m", "tests.gameday.service", f"{factor:g}", "run"]
    return replica


async def _furnish(world: World) -> None:
    """Gives each site a tenant, an app, workers with mailboxes, and jobs."""
    schedule = Schedule(now)
    first = now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    for site in world.sites.values():
        schedule.put_site(Site(site.site_id, site.name, site.timezone))
        await world.graph.add_tenant(site.tenant_id)
        await world.graph.add_app(site.tenant_id, site.client_id, [Secret(SECRET)], ROLES)
        for number in range(1, _WORKERS + 1):
            worker = Worker(f"{site.site_id}-w{number}", site.site_id, f"w{number}@{site.site_id}.example")
            schedule.put_worker(worker)
            for index in range(_JOBS):
                start = first + timedelta(days=2 * index, hours=number)
                schedule.add_job(_job(f"{worker.worker_id}-j{index}", site.site_id, start), [worker.worker_id])
        addresses = [w.calendar_email for w in schedule.workers.values() if w.site_id == site.site_id]
        await world.graph.add_mailboxes(site.tenant_id, [address for address in addresses if address])
    world.jobs = list(schedule.jobs)
    await world.feed.furnish(schedule)
    a_year = now() + timedelta(days=365)
    await world.set_secret(SITE_IDS[0], expires=a_year)


def _job(job_id: str, site_id: str, start: datetime) -> Job:
    return Job(
        job_id=job_id,
        site_id=site_id,
        subject="Annual inspection",
        client_name="Northwind",
        site_name="Plant 4",
        address="1 High Street\nLeeds",
        starts_at=start,
        ends_at=start + timedelta(hours=2),
    )


async def _settle(world: World) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while differences := await world.differences():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the calendars are not filled: {differences[:3]}")
        await asyncio.sleep(0.5)
