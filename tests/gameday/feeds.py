"""Core and its feed: the stand-in that writes what Debezium would, or PostgreSQL with Debezium itself."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from sandbox.chain import CONNECTOR, TOPICS, Chain, found_chain
from sandbox.control import CoreControl
from sandbox.core.document import dump, load
from sandbox.core.feed import heartbeat
from sandbox.core.producer import FeedProducer
from sandbox.core.rows import Job, Site, Worker
from sandbox.core.schedule import Schedule
from sandbox.servers.kafka import Kafka
from sandbox.servers.kafka.topics import create_topics
from sandbox.servers.process import ServerFailedError
from sandbox.servers.psql import Session, literal
from sandbox.stack import stand_in, url_of
from tests.company import now

HEARTBEAT_SECONDS: Final = int(CONNECTOR["config"]["heartbeat.interval.ms"]) / 1_000
"""How often Debezium sends a heartbeat, before the factor divides it."""
SILENT: Final = {"log_level": 0}
"""A producer's own log would only report that a fault disconnects it."""

_WIPE: Final = """
    create table saved_jobs as table jobs;
    create table saved_assignments as table assignments;
    delete from jobs
"""
"""Core's SQL refuses to truncate what the feed captures."""
_RESTORE: Final = """
    insert into jobs table saved_jobs;
    insert into assignments table saved_assignments;
    drop table saved_jobs, saved_assignments
"""


@dataclass(slots=True)
class Feed(ABC):
    """Core, and what brings its changes to the topic. `kafka` has the topics."""

    kafka: Kafka
    core: CoreControl
    """For faults of its API."""
    environment: dict[str, str]
    """What the service needs to read the topic."""
    runs: bool = True
    """Whether changes and heartbeats reach the topic."""

    @property
    def plans(self) -> bool:
        """Whether planners can change jobs now. (A change by the stand-in is always on the topic at once.)"""
        return self.runs

    @abstractmethod
    async def furnish(self, schedule: Schedule) -> None:
        """Gives Core its first schedule."""

    @abstractmethod
    async def change(self, job_id: str, reference: str) -> None:
        """A planner changes a job. What cannot be done now is dropped."""

    @abstractmethod
    async def wipe(self) -> None:
        """Removes every job from Core's table."""

    @abstractmethod
    async def restore(self) -> None:
        """Restores the jobs from before `wipe`."""

    async def stop(self) -> None:
        """Stops changes and heartbeats."""
        self.runs = False

    async def start(self) -> None:
        """Starts them again."""
        self.runs = True

    async def schedule(self) -> Schedule:
        """Returns Core's schedule as its API shows it."""
        return load(Schedule(now), await self.core.schedule())


@dataclass(slots=True)
class StandInFeed(Feed):
    """Core's stand-in writes the records, and `beat` the heartbeats."""

    saved: Any = None

    async def furnish(self, schedule: Schedule) -> None:
        await self.core.put_schedule(dump(schedule))

    async def change(self, job_id: str, reference: str) -> None:
        with suppress(httpx.HTTPError):
            await self.core.change_job(job_id, customer_reference=reference)

    async def wipe(self) -> None:
        self.saved = await self.core.schedule()
        # As after a TRUNCATE, which a connector leaves out: the topic gets no record of it.
        await self.core.put_schedule({**self.saved, "jobs": []})

    async def restore(self) -> None:
        await self.core.put_schedule(self.saved)

    async def beat(self, seconds: float) -> None:
        """Sends a heartbeat at this interval, in seconds, for ever."""
        producer = FeedProducer(self.kafka.bootstrap_servers, list(TOPICS)[2], SILENT)
        while True:
            if self.runs:
                producer.send([heartbeat(now())])
            await asyncio.sleep(seconds)


@dataclass(slots=True)
class DebeziumFeed(Feed):
    """PostgreSQL, Debezium in Kafka Connect, and a schema registry. Planners go on while the feed is stopped."""

    chain: Chain = field(kw_only=True)
    heartbeat_seconds: float = field(kw_only=True)
    session: Session | None = None

    @property
    def plans(self) -> bool:
        return True

    async def furnish(self, schedule: Schedule) -> None:
        sql = _furnishing(schedule.sites.values(), schedule.workers.values(), schedule.jobs.values())
        await asyncio.to_thread(self.chain.core.run, sql)
        config = CONNECTOR["config"] | {"heartbeat.interval.ms": f"{self.heartbeat_seconds * 1_000:.0f}"}
        self.chain.connect.put_connector({**CONNECTOR, "config": config})
        await asyncio.to_thread(self.chain.await_feed)

    async def change(self, job_id: str, reference: str) -> None:
        sql = f"update jobs set customer_reference = {literal(reference)} where job_id = {literal(job_id)}"
        with suppress(ServerFailedError):
            await asyncio.to_thread(self._session().run, sql)

    async def wipe(self) -> None:
        await asyncio.to_thread(self.chain.core.run, _WIPE)

    async def restore(self) -> None:
        await asyncio.to_thread(self.chain.core.run, _RESTORE)

    async def stop(self) -> None:
        await asyncio.to_thread(self.chain.connect.kill)

    async def start(self) -> None:
        await asyncio.to_thread(self.chain.connect.start)
        await asyncio.to_thread(self.chain.await_feed)

    def _session(self) -> Session:
        if self.session is None:
            self.session = self.chain.core.session()
        return self.session


@asynccontextmanager
async def stand_in_feed(folder: Path, factor: float) -> AsyncIterator[Feed]:
    """Runs Kafka and Core's stand-in while the context lasts."""
    kafka = Kafka(folder / "kafka")
    core = stand_in("core", folder, "--bootstrap-servers", kafka.bootstrap_servers)
    async with AsyncExitStack() as opened:
        for server in (kafka, core):
            opened.push_async_callback(asyncio.to_thread, server.stop)
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in (kafka, core)))
        create_topics(kafka.bootstrap_servers, TOPICS)
        control = await opened.enter_async_context(CoreControl(url_of(core)))
        feed = StandInFeed(kafka, control, {})
        task = asyncio.create_task(feed.beat(HEARTBEAT_SECONDS / factor))
        opened.callback(task.cancel)
        yield feed


@asynccontextmanager
async def debezium_feed(folder: Path, factor: float) -> AsyncIterator[Feed]:
    """Runs PostgreSQL, Kafka, a registry and Debezium while the context lasts, with quicker heartbeats."""
    async with AsyncExitStack() as opened:
        servers = found_chain(folder)
        chain = await asyncio.to_thread(servers.__enter__)
        opened.push_async_callback(asyncio.to_thread, servers.__exit__, None, None, None)
        core = stand_in("core", folder, "--database")
        core.environment = chain.postgres.psql.environment
        opened.push_async_callback(asyncio.to_thread, core.stop)
        await asyncio.to_thread(core.start)
        control = await opened.enter_async_context(CoreControl(url_of(core)))
        environment = {"CALSYNC_SCHEMA_REGISTRY_URL": chain.registry.confluent_url}
        yield DebeziumFeed(chain.kafka, control, environment, chain=chain, heartbeat_seconds=HEARTBEAT_SECONDS / factor)


def _furnishing(sites: Iterable[Site], workers: Iterable[Worker], jobs: Iterable[Job]) -> str:
    """Returns the SQL that fills Core's tables."""
    statements = [
        f"insert into sites values ({literal(site.site_id)}, {literal(site.name)}, {literal(site.timezone)})"
        for site in sites
    ]
    statements += [
        "insert into workers values ("
        + ", ".join(map(literal, (worker.worker_id, worker.site_id, worker.worker_id, worker.calendar_email)))
        + ")"
        for worker in workers
    ]
    for job in jobs:
        times = [None if at is None else at.isoformat() for at in (job.starts_at, job.ends_at)]
        values = ", ".join(map(literal, (job.job_id, job.site_id, job.subject, *times)))
        statements.append(f"insert into jobs (job_id, site_id, subject, starts_at, ends_at) values ({values})")
        statements += [
            f"insert into assignments values ({literal(job.job_id)}, {literal(worker.worker_id)})"
            for worker in job.workers
        ]
    return ";\n".join(statements)
