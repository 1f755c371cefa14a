"""The service's engine in a process of its own, so that its CPU and memory can be measured alone.

It sweeps once for each line that it reads, and answers with a line of JSON: seconds, CPU seconds and the result.
"""

import asyncio
import sys
import time
from typing import Any

import orjson
import uvloop

from consumer import settings
from consumer.cli.opened import opened
from consumer.ops import logging


async def main() -> None:
    """Sweeps the one site of the environment's sites file until the input ends."""
    chosen = settings.load()
    logging.configure("error", chosen.log_format)
    async with opened(chosen) as (engine, sites):
        [site] = sites.values()
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            began, used = time.monotonic(), time.process_time()
            report = await engine.sweeper.sweep(site)
            reported: dict[str, Any] = {
                "seconds": time.monotonic() - began,
                "cpu": time.process_time() - used,
                "whole": report.whole,
                "unserved": report.unserved,
                "events": report.events,
                "repairs": report.repairs.total(),
            }
            print(orjson.dumps(reported).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
