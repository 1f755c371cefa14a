"""A company to sync: Core's schedule in the test's own hands, its feed on a broker, its calendars in the sandbox."""

import asyncio
import json
import os
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import trustme
from confluent_kafka import Consumer, TopicPartition

from consumer.clock import SystemClock
from consumer.store.store import RedisStore
from sandbox import certificates
from sandbox.control import CoreControl, GraphControl, Mailbox, Secret
from sandbox.core.document import dump
from sandbox.core.feed import Encoder, Record
from sandbox.core.generate import generate
from sandbox.core.producer import FeedProducer
from sandbox.core.rows import Change
from sandbox.core.schedule import Schedule
from sandbox.oracle import compare, expect
from sandbox.servers.process import Launch, Leashed
from sandbox.stack import SECRET, Service, SiteSpec, Stack, stand_in, url_of
from tests.contract.graph_description import description
from tests.contract.graph_rules import breaches, calls
from tests.warm import Done, Warm

ROLES = ("Calendars.ReadWrite", "MailboxSettings.Read")


def now() -> datetime:
    return datetime.now(UTC)


async def eventually(check: Callable[[], Awaitable[Any]], what: str, within: float = 30.0) -> Any:
    """The first true answer of ``check``, asked less and less often; fails with ``what`` if none comes in time."""
    deadline, pause = asyncio.get_running_loop().time() + within, 0.05
    while True:
        answer = await check()
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(pause)
        pause = min(0.3, pause * 1.2)


@dataclass(frozen=True)
class Swept:
    """What ``calsync sweep --json`` said."""

    status: int
    """Its exit status."""
    sites: dict[str, dict[str, Any]]
    """Its rows, by site."""
    errors: str
    """What it wrote beside them."""

    def repairs(self, site_id: str) -> dict[str, int]:
        """How often each cause that occurred did."""
        return {cause: count for cause, count in self.sites[site_id]["repairs"].items() if count}


@dataclass
class Company:
    """Everything a test needs to change Core, to run the service, and to look at the calendars."""

    stack: Stack
    graph: GraphControl
    core: CoreControl
    producer: FeedProducer
    sites: list[SiteSpec]
    random: Random
    schedule: Schedule = field(default_factory=lambda: Schedule(now))
    encoder: Encoder = field(default_factory=Encoder)
    parked: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    """Further addresses of mailboxes, and the mailbox's own."""
    services: list[Service] = field(default_factory=list)
    warm: Warm | None = None
    """Starts commands, if given; else each starts as people start it."""

    def generate(self, *, workers: int, jobs: int, days: int = 19) -> list[Change]:
        """Workers for each site and jobs for each worker, none of them about to begin or to enter the window."""
        return generate(
            self.schedule,
            self.random,
            site_count=len(self.sites),
            workers=workers,
            jobs=jobs,
            start=now() + timedelta(days=1),
            days=days,
        )

    async def open_mailboxes(self, changes: Iterable[Change] = ()) -> None:
        """Give every worker of the schedule a mailbox, and every address that the changes name on the way."""
        workers = [*self.schedule.workers.values()]
        workers += [worker for change in changes if change.after for worker in change.after.workers]
        for site in self.sites:
            addresses = {
                worker.calendar_email.strip()
                for worker in workers
                if worker.site_id == site.site_id and worker.calendar_email
            }
            boxes = [Mailbox(address, time_zone="GMT Standard Time") for address in sorted(addresses)]
            await self.graph.add_mailboxes(site.tenant_id, boxes)

    def publish(self, changes: Iterable[Change]) -> None:
        """Put the changes on the topic, in order."""
        for change in changes:
            self.producer.send(self.encoder.records(change))
        self.producer.flush()

    def publish_raw(self, *records: Record) -> None:
        """Put any bytes on the topic."""
        self.producer.send(records)
        self.producer.flush()

    async def start(self, name: str = "calsync", **environment: str) -> Service:
        """A replica, in the group and ready.

        Unless an interval is given, no sweep is due during the test: the first one, five seconds after the start, would
        now and then repair what the test sweeps for.
        """
        if "CALSYNC_SWEEP_INTERVAL_SECONDS" not in environment:
            store = RedisStore.connect(self.stack.redis_url, f"{self.stack.group}:", SystemClock())
            for site in self.sites:
                await store.claim_sweep(site.site_id, 900.0)
            await store.close()
        service = self.stack.service(name, **environment)
        await asyncio.to_thread(service.process.start)
        self.services.append(service)
        await eventually(lambda: self.ready(service), f"{name} is ready")
        return service

    async def ready(self, service: Service) -> bool:
        async with httpx.AsyncClient(verify=False) as client:
            return (await client.get(f"{service.url}/readyz")).status_code == 200

    async def metric(self, service: Service, sample: str) -> float:
        """The value of one sample, such as ``calsync_events_total{result="applied"}``."""
        async with httpx.AsyncClient(verify=False) as client:
            text = (await client.get(f"{service.url}/metrics")).text
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def give_core_the_schedule(self) -> None:
        """Let Core's API serve the schedule as it is now."""
        await self.core.put_schedule(dump(self.schedule))

    async def command(self, *arguments: str, within: float = 120.0, **environment: str) -> Done:
        """What ``calsync`` with these arguments printed, and its exit status."""
        process = self.stack.service(**environment).process
        environment = {**os.environ, **process.environment}
        if self.warm is not None:
            return await asyncio.to_thread(self.warm.run, arguments, environment, within=within)
        done = await asyncio.to_thread(
            subprocess.run,
            [process.command[0], *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    async def sweep(self, *options: str) -> Swept:
        """Sweep once, now, with the real command."""
        done = await self.command("sweep", "--json", *options)
        assert done.stdout, done.stderr
        sites = {site["site"]: site for site in json.loads(done.stdout)["sites"]}
        return Swept(done.returncode, sites, done.stderr)

    async def sweeps(self, service: Service, site_id: str) -> float:
        """How many sweeps of a site the replica has ended."""
        return await self.metric(service, f'calsync_sweep_seconds_count{{site="{site_id}"}}')

    async def equal(self, within: float = 30.0) -> None:
        """Wait until the calendars equal the schedule."""

        async def none_differs() -> bool:
            return await self.differences() == []

        await eventually(none_differs, "the calendars equal the schedule", within)

    async def writes(self) -> int:
        """Requests that would change a calendar, since the statistics were last reset."""
        requests = (await self.graph.stats())["requests"]
        return sum(sum(requests.get(operation, {}).values()) for operation in ("create", "update", "delete"))

    async def consumed(self, within: float = 60.0, *, besides: Collection[int] = ()) -> None:
        """Wait until the group has committed the whole topic, all but these partitions."""
        consumer = Consumer({"bootstrap.servers": self.stack.bootstrap_servers, "group.id": self.stack.group})
        try:

            async def done() -> bool:
                return await asyncio.to_thread(_done, consumer, self.stack.topic, besides)

            await eventually(done, "the group's committed offsets are the ends of the topic", within)
        finally:
            consumer.close()

    def committed(self) -> list[int]:
        """The group's committed offsets of the topic's partitions; negative where there is none."""
        consumer = Consumer({"bootstrap.servers": self.stack.bootstrap_servers, "group.id": self.stack.group})
        try:
            partitions = consumer.list_topics(self.stack.topic, timeout=10).topics[self.stack.topic].partitions
            asked = [TopicPartition(self.stack.topic, partition) for partition in sorted(partitions)]
            return [each.offset for each in consumer.committed(asked, timeout=10)]
        finally:
            consumer.close()

    async def differences(self) -> list[str]:
        """What is wrong in the calendars."""
        expected = expect(self.schedule, now(), aliases=self.aliases)
        return compare(expected, await self.graph.events(), exempt=self.parked)

    async def judge(self) -> None:
        """The calendars equal the schedule, and no event was ever there twice."""
        wrong = await self.differences()
        assert wrong == [], "\n".join(wrong[:20])
        assert (await self.graph.stats())["duplicates"] == []

    async def ours(self) -> list[tuple[str, dict[str, Any]]]:
        """Every event with a tag that is in a calendar, with its mailbox, in the order of mailbox and tag."""
        held = [(address, event) for address, events in (await self.graph.events()).items() for event in events]
        live = [(address, event) for address, event in held if event["tag"] and not event["in_deleted_items"]]
        return sorted(live, key=lambda each: (each[0], each[1]["tag"]))

    async def move_etags(self) -> None:
        """Exchange gives every event of ours another etag, for reasons of its own."""
        for address, event in await self.ours():
            await self.graph.user_edit(address, {}, event_id=event["id"])

    def dead_letters(self) -> list[Any]:
        """Every record on the dead-letter topic."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.stack.bootstrap_servers,
                "group.id": f"{self.stack.group}-reader",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        topic = f"{self.stack.topic}.dlq"
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            starts = [TopicPartition(topic, partition, 0) for partition in partitions]
            marks = [consumer.get_watermark_offsets(start, timeout=10) for start in starts]
            count = sum(high - low for low, high in marks)
            consumer.assign(starts)
            found: list[Any] = []
            while len(found) < count:
                batch = consumer.consume(count - len(found), 10)
                assert batch, f"{len(found)} of {count} dead letters came"
                found += batch
            return sorted(found, key=lambda message: (message.value() or b"", message.offset()))
        finally:
            consumer.close()


def _done(consumer: Consumer, topic: str, besides: Collection[int]) -> bool:
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions.keys() - besides
    for committed in consumer.committed([TopicPartition(topic, partition) for partition in partitions], timeout=10):
        low, high = consumer.get_watermark_offsets(committed, timeout=10)
        if max(low, committed.offset) < high:
            return False
    return True


async def keeps_the_contract(graph: GraphControl) -> None:
    """What was sent to Entra and Graph is as tests/contract/graph_rules.py and Microsoft's description say."""
    recorded = await graph.recording()
    wrong = breaches(recorded)
    if (known := description()) is not None:
        wrong += known.breaches(call for request in recorded for call in calls(request))
    assert wrong == [], "\n".join(wrong)


def secured(folder: Path, authority: trustme.CA) -> tuple[list[str], Path]:
    """The sandbox's arguments for https on loopback, and the file of the authority that vouches for it."""
    certificates.issue(folder, ["localhost", "127.0.0.1"], authority)
    files = ["--tls-cert", str(folder / certificates.CERTIFICATE), "--tls-key", str(folder / certificates.KEY)]
    return files, folder / certificates.AUTHORITY


@asynccontextmanager
async def found_company(
    folder: Path,
    bootstrap_servers: str,
    redis_url: str,
    *,
    name: str,
    site_ids: tuple[str, ...] = ("site-1",),
    seed: int = 1,
    kafka_properties: dict[str, str] | None = None,
    authority: trustme.CA | None = None,
    warm: Warm | None = None,
) -> AsyncIterator[Company]:
    """A company with servers of its own for Graph and Core, on a broker and a Redis that are there already.

    With an ``authority``, Entra and Graph are served over https. At its end, every request that was sent to them is
    held against the contract.
    """
    sites = [SiteSpec(site_id, site_id.title()) for site_id in site_ids]
    launch: Launch = Leashed if warm is None else warm.launch
    with ExitStack() as servers:
        tls, ca_file = ([], None) if authority is None else secured(folder, authority)
        graph = servers.enter_context(stand_in("graph", folder, *tls, launch=launch))
        core = servers.enter_context(stand_in("core", folder, launch=launch))
        stack = Stack(
            folder,
            bootstrap_servers,
            redis_url,
            url_of(graph),
            url_of(core),
            topic=name,
            group=f"{name}-group",
            kafka_properties=kafka_properties or {},
            ca_file=ca_file,
            launch=launch,
        )
        stack.write_sites(sites)
        trusted = ca_file is None or ssl.create_default_context(cafile=ca_file)
        async with (
            GraphControl(stack.graph_url, verify=trusted) as control,
            CoreControl(stack.core_url) as core_control,
        ):
            await control.record(on=True)
            for site in sites:
                await control.add_tenant(site.tenant_id)
                await control.add_app(site.tenant_id, site.client_id, [Secret(SECRET)], ROLES)
            producer = FeedProducer(bootstrap_servers, name)
            company = Company(stack, control, core_control, producer, sites, Random(seed), warm=warm)
            try:
                yield company
            finally:
                for service in company.services:
                    await asyncio.to_thread(service.process.stop)
            await keeps_the_contract(control)
