"""Builds and wires the parts that the running service and the commands share."""

import asyncio
import gc
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

import structlog

from consumer.clock import SystemClock
from consumer.core.api import TIMEOUT_SECONDS, CoreApi
from consumer.domain.errors import StoreUnavailableError
from consumer.foreign import ForeignAnswers
from consumer.graph.calendars import GraphCalendars
from consumer.http import Http
from consumer.kafka.registry import Registry
from consumer.ops.metrics import Metrics
from consumer.settings import Settings
from consumer.store.store import RedisStore
from consumer.sync.dirty_marks import DirtyMarks
from consumer.sync.dry_run import DryRunLanes, DryRunMeter, DryRunRecords, PlanSink
from consumer.sync.lane_runs import RefusedChanges
from consumer.sync.lanes import Lanes
from consumer.sync.operator_store import OperatorStore, PartitionStore, StatusStore
from consumer.sync.reconcile import Reconciler
from consumer.sync.routing import Router
from consumer.sync.site_registry import SiteRegistry
from consumer.sync.sweep import Sweeper
from consumer.sync.sweep_ports import SweepPorts
from consumer.sync.sweep_store import SchedulerStore
from consumer.unusable import Unusable

log = structlog.get_logger(__name__)

_RENEW_LOOK_SECONDS: Final = 0.5
"""How often leases that are due for renewal are looked for."""


class Engine:
    """The parts that the running service and the commands share."""

    def __init__(
        self,
        settings: Settings,
        *,
        refused: RefusedChanges,
        on_resumed: Callable[[str], None],
        metrics: Metrics | None = None,
        on_plan: PlanSink | None = None,
    ) -> None:
        """``refused`` takes the changes that Graph calls malformed; ``on_resumed`` a site that is served again.

        ``on_plan`` makes it a dry run, and takes what a sweep would do. The store and the calendars then refuse every
        write.
        """
        dry_run = on_plan is not None
        clock, new_id = SystemClock(), partial(secrets.token_hex, 16)
        days, interval = settings.window_days, settings.sweep_interval_seconds
        self.metrics = metrics or Metrics()
        self.foreign = ForeignAnswers(self.metrics.foreign_answer, clock.monotonic)
        # Each its own connections: while Core is slow, the registry is not.
        self._core_http = Http(ca_file=settings.ca_file, timeout=TIMEOUT_SECONDS)
        self._registry_http = Http(ca_file=settings.ca_file, timeout=TIMEOUT_SECONDS)
        self._store = store = RedisStore.connect(
            settings.redis_url.get_secret_value(),
            settings.redis_prefix,
            clock,
            ca_file=settings.ca_file,
            read_only=dry_run,
            new_id=new_id,
        )
        # Each user sees only its port of the store.
        self.operators: OperatorStore = store
        self.partitions: PartitionStore = store
        self.status: StatusStore = store
        self.scheduling: SchedulerStore = store
        self.dirty_marks: DirtyMarks = store
        self.unusable = Unusable(self.metrics.unusable)
        self.core = CoreApi(
            settings.core_api_url, settings.core_token, self._core_http, self.foreign, self.unusable.found
        )
        self.registry = Registry(
            settings.schema_registry_urls(), settings.registry_user_info(), self._registry_http, self.foreign
        )
        self.calendars = GraphCalendars(
            settings.graph_url,
            settings.entra_url,
            settings.ca_file,
            self.metrics,
            self.foreign,
            read_only=dry_run,
            monotonic=clock.monotonic,
        )
        self.sites = SiteRegistry(self.calendars, self.metrics, on_resumed=on_resumed)
        self.reconciler = Reconciler(
            store,
            self.calendars,
            clock,
            self.metrics,
            new_id=new_id,
            window_days=days,
            dry_run=dry_run,
        )
        self.lanes = Lanes(self.reconciler, store, self.sites, clock, Random(), refused)
        self.router = Router(store, self.lanes, self.sites, clock, window_days=days, fuse_seconds=interval)
        self.sweeper = Sweeper(self._sweep_ports(on_plan), clock, window_days=days)
        _tune_collector()

    def _sweep_ports(self, on_plan: PlanSink | None) -> SweepPorts:
        """What a sweep works with. In a dry run, all that it would change goes to ``on_plan``."""
        ports = SweepPorts(self._store, self._store, self.lanes, self.core, self.sites, self.metrics)
        if on_plan is None:
            return ports
        return replace(
            ports,
            records=DryRunRecords(),
            mailboxes=DryRunLanes(self.reconciler, self.sites, on_plan),
            meter=DryRunMeter(),
        )

    async def renew_leases(self) -> None:
        """Until cancelled: keep the leases of runs that take long."""
        await every(_RENEW_LOOK_SECONDS, self.reconciler.renew_leases)

    async def close(self) -> None:
        """Close every connection."""
        await self.calendars.close()
        await self._core_http.close()
        await self._registry_http.close()
        await self._store.close()


def _tune_collector() -> None:
    """Run the garbage collector seldom, and never over the objects made at the start.

    Few objects are cyclic, and full passes take a sixth of a sweep's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled: ``work`` again and again, also while Redis is unavailable."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except StoreUnavailableError as error:
            log.warning("Redis is unavailable", reason=str(error))
