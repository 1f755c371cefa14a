"""The demo's world in processes: broker, Valkey, Graph with Entra, Core, and the service itself."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from sandbox.control import GraphControl
from sandbox.demo.company import SITES, WORKERS
from sandbox.demo.core import CoreControl
from sandbox.demo.tenants import found_tenants
from sandbox.servers.embedded import embedded_broker, embedded_valkey
from sandbox.servers.process import ServerFailedError, ServerProcess
from sandbox.stack import Service, Stack, stand_in, url_of

_READY_WITHIN_SECONDS: Final = 30.0
_LOG_LINES_QUOTED: Final = 5


@dataclass(frozen=True, slots=True)
class World:
    """The running servers of the demo."""

    stack: Stack
    service: Service
    servers: tuple[ServerProcess, ...]
    """All servers except the broker."""

    def ended(self) -> str:
        """Returns which server has ended by itself. Empty while all are running."""
        ended = (f"{each.name} has ended by itself; see {each.log}" for each in self.servers if not each.running)
        return next(ended, "")

    def check(self) -> None:
        """Raises ServerFailedError if a server has ended."""
        if ended := self.ended():
            raise ServerFailedError(ended)


@contextmanager
def running(folder: Path, report: Callable[[str], None]) -> Iterator[World]:
    """Runs a world while the context lasts. Logs go to `folder`. Calls `report` with the name of each server it starts.

    Raises ServerFailedError.
    """
    with ExitStack() as servers:
        report("Kafka (embedded)")
        broker = servers.enter_context(embedded_broker(folder, ["core.job-changed", "core.job-changed.dlq"]))
        report("Valkey (embedded)")
        valkey = servers.enter_context(embedded_valkey(folder))
        report("Entra and Graph (sandbox)")
        graph = servers.enter_context(stand_in("graph", folder))
        report("Core (sandbox)")
        core = servers.enter_context(stand_in("core", folder, "--bootstrap-servers", broker))
        stack = Stack(
            folder=folder,
            bootstrap_servers=broker,
            redis_url=valkey.url,
            graph_url=url_of(graph),
            core_url=url_of(core),
            kafka_properties={"fetch.wait.max.ms": "10"},
        )
        stack.write_sites(list(SITES))
        asyncio.run(_populate(stack))
        report("calsync run")
        service = stack.service(CALSYNC_SWEEP_INTERVAL_SECONDS="2")
        servers.enter_context(service.process)
        world = World(stack, service, (valkey.process, graph, core, service.process))
        report("calsync run: it joins its consumer group")
        _wait_until_ready(world)
        yield world


def last_lines(folder: Path) -> str:
    """Returns the end of each log in the folder, below the log's name."""
    lines_of_all = []
    for log in sorted(folder.glob("*.log")):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES_QUOTED:]
        lines_of_all += [f"{log}:", *(f"    {line}" for line in lines or ["(empty)"])]
    return "\n".join(lines_of_all)


async def _populate(stack: Stack) -> None:
    """Creates the sites, their workers and mailboxes. There are no jobs yet."""
    async with GraphControl(stack.graph_url) as graph, CoreControl(stack.core_url) as core:
        await found_tenants(graph)
        for site in SITES:
            await core.put_site(site)
        for worker in WORKERS:
            await core.put_worker(worker)


def _wait_until_ready(world: World) -> None:
    deadline = time.monotonic() + _READY_WITHIN_SECONDS
    with httpx.Client(base_url=world.service.url, timeout=5) as client:
        while (trouble := _trouble(client)) is not None:
            world.check()
            if time.monotonic() > deadline:
                raise ServerFailedError(f"calsync is not ready after {_READY_WITHIN_SECONDS:g} s: {trouble}")
            time.sleep(0.05)


def _trouble(service: httpx.Client) -> str | None:
    """Returns why the service is not ready, or None if it is."""
    try:
        answer = service.get("/readyz")
    except httpx.TransportError as error:
        return str(error)
    return answer.text.strip() if answer.is_error else None
