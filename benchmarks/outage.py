"""An hour without Graph while Core continues: what it costs meanwhile, and how the backlog is processed."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx

from benchmarks.rig import ROLES, SITE, Figures, Rig, cpu_seconds, ready
from sandbox.control import GraphControl, Secret
from sandbox.core.feed import Encoder
from sandbox.core.producer import FeedProducer
from sandbox.core.rows import Change, Site, Worker
from sandbox.core.schedule import Schedule
from sandbox.oracle import compare, expect
from sandbox.servers.kafka import Kafka
from sandbox.servers.redis import debian_redis
from sandbox.stack import SECRET, Service, Stack, stand_in, url_of

_HOUR = timedelta(hours=1)
_LOOK_SECONDS = 0.25
_STILL_SECONDS = 15.0
"""Without progress for this time, consumption has paused for good."""
_ANSWER_SECONDS = 30.0
_LAG_SECONDS = 6.0
"""After this time the replica has asked the broker again for its lag."""
_WRITES = ("create", "update", "delete")


@dataclass(frozen=True, slots=True)
class Outage:
    """The measurements of one outage."""

    jobs: int
    changes: int
    covered: float
    """Changes that were done during the outage because a later change covers them."""
    seconds_to_read: float
    """From the first change on the topic until no more could be done without Graph."""
    seconds_to_work_off: float
    """From Graph's return until every change was done."""
    cpu_seconds: float
    """CPU time of the replica in total."""
    before: float
    """Memory at the beginning, in MiB."""
    quarter: float
    """The same after a quarter of the changes: by then nearly every job has been seen."""
    read: float
    """The same after all changes were read."""
    after: float
    """The same after all changes were done."""
    lag: float
    """Lag in records at the end of the outage, by the replica's metric, over all partitions."""
    lag_seconds: float
    """Age of the oldest unfinished record then."""
    refused: int
    """Writes that Graph refused."""
    writes: int
    """Writes that Graph carried out."""
    results: dict[str, float]
    """The results of the changes, each counted once."""

    @property
    def writes_a_job(self) -> float:
        """1 if each job cost one write, regardless of its number of changes."""
        return self.writes / self.jobs


async def measure_outage(folder: Path, jobs: int, times: int) -> Figures:
    """One replica, real Kafka and Redis; ``jobs`` jobs, half of them new, changed ``times`` times each."""
    async with _world(folder, mailboxes=max(1, jobs // 12)) as world:
        service = world.stack.service()
        with service.process:
            await ready(service)
            await fill(world, service, jobs)
            seen = await live_through(world, service, times, refusing(world.graph))
            wrong = compare(expect(world.schedule, datetime.now(UTC)), await world.graph.events())
        if wrong:
            raise RuntimeError(f"{len(wrong)} differences after the outage, such as: {wrong[0]}")
    return Figures(
        f"{jobs:,} × {times}",
        {
            "changes": seen.changes,
            "done during the outage": seen.covered,
            "reading, seconds": seen.seconds_to_read,
            "working off, seconds": seen.seconds_to_work_off,
            "writes": seen.writes,
            "writes/job": seen.writes_a_job,
            "writes refused": seen.refused,
            "CPU ms/change": seen.cpu_seconds * 1000 / seen.changes,
            "lag, records": seen.lag,
            "lag, seconds": seen.lag_seconds,
            "handed over": seen.results.get("handed_over", 0.0),
            "MiB before": seen.before,
            "MiB at a quarter": seen.quarter,
            "MiB all read": seen.read,
            "MiB worked off": seen.after,
        },
    )


async def fill(world: Rig, service: Service, jobs: int) -> None:
    """Gives the workers ``jobs`` jobs; every other job is published and gets its event, the rest are new later."""
    worker_ids = list(world.schedule.workers)
    made = [world.add_job(n, worker_ids[n % len(worker_ids)]) for n in range(jobs)]
    published = [change for changes in made[::2] for change in changes]
    world.publish(published)

    async def done() -> bool:
        return sum((await _results(service)).values()) >= len(published)

    await _until(done)


async def live_through(world: Rig, service: Service, times: int, outage: AbstractAsyncContextManager[None]) -> Outage:
    """Changes every job ``times`` times during the ``outage``; reads all changes, then processes them."""
    jobs = len(world.schedule.jobs)
    changes, pid = jobs * times, service.process.pid
    started, used, earlier, before = time.monotonic(), cpu_seconds(pid), await _results(service), rss_mib(pid)
    await world.graph.reset_stats()

    async def results() -> dict[str, float]:
        return {result: count - earlier[result] for result, count in (await _results(service)).items()}

    async def worked_off() -> bool:
        return sum((await results()).values()) >= changes

    async with outage:
        async with asyncio.TaskGroup() as tasks:
            broken_off = threading.Event()
            tasks.create_task(asyncio.to_thread(_produce, world, times, broken_off))
            try:
                quarter = await _read_on(results, pid, changes // 4)
                await _read_on(results, pid, changes - jobs)
            except BaseException:
                broken_off.set()
                raise
        seconds_to_read, read, covered = time.monotonic() - started, rss_mib(pid), sum((await results()).values())
        await asyncio.sleep(_LAG_SECONDS)
        lag = sum(await _samples(service, "calsync_kafka_lag"))
        lag_seconds = max(await _samples(service, "calsync_kafka_lag_seconds"))
    returned = time.monotonic()
    await _until(worked_off)
    seconds_to_work_off = time.monotonic() - returned
    requests = (await world.graph.stats())["requests"]
    answers = [each for operation in _WRITES for each in requests.get(operation, {}).items()]
    writes = sum(count for status, count in answers if status.startswith("2"))
    return Outage(
        jobs,
        changes,
        covered,
        seconds_to_read,
        seconds_to_work_off,
        cpu_seconds(pid) - used,
        before,
        quarter,
        read,
        rss_mib(pid),
        lag,
        lag_seconds,
        sum(count for _, count in answers) - writes,
        writes,
        await results(),
    )


@asynccontextmanager
async def refusing(graph: GraphControl, fault: str = "service-unavailable") -> AsyncIterator[None]:
    """Graph fails every request: those on mailboxes, and whole batches."""
    for operation in (None, "batch"):
        await graph.set_fault(fault, operation=operation)
    try:
        yield
    finally:
        await graph.clear_faults()


def rss_mib(pid: int) -> float:
    """The memory that a process uses now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _produce(world: Rig, times: int, broken_off: threading.Event) -> None:
    began = datetime.now(UTC) - _HOUR
    for change, committed in _an_hour_of_changes(world.schedule, times, began):
        if broken_off.is_set():
            return
        world.producer.send(world.encoder.records(change, source_ts_ms=int(committed.timestamp() * 1000)))
    world.producer.flush()


def _an_hour_of_changes(schedule: Schedule, times: int, began: datetime) -> Iterator[tuple[Change, datetime]]:
    """Every job is changed this many times, in random order, so that its changes lie far apart."""
    order = [job_id for job_id in schedule.jobs for _ in range(times)]
    random = Random(1)
    random.shuffle(order)
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    for number, job_id in enumerate(order):
        start = tomorrow + timedelta(minutes=15 * random.randrange(1_500))
        [change] = schedule.change_job(
            job_id, starts_at=start, ends_at=start + timedelta(hours=2), customer_reference=f"PO-{number}"
        )
        yield change, began + _HOUR * (number / len(order))


async def _read_on(results: Callable[[], Awaitable[dict[str, float]]], pid: int, count: int) -> float:
    """Waits until this many changes are done, or none for some seconds; returns the memory then, in MiB."""
    most, grown = 0.0, time.monotonic()
    while True:
        done = sum((await results()).values())
        if done > most:
            most, grown = done, time.monotonic()
        if done >= count or time.monotonic() > grown + _STILL_SECONDS:
            return rss_mib(pid)
        await asyncio.sleep(_LOOK_SECONDS)


async def _until(check: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await check():
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _results(service: Service) -> dict[str, float]:
    text = await _metrics(service)
    return {
        name: float(count)
        for name, count in re.findall(r'^calsync_events_total{result="(\w+)"} (\S+)$', text, re.MULTILINE)
    }


async def _samples(service: Service, name: str) -> list[float]:
    """The values of a gauge, one for each partition; 0 if there are none."""
    return [0.0, *map(float, re.findall(rf"^{name}{{.*}} (\S+)$", await _metrics(service), re.MULTILINE))]


async def _metrics(service: Service) -> str:
    async with httpx.AsyncClient(timeout=_ANSWER_SECONDS) as client:
        return (await client.get(f"{service.url}/metrics")).text


@asynccontextmanager
async def _world(folder: Path, mailboxes: int) -> AsyncIterator[Rig]:
    """The embedded broker keeps a few megabytes a partition: an hour of changes needs a real one."""
    here = folder / "outage"
    here.mkdir()
    with ExitStack() as servers:
        kafka = servers.enter_context(Kafka(here / "kafka"))
        redis = servers.enter_context(debian_redis(here / "redis"))
        graph = servers.enter_context(stand_in("graph", here))
        core = servers.enter_context(stand_in("core", here))
        kafka.create_topic("outage", partitions=12)
        kafka.create_topic("outage.dlq", partitions=1)
        stack = Stack(
            here, kafka.bootstrap_servers, redis.url, url_of(graph), url_of(core), topic="outage", group="outage"
        )
        stack.write_sites([SITE])
        async with GraphControl(stack.graph_url) as control:
            await control.add_tenant(SITE.tenant_id)
            await control.add_app(SITE.tenant_id, SITE.client_id, [Secret(SECRET)], ROLES)
            await control.add_many_mailboxes(SITE.tenant_id, "w{n}@bench.example", mailboxes)
            schedule = staffed(Schedule(lambda: datetime.now(UTC)), mailboxes)
            yield Rig(stack, control, schedule, FeedProducer(kafka.bootstrap_servers, "outage"), Encoder())


def staffed(schedule: Schedule, workers: int) -> Schedule:
    """The schedule with the site, and this many workers with a mailbox."""
    schedule.put_site(Site(SITE.site_id, SITE.name, SITE.timezone))
    for n in range(1, workers + 1):
        schedule.put_worker(Worker(f"w{n}", SITE.site_id, f"w{n}@bench.example"))
    return schedule
