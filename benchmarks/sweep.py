"""Sweeps of one site: everything to create, then nothing to repair."""

import asyncio
import os
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Redis

from benchmarks.rig import ROLES, SITE, Figures
from sandbox.control import GraphControl, Secret
from sandbox.servers.embedded import embedded_valkey
from sandbox.servers.process import REPOSITORY, ServerProcess
from sandbox.servers.redis import debian_redis
from sandbox.stack import SECRET, Stack, stand_in, url_of

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the site."""

    mailboxes: int
    events: int
    """The number of events in a mailbox."""

    def __str__(self) -> str:
        return f"{self.mailboxes:,} × {self.events:,}"

    @property
    def links(self) -> int:
        """Events in all, and so links in Redis."""
        return self.mailboxes * self.events


async def measure_sweep(folder: Path, size: Size, idle_sweeps: int, *, stock_redis: bool) -> tuple[Figures, Figures]:
    """A cold sweep, and the medians of some idle ones."""
    here = Path(tempfile.mkdtemp(dir=folder))
    async with _world(here, size, stock_redis=stock_redis) as world:
        cold = await world.sweep()
        idle = [await world.sweep() for _ in range(idle_sweeps)]
    # The idle sweeps begin with the memory that the cold one left in use.
    return _cold(size, cold), _idle(size, idle)


@dataclass(frozen=True, slots=True)
class _Sweep:
    """One sweep, measured from outside."""

    seconds: float
    cpu: float
    requests: dict[str, int]
    """Requests to Graph by operation; requests inside batches count by their own operation."""
    throttled: int
    before: float
    """Memory in use, in MiB."""
    after: float
    peak: float
    redis_bytes: int
    """Growth of Redis."""


def _cold(size: Size, sweep: _Sweep) -> Figures:
    return Figures(
        str(size),
        {
            "seconds": sweep.seconds,
            "writes": sweep.requests.get("create", 0),
            "writes/s": sweep.requests.get("create", 0) / sweep.seconds,
            "CPU ms/write": sweep.cpu * 1000 / size.links,
            "429": sweep.throttled,
            "MiB held before": sweep.before,
            "MiB held after": sweep.after,
            "MiB at most": sweep.peak,
            "Redis B/link": sweep.redis_bytes / size.links,
        },
    )


def _idle(size: Size, sweeps: list[_Sweep]) -> Figures:
    seconds = statistics.median(sweep.seconds for sweep in sweeps)
    cpu = statistics.median(sweep.cpu for sweep in sweeps)
    requests = sum((Counter(sweep.requests) for sweep in sweeps), Counter[str]())
    return Figures(
        str(size),
        {
            "seconds": seconds,
            "events/s": size.links / seconds,
            "events/CPU s": size.links / cpu,
            "CPU s/1,000 events": cpu * 1000 / size.links,
            "views/mailbox": requests["view"] / size.mailboxes / len(sweeps),
            "other reads": requests["get"] + requests["list"] + requests["timezone"],
            "writes": requests["create"] + requests["update"] + requests["delete"],
            "429": sum(sweep.throttled for sweep in sweeps),
            "MiB held before": sweeps[0].before,
            "MiB held after": sweeps[-1].after,
            "MiB at most": max(sweep.peak for sweep in sweeps),
        },
    )


@dataclass(slots=True)
class _World:
    graph: GraphControl
    redis: Redis
    engine: asyncio.subprocess.Process
    links: int

    async def sweep(self) -> _Sweep:
        """Has the engine sweep once."""
        await self.graph.reset_stats()
        redis_before, before = await self._redis_bytes(), self._memory("VmRSS")
        self._forget_peak()
        reported = await self._ask()
        if not reported["whole"] or reported["unserved"] or reported["events"] + reported["repairs"] != self.links:
            raise RuntimeError(f"not what a sweep of {self.links} events should say: {reported}")
        stats = await self.graph.stats()
        return _Sweep(
            reported["seconds"],
            reported["cpu"],
            {operation: sum(counts.values()) for operation, counts in stats["requests"].items()},
            stats["throttled"],
            before,
            self._memory("VmRSS"),
            self._memory("VmHWM"),
            await self._redis_bytes() - redis_before,
        )

    async def _ask(self) -> dict[str, Any]:
        assert self.engine.stdin is not None
        assert self.engine.stdout is not None
        self.engine.stdin.write(b"\n")
        answer: dict[str, Any] = orjson.loads(await self.engine.stdout.readline())
        return answer

    async def _redis_bytes(self) -> int:
        return int((await self.redis.info("memory"))["used_memory"])

    def _forget_peak(self) -> None:
        Path(f"/proc/{self.engine.pid}/clear_refs").write_text("5")

    def _memory(self, name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{self.engine.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024 / _MIB


@asynccontextmanager
async def _world(here: Path, size: Size, *, stock_redis: bool) -> AsyncIterator[_World]:
    with ExitStack() as servers:
        redis = servers.enter_context(debian_redis(here) if stock_redis else embedded_valkey(here))
        graph = servers.enter_context(stand_in("graph", here))
        core = servers.enter_context(_core(here, size))
        stack = Stack(here, "127.0.0.1:9", redis.url, url_of(graph), url_of(core))  # sweeps need no broker
        stack.write_sites([SITE])
        async with GraphControl(stack.graph_url) as control, Redis.from_url(redis.url) as client:
            await control.add_tenant(SITE.tenant_id)
            await control.add_app(SITE.tenant_id, SITE.client_id, [Secret(SECRET)], ROLES)
            await control.add_many_mailboxes(SITE.tenant_id, "w{n}@bench.example", size.mailboxes)
            engine = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.engine"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, **stack.environment(0)},
                cwd=REPOSITORY,
            )
            assert engine.stdin is not None
            assert engine.stdout is not None
            try:
                await engine.stdout.readline()  # it is ready
                yield _World(control, client, engine, size.links)
            finally:
                engine.stdin.close()  # this ends the engine
                await engine.wait()


def _core(here: Path, size: Size) -> ServerProcess:
    process = ServerProcess(
        name="core",
        command=[
            *(sys.executable, "-m", "benchmarks.core"),
            *("--mailboxes", str(size.mailboxes), "--events", str(size.events)),
        ],
        log=here / "core.log",
        ready=lambda: process.find_in_log(r"^listening \S+$") is not None,
        start_within=300,
    )
    return process
