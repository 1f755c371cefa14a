"""The only place that builds and wires. What runs, in which order it starts, and in which it stops."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random
from typing import Any, Final

import structlog

from consumer.clock import SystemClock
from consumer.core.api import TIMEOUT_SECONDS, CoreApi
from consumer.domain.errors import ConfigurationError, RequestRefusedError, StoreUnavailableError
from consumer.domain.mailbox import normalise
from consumer.domain.site import Site
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
from consumer.sync.change import Change
from consumer.sync.lanes import Lanes
from consumer.sync.receipts import Receipt
from consumer.sync.reconcile import Reconciler
from consumer.sync.rehearsal import Rehearsal
from consumer.sync.report import Report
from consumer.sync.rounds import SITES_AT_ONCE, Rounds, owner
from consumer.sync.routing import Router
from consumer.sync.sites import SiteStates
from consumer.sync.sweep import Sweeper

log = structlog.get_logger(__name__)

DRAIN_SECONDS: Final = 20.0
"""How long a stop waits for requests under way; a request may take longer, and is then found by the next owner."""
_LEAVE_SECONDS: Final = 8.0
_RENEW_SECONDS: Final = 5.0
_LAG_SECONDS: Final = 5.0


class Engine:
    """What brings calendars in line, whoever asks: the running service or a command."""

    def __init__(
        self,
        settings: Settings,
        *,
        refuse: Callable[[Change, RequestRefusedError], Awaitable[None]],
        on_resumed: Callable[[str], None],
        dry_run: bool = False,
    ) -> None:
        """``refuse`` takes a change that Graph calls malformed; ``on_resumed`` a site that is served again.

        In a dry run, the store and the calendars refuse every write.
        """
        clock = SystemClock()
        days, interval = settings.window_days, settings.sweep_interval_seconds
        self.metrics = Metrics()
        self.http = Http(ca_file=settings.ca_file, timeout=TIMEOUT_SECONDS)
        self.store = RedisStore.connect(
            settings.redis_url.get_secret_value(), settings.redis_prefix, clock, read_only=dry_run
        )
        self.core = CoreApi(settings.core_api_url, settings.core_token(), self.http)
        self.calendars = GraphCalendars(
            settings.graph_url, settings.entra_url, settings.ca_file, self.metrics, read_only=dry_run
        )
        self.states = SiteStates(self.calendars, self.metrics, on_resumed=on_resumed)
        self.reconciler = Reconciler(
            self.store,
            self.calendars,
            clock,
            self.metrics,
            new_id=lambda: secrets.token_hex(16),
            window_days=days,
            dry_run=dry_run,
        )
        self.lanes = Lanes(self.reconciler, self.store, self.states, clock, Random(), refuse)
        self.router = Router(self.store, self.lanes, self.states, clock, window_days=days, fuse_seconds=interval)
        self.sweeper = Sweeper(
            self.store,
            Rehearsal(self.reconciler, self.states) if dry_run else self.lanes,
            self.core,
            clock,
            self.metrics,
            window_days=days,
            interval=interval,
            dry_run=dry_run,
        )

    async def renew_leases(self) -> None:
        """Until cancelled: keep the leases of runs that take long."""
        await every(_RENEW_SECONDS, self.reconciler.renew_leases)

    async def close(self) -> None:
        """Give every connection back."""
        await self.calendars.close()
        await self.http.close()
        await self.store.close()


class App:
    """The running service."""

    def __init__(self, settings: Settings) -> None:
        """Raises ``ConfigurationError``. Nothing is sent yet."""
        self._settings = settings
        self._sites_file = SitesFile(settings.sites_file)
        sites = self._sites_file.load()
        properties = read_properties(settings.kafka_config_file)
        brokers = settings.kafka_bootstrap_servers

        self._engine = engine = Engine(settings, refuse=self._refuse, on_resumed=self._resumed)
        self._metrics = engine.metrics
        self._metrics.watch_lanes(lambda: engine.lanes.busy, lambda: engine.lanes.waiting)
        registry = Registry(settings.schema_registry_url, settings.registry_user_info(), engine.http)
        self._intake = Intake(
            Decoder(registry),
            registry,
            engine.router,
            engine.store,
            engine.core,
            DeadLetters(client_config(brokers, properties), settings.kafka_dlq_topic),
            self._give_back,
            self._metrics.dead_letter,
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
        self._rounds = Rounds(
            engine.sweeper,
            engine.store,
            engine.states,
            interval=settings.sweep_interval_seconds,
            owns=self._owns,
        )
        self._health = HealthServer(
            settings.http_bind, self._metrics.render, self._metrics.content_type, self._live, self._ready
        )
        self._take_sites(sites)

    async def run(self) -> int:
        """Until SIGTERM (0), SIGINT (130), or something that cannot heal (1)."""
        try:
            address = await self._health.start()
        except OSError as error:
            bind = self._settings.http_bind
            raise ConfigurationError([f"CALSYNC_HTTP_BIND: cannot listen on {bind}: {error.strerror}"]) from None
        stop: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _on_signal, stop, number)
        parts: dict[str, Coroutine[Any, Any, Any]] = {
            "intake": self._intake.run(),
            "leases": self._engine.renew_leases(),
            "sites file": self._sites_file.watch(self._take_sites),
            "site probes": self._engine.states.probe_forever(),
            "lag": every(_LAG_SECONDS, self._measure_lag),
            "gauges": every(_LAG_SECONDS, self._count_what_waits),
            "sweeps": self._rounds.run(),
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
        await self._engine.lanes.drain(DRAIN_SECONDS)
        left = await asyncio.to_thread(self._pump.stop, _LEAVE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._health.stop()
        await asyncio.to_thread(self._lag.close)
        await self._engine.close()
        log.info("stopped", seconds=round(time.monotonic() - started, 2))
        return left

    def _take_sites(self, sites: Sites) -> None:
        for site_id, site in sites.items():
            known = self._sites_file_now.get(site_id)
            if known is not None and known.app != site.app:
                self._aside(self._rounds.afresh(site_id, every_mailbox=True))
        self._sites_file_now = sites
        self._metrics.sites(sites)
        self._engine.states.replace(sites)

    def _resumed(self, site_id: str) -> None:
        self._engine.lanes.wake(site_id)
        # What was handed over while the site was suspended shall not wait for its next turn.
        self._aside(self._rounds.afresh(site_id, every_mailbox=False))

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

    async def _refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        await self._intake.refuse(change, refusal)

    def _give_back(self, receipt: Receipt, result: str) -> None:
        record = receipt.record
        if isinstance(record, Record) and record.epoch.live:
            self._metrics.event(result)
            self._pump.done(record)

    def _on_pump_end(self, reason: str | None) -> None:
        self._end_reason = reason
        self._ended.set()

    async def _count_what_waits(self) -> None:
        for site in self._sites_file_now.values():
            self._metrics.dirty(site.site_id, len(await self._engine.store.dirty(site.site_id)))
        self._metrics.parked(await self._engine.store.list_parked())

    async def _measure_lag(self) -> None:
        self._partition_count = await asyncio.to_thread(self._lag.partition_count) or self._partition_count
        partitions = self._pump.partitions
        behind = await asyncio.to_thread(self._lag.measure, partitions) if partitions else {}
        self._metrics.lag(self._settings.kafka_topic, behind, dict(self._pump.oldest))

    async def _live(self) -> str | None:
        age = time.monotonic() - self._pump.polled_at
        return f"the Kafka pump has not polled for {age:.0f} s" if age > STALE_POLL_SECONDS else None

    async def _ready(self) -> str | None:
        if not self._pump.joined:
            return "not yet in the consumer group"
        try:
            await self._engine.store.ping()
        except StoreUnavailableError as error:
            return str(error)
        return None


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled: ``work`` again and again; Redis may be away meanwhile."""
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


async def sweep(
    settings: Settings,
    site_ids: Sequence[str],
    *,
    mailbox: str | None = None,
    dry_run: bool = False,
    allow_mass_delete: bool = False,
    progress: Callable[[Report], None] = lambda _report: None,
) -> list[Report]:
    """Sweep sites once, now: those named, or all; in each everything, or one mailbox.

    ``progress`` is called with a site's report whenever a mailbox has been compared, and when the site is done.

    Raises:
        ConfigurationError: the sites file cannot be used or does not name one of the sites, or no site is known to
            have the mailbox.
    """
    sites = SitesFile(settings.sites_file).load()
    unknown = [f"--site {site_id}: the sites file does not name it" for site_id in site_ids if site_id not in sites]
    if unknown:
        raise ConfigurationError(unknown)
    chosen = [sites[site_id] for site_id in (site_ids or sites)]
    only = normalise(mailbox)

    async def told(_change: Change, _refusal: RequestRefusedError) -> None:
        """The lane has logged it; there is no record to dead-letter."""

    engine = Engine(settings, refuse=told, on_resumed=lambda _site_id: None, dry_run=dry_run)
    engine.states.replace(sites)
    renewing = asyncio.create_task(engine.renew_leases())
    turns = asyncio.Semaphore(SITES_AT_ONCE)

    async def swept(site: Site) -> Report:
        async with turns:
            report = await engine.sweeper.sweep(
                site,
                allow_mass_delete=allow_mass_delete,
                only=only,
                named=len(chosen) == 1,
                progress=progress,
            )
        fault = engine.states.suspended(site.site_id)
        if fault is not None:
            report.failure = report.failure or f"suspended: {fault}"
        elif only is not None and report.unserved:
            report.failure = report.failure or "the mailbox is parked or in trouble: see the log"
        report.done = True
        progress(report)
        return report

    try:
        reports = await asyncio.gather(*map(swept, chosen))
    finally:
        renewing.cancel()
        await engine.close()
    if only is None:
        return reports
    found = [report for report in reports if report.mailboxes or report.failure]
    if not found:
        raise ConfigurationError([f"--mailbox {only}: neither Core nor a link names it; say whose it is with --site"])
    return found
