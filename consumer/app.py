"""The only place that builds and wires. What runs, in which order it starts, and in which it stops."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, Final

import structlog

from consumer.clock import SystemClock
from consumer.core.api import TIMEOUT_SECONDS, CoreApi
from consumer.domain.errors import StoreUnavailableError
from consumer.graph.calendars import GraphCalendars
from consumer.http import Http
from consumer.kafka.config import client_config, consumer_config, read_properties
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.decode import Decoder
from consumer.kafka.intake import Intake
from consumer.kafka.lag import Lag
from consumer.kafka.pump import Pump
from consumer.kafka.record import Record
from consumer.kafka.registry import Registry
from consumer.ops.health import STALE_POLL_SECONDS, HealthServer
from consumer.ops.metrics import Metrics
from consumer.settings import Settings
from consumer.sites import Sites, SitesFile
from consumer.store.store import RedisStore
from consumer.sync.lanes import Lanes
from consumer.sync.receipts import Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.routing import Router
from consumer.sync.sites import SiteStates
from consumer.sync.sweep import Sweeper, Sweeps, owner

log = structlog.get_logger(__name__)

DRAIN_SECONDS: Final = 20.0
"""How long a stop waits for requests under way; a request may take longer, and is then found by the next owner."""
_LEAVE_SECONDS: Final = 8.0
_RENEW_SECONDS: Final = 5.0
_LAG_SECONDS: Final = 5.0


class App:
    """The running service."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``ConfigurationError``. Nothing is sent yet."""
        clock = SystemClock()
        self._settings = settings
        self._sites_file = SitesFile(settings.sites_file)
        sites = self._sites_file.load()
        properties = read_properties(settings.kafka_config_file)
        brokers = settings.kafka_bootstrap_servers

        self.metrics = Metrics()
        self._http = Http(ca_file=settings.ca_file, timeout=TIMEOUT_SECONDS)
        self._store = RedisStore.connect(settings.redis_url.get_secret_value(), settings.redis_prefix, clock)
        self._calendars = GraphCalendars(settings.graph_url, settings.entra_url, settings.ca_file, self.metrics)
        self._states = SiteStates(self._calendars, self.metrics, on_resumed=self._resumed)
        self._reconciler = Reconciler(
            self._store,
            self._calendars,
            clock,
            self.metrics,
            new_id=lambda: secrets.token_hex(16),
            window_days=settings.window_days,
        )
        self._lanes = Lanes(self._reconciler, self._store, self._states, clock, Random(), self._refuse)
        self.metrics.watch_lanes(lambda: self._lanes.busy, lambda: self._lanes.waiting)
        registry = Registry(settings.schema_registry_url, settings.registry_user_info(), self._http)
        core = CoreApi(settings.core_api_url, settings.core_token(), self._http)
        self._intake = Intake(
            Decoder(registry),
            registry,
            Router(self._store, self._lanes, self._states, clock, window_days=settings.window_days),
            self._store,
            core,
            DeadLetters(client_config(brokers, properties), settings.kafka_dlq_topic),
            self._give_back,
            self.metrics.dead_letter,
        )
        group = consumer_config(brokers, settings.kafka_group, properties)
        self._sites_file_now: Sites = {}
        self._ended = asyncio.Event()
        self._asides: set[asyncio.Task[None]] = set()
        self._end_reason: str | None = None
        self._pump = Pump(
            group, settings.kafka_topic, asyncio.get_running_loop(), self._intake.deliver, self._on_pump_end
        )
        self._lag = Lag(group, settings.kafka_topic)
        self._partition_count = 0
        self._sweeps = Sweeps(
            Sweeper(self._store, self._lanes, core, clock, self.metrics, window_days=settings.window_days),
            self._store,
            self._states,
            interval=settings.sweep_interval_seconds,
            owns=self._owns,
        )
        self._health = HealthServer(
            settings.http_bind, self.metrics.render, self.metrics.content_type, self._live, self._ready
        )
        self._take_sites(sites)

    async def run(self) -> int:
        """Until SIGTERM (0), SIGINT (130), or something that cannot heal (1)."""
        address = await self._health.start()
        stop: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _on_signal, stop, number)
        parts: dict[str, Coroutine[Any, Any, Any]] = {
            "intake": self._intake.run(),
            "leases": self._every(_RENEW_SECONDS, self._reconciler.renew_leases),
            "sites file": self._sites_file.watch(self._take_sites),
            "site probes": self._states.probe_forever(),
            "lag": self._every(_LAG_SECONDS, self._measure_lag),
            "gauges": self._every(_LAG_SECONDS, self._count_what_waits),
            "sweeps": self._sweeps.run(),
            "pump": self._ended.wait(),
        }
        tasks = [asyncio.create_task(work, name=name) for name, work in parts.items()]
        self._pump.start()
        log.info("running", http=address)
        await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in tasks if task.done()]
        for task in failed:
            reason = self._end_reason if task.get_name() == "pump" else repr(task.exception())
            log.critical("stopping: a part of the service ended", part=task.get_name(), reason=reason)
        clean = await self._stop(tasks)
        if failed or not clean:
            return 1
        return 0 if stop.result() == signal.SIGTERM else 130

    async def _stop(self, tasks: list["asyncio.Task[Any]"]) -> bool:
        """Take no more, let what is under way end, commit, leave the group; then close what was opened."""
        started = time.monotonic()
        self._pump.drain()
        await self._lanes.drain(DRAIN_SECONDS)
        left = await asyncio.to_thread(self._pump.stop, _LEAVE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._health.stop()
        await asyncio.to_thread(self._lag.close)
        await self._calendars.close()
        await self._http.close()
        await self._store.close()
        log.info("stopped", seconds=round(time.monotonic() - started, 2))
        return left

    def _take_sites(self, sites: Sites) -> None:
        for site_id, site in sites.items():
            known = self._sites_file_now.get(site_id)
            if known is not None and known.app != site.app:
                self._aside(self._sweeps.afresh(site_id, every_mailbox=True))
        self._sites_file_now = sites
        self.metrics.sites(sites)
        self._states.replace(sites)

    def _resumed(self, site_id: str) -> None:
        self._lanes.wake(site_id)
        # What was handed over while the site was suspended shall not wait for its next turn.
        self._aside(self._sweeps.afresh(site_id, every_mailbox=False))

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        async def told() -> None:
            try:
                await work
            except StoreUnavailableError as error:
                log.warning(
                    "Redis is not there: parked mailboxes stay so, the sweep comes in its turn", reason=str(error)
                )

        task = asyncio.create_task(told())
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    def _owns(self, site_id: str) -> bool:
        """A site belongs to the partition that its id hashes to, and so to whoever holds that."""
        return bool(self._partition_count) and owner(site_id, self._partition_count) in self._pump.partitions

    async def _refuse(self, change: Any, refusal: Any) -> None:
        await self._intake.refuse(change, refusal)

    def _give_back(self, receipt: Receipt, result: str) -> None:
        record = receipt.record
        if isinstance(record, Record) and record.epoch.live:
            self.metrics.event(result)
            self._pump.done(record)

    def _on_pump_end(self, reason: str | None) -> None:
        self._end_reason = reason
        self._ended.set()

    async def _count_what_waits(self) -> None:
        for site in self._sites_file_now.values():
            self.metrics.dirty(site.site_id, len(await self._store.dirty(site.site_id)))
        self.metrics.parked(await self._store.list_parked())

    async def _measure_lag(self) -> None:
        if not self._partition_count:
            self._partition_count = await asyncio.to_thread(self._lag.partition_count)
        partitions = self._pump.partitions
        behind = await asyncio.to_thread(self._lag.measure, partitions) if partitions else {}
        self.metrics.lag(self._settings.kafka_topic, behind, dict(self._pump.oldest))

    async def _live(self) -> str | None:
        age = time.monotonic() - self._pump.polled_at
        return f"the Kafka pump has not polled for {age:.0f} s" if age > STALE_POLL_SECONDS else None

    async def _ready(self) -> str | None:
        if not self._pump.joined:
            return "not yet in the consumer group"
        try:
            await self._store.ping()
        except StoreUnavailableError as error:
            return str(error)
        return None

    @staticmethod
    async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StoreUnavailableError as error:
                log.warning("Redis is not there", reason=str(error))


def _on_signal(stop: "asyncio.Future[signal.Signals]", number: signal.Signals) -> None:
    if stop.done():
        os._exit(130)  # asked twice: at once
    log.info("stopping", signal=number.name)
    stop.set_result(number)


async def run(settings: Settings) -> int:
    """Run the service with these settings; returns the exit code."""
    return await App(settings).run()
