"""The running service: what it is wired of, in which order it starts, and in which it stops."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog

from consumer.clock import SystemClock
from consumer.domain.errors import (
    ConfigurationError,
    StoreUnavailableError,
    collected,
)
from consumer.engine import Engine, every
from consumer.kafka.config import Config, checked_properties, client_config, consumer_config
from consumer.kafka.core_questions import CoreQuestions
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Decoder
from consumer.kafka.heartbeats import Heartbeats
from consumer.kafka.intake import Intake
from consumer.kafka.lag import Lag
from consumer.kafka.pump import Pump
from consumer.kafka.record import Record
from consumer.kafka.refused import RefusedRecords
from consumer.kafka.topic import TopicIdentity
from consumer.kafka.waiting import Waits
from consumer.ops.health import STALE_POLL_SECONDS, HealthServer
from consumer.ops.metrics import Metrics
from consumer.settings import Settings
from consumer.sites import Sites, SitesFile
from consumer.sync.receipts import Receipt
from consumer.sync.scheduler import SweepScheduler, owner

log = structlog.get_logger(__name__)
T = TypeVar("T")

DRAIN_SECONDS: Final = 20.0
"""How long a stop waits for requests under way; a request may take longer, and is then found by the next owner."""
_DEAD_LETTERS_SECONDS: Final = 2.0
"""How long a stop then waits for the dead letters under way; those that are not safe come again."""
_LEAVE_SECONDS: Final = 8.0
_LOOK_SECONDS: Final = 5.0
_READY_SECONDS: Final = 2.0
"""How long a readiness probe waits for Redis."""


class App:
    """The running service."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``ConfigurationError``. Nothing is sent yet."""
        self._settings = settings
        self._sites_file = SitesFile(settings.sites_file)
        sites, properties = _load(self._sites_file, settings)
        brokers = settings.kafka_bootstrap_servers

        self._metrics = Metrics()
        dead_letters = DeadLetters(
            client_config(brokers, properties),
            settings.kafka_dlq_topic,
            ThreadPoolExecutor(1, "dead-letters"),
            self._metrics.dead_letter,
        )
        self._waits = Waits(self._on_waiting, time.monotonic)
        self._refused = RefusedRecords(dead_letters, self._waits)
        self._engine = engine = Engine(settings, refused=self._refused, on_resumed=self._resumed, metrics=self._metrics)
        self._metrics.watch_lanes(lambda: engine.lanes.busy, lambda: engine.lanes.waiting)
        self._intake = Intake(
            Decoder(engine.registry, engine.unusable.found),
            engine.registry,
            engine.router,
            engine.dirty_marks,
            CoreQuestions(engine.core, time.monotonic),
            dead_letters,
            self._waits,
            self._give_back,
            self._block,
        )
        group = consumer_config(brokers, settings.kafka_group, properties)
        self._sites_file_now: Sites = {}
        self._born: str | None = None
        self._ended = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._end_reason: str | None = None
        self._identity = TopicIdentity(client_config(brokers, properties), settings.kafka_topic)
        self._kafka_threads = ThreadPoolExecutor(3, "kafka")
        """Its own: questions to a broker that does not answer must not take threads from tokens and files."""
        self._pump = Pump(
            group,
            settings.kafka_topic,
            asyncio.get_running_loop(),
            self._intake.deliver,
            self._on_pump_end,
            self._on_overrun,
            on_pressure=lambda: self._in_background(engine.lanes.relieve()),
            identify=self._identity.ask,
            monotonic=time.monotonic,
        )
        self._lag = Lag(group, settings.kafka_topic)
        self._heartbeats = Heartbeats(group, settings.kafka_heartbeat_topic)
        self._partition_count = 0
        self._scheduler = SweepScheduler(
            engine.sweeper,
            engine.scheduling,
            engine.sites,
            clock=SystemClock(),
            interval=settings.sweep_interval_seconds,
            owns=self._owns,
        )
        self._health = HealthServer(
            settings.http_bind, self._metrics.render, self._metrics.content_type, self._live, self._ready
        )
        self._take_sites(sites, first=True)

    async def run(self) -> int:
        """Until SIGTERM (0), SIGINT (130), or something that cannot heal (1).

        Raises:
            ConfigurationError: the address cannot be bound, or Redis holds data of a newer version.
        """
        address = await self._listen()
        stop: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _on_signal, stop, number)
        try:
            await self._look_at_store()
        except StoreUnavailableError:
            pass  # looked at again in a moment
        except ConfigurationError:
            await self._health.stop()
            await self._engine.close()
            raise
        tasks = [asyncio.create_task(work, name=name) for name, work in self._parts().items()]
        self._pump.start()
        log.info("running", http=address)
        await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in tasks if task.done()]
        for task in failed:
            reason = self._end_reason if task.get_name() == "pump" else repr(task.exception())
            log.critical("stopping: a part of the service ended", part=task.get_name(), reason=reason)
        clean = await self._stop(tasks)
        for task in failed:
            if isinstance(problem := task.exception(), ConfigurationError):
                raise problem  # a newer release has changed the data in Redis meanwhile
        if failed or not clean:
            return 1
        return 0 if stop.result() == signal.SIGTERM else 130

    async def _listen(self) -> str:
        """Serve health and metrics; returns the address. Raises ``ConfigurationError`` if it cannot be bound."""
        try:
            return await self._health.start()
        except OSError as error:
            bind = self._settings.http_bind
            raise ConfigurationError([f"CALSYNC_HTTP_BIND: cannot listen on {bind}: {error.strerror}"]) from None

    def _parts(self) -> dict[str, Coroutine[Any, Any, Any]]:
        """What runs until the service stops, by name: if one ends, all do."""
        return {
            "intake": self._intake.run(),
            "refused records": self._refused.run(),
            "leases": self._engine.renew_leases(),
            "sites file": self._sites_file.watch(self._take_sites),
            "site probes": self._engine.sites.probe_forever(),
            "lag": every(_LOOK_SECONDS, self._measure_topic),
            "heartbeats": every(_LOOK_SECONDS, self._listen_for_heartbeats),
            "store": every(_LOOK_SECONDS, self._look_at_store),
            "sweeps": self._scheduler.run(),
            "pump": self._ended.wait(),
        }

    async def _stop(self, tasks: list["asyncio.Task[Any]"]) -> bool:
        """Take no more records, let the work under way end, commit, leave the group; then close what was opened."""
        started = time.monotonic()
        self._pump.drain()
        await self._engine.lanes.drain(DRAIN_SECONDS)
        await self._refused.drain(min(_DEAD_LETTERS_SECONDS, max(0.0, started + DRAIN_SECONDS - time.monotonic())))
        left = await self._in_kafka_thread(self._pump.stop, _LEAVE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._health.stop()
        await self._in_kafka_thread(self._lag.close)
        await self._in_kafka_thread(self._heartbeats.close)
        self._kafka_threads.shutdown(wait=False)
        await self._engine.close()
        log.info("stopped", seconds=round(time.monotonic() - started, 2))
        return left

    def _take_sites(self, sites: Sites, *, first: bool = False) -> None:
        for site_id, site in sites.items():
            known = self._sites_file_now.get(site_id)
            if known is None and not first:
                # Its records were skipped until now: the sweep makes up for them.
                self._in_background(self._scheduler.recover(site_id, every_mailbox=False))
            elif known is not None and known.app != site.app:
                self._in_background(self._scheduler.recover(site_id, every_mailbox=True))
        self._sites_file_now = sites
        self._metrics.sites(sites)
        self._engine.sites.replace(sites)

    def _resumed(self, site_id: str) -> None:
        self._engine.lanes.wake(site_id)
        # What was handed over while the site was suspended must not wait for its next turn.
        self._in_background(self._scheduler.recover(site_id, every_mailbox=False))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except StoreUnavailableError as error:
                log.warning(
                    "Redis is unavailable: mailboxes stay parked, sites wait for their next sweep", reason=str(error)
                )

        task = asyncio.create_task(guarded())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _owns(self, site_id: str) -> bool:
        """A site belongs to the partition that its id hashes to, and so to the replica that holds that."""
        return bool(self._partition_count) and owner(site_id, self._partition_count) in self._pump.partitions

    def _give_back(self, receipt: Receipt, result: str) -> None:
        record = receipt.record
        if isinstance(record, Record) and record.epoch.live:
            self._metrics.event(result)
            self._pump.done(record, receipt.covered_by)

    async def _block(self, record: Record) -> None:
        """Block the partition in Redis, so that no replica reads on."""
        log.error(
            "partition blocked: too many unreadable records in a row; see calsync dead-letters",
            partition=record.partition,
            offset=record.offset,
        )
        while True:
            try:
                await self._engine.partitions.block(record.topic, record.partition, record.offset + 1)
                await self._look_at_store()
            except StoreUnavailableError as error:
                log.error("Redis is unavailable: consumption waits", reason=str(error))
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                return

    def _on_waiting(self, partitions: frozenset[int]) -> None:
        self._pump.wait_for(partitions)

    async def _in_kafka_thread(self, ask: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._kafka_threads, ask, *arguments)

    def _on_overrun(self) -> None:
        for site_id in self._sites_file_now:
            self._in_background(self._scheduler.recover(site_id, every_mailbox=False))

    def _on_pump_end(self, reason: str | None) -> None:
        self._end_reason = reason
        self._ended.set()

    async def _look_at_store(self) -> None:
        """Apply what operators have set in the store, and measure what waits there."""
        self._engine.sites.pause(await self._engine.operators.paused())
        blocked = await self._engine.partitions.blocked(self._settings.kafka_topic)
        self._pump.block({partition: block.offset for partition, block in blocked.items()})
        self._metrics.blocked(self._settings.kafka_topic, list(blocked))
        born = await self._engine.status.born()
        if born != self._born and self._born is not None:
            log.error("Redis was emptied: sites paused and mailboxes parked by hand are served again")
        self._born = born
        for site in self._sites_file_now.values():
            self._metrics.dirty(site.site_id, await self._engine.status.count_dirty(site.site_id))
        self._metrics.parked(await self._engine.operators.list_parked())

    async def _measure_topic(self) -> None:
        self._partition_count = await self._in_kafka_thread(self._lag.partition_count) or self._partition_count
        self._pump.saw(await self._in_kafka_thread(self._identity.ask))
        partitions = self._pump.partitions
        behind = await self._in_kafka_thread(self._lag.measure, partitions) if partitions else {}
        self._metrics.lag(self._settings.kafka_topic, behind, dict(self._pump.oldest))
        self._metrics.waiting(
            self._settings.kafka_topic,
            [
                (wait.record.partition, wait.cause, time.monotonic() - wait.since)
                for wait in self._waits.now()
                if wait.cause is not None
            ],
        )

    async def _listen_for_heartbeats(self) -> None:
        newest = await self._in_kafka_thread(self._heartbeats.newest)
        if newest is not None:
            self._metrics.heartbeat(newest)

    async def _live(self) -> str | None:
        age = time.monotonic() - self._pump.polled_at
        return f"the Kafka pump has not polled for {age:.0f} s" if age > STALE_POLL_SECONDS else None

    async def _ready(self) -> str | None:
        reasons = [] if self._pump.joined else ["not yet in the consumer group"]
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._engine.status.check()
        except StoreUnavailableError as error:
            reasons.append(str(error))
        except TimeoutError:
            reasons.append("Redis: no answer")
        return "; ".join(reasons) or None


def _load(sites_file: SitesFile, settings: Settings) -> tuple[Sites, Config]:
    """The sites and Kafka's properties. Raises ``ConfigurationError`` with the problems of both files."""
    sites: Sites = {}
    properties: Config = {}
    problems: list[str] = []
    with collected(problems):
        sites = sites_file.load()
    with collected(problems):
        properties = checked_properties(settings.kafka_config_file, settings.kafka_bootstrap_servers)
    if problems:
        raise ConfigurationError(problems)
    return sites, properties


def _on_signal(stop: "asyncio.Future[signal.Signals]", number: signal.Signals) -> None:
    if stop.done():
        os._exit(130)  # asked twice: at once
    log.info("stopping", signal=number.name)
    stop.set_result(number)


async def run(settings: Settings) -> int:
    """Run the service with these settings; returns the exit code."""
    return await App(settings).run()
