"""One change at a time: how long from the commit in Core to the event in the calendar."""

import asyncio
import time
from datetime import datetime
from pathlib import Path

from benchmarks.rig import Figures, Rig, reached, ready, rig

_APPLIED = 'calsync_events_total{result="applied"}'


async def measure_latency(folder: Path, rate: int, seconds: float) -> Figures:
    """An open loop of ``rate`` changes a second, each due at its own time, even if earlier ones are late."""
    async with rig(folder, f"latency-{rate}", 500, 0.0) as world:
        warm = [change for n in range(500) for change in world.add_job(n, f"w{n + 1}")]
        world.publish(warm)
        service = world.stack.service()
        with service.process:
            await ready(service)
            await reached(service, _APPLIED, len(warm))
            committed = await asyncio.to_thread(_produce, world, rate, seconds)
            await reached(service, _APPLIED, len(warm) + len(committed))
            events = await world.graph.events()
    shown = {
        event["tag"].partition("/")[2]: datetime.fromisoformat(event["createdDateTime"]).timestamp()
        for box in events.values()
        for event in box
    }
    waits = sorted((shown[job_id] - moment) * 1000 for job_id, moment in committed.items())
    waits = waits[len(waits) // 10 :]
    return Figures(
        f"{rate}/s",
        {
            "changes": float(len(waits)),
            "p50 ms": waits[len(waits) // 2],
            "p95 ms": waits[len(waits) * 95 // 100],
            "p99 ms": waits[len(waits) * 99 // 100],
            "max ms": waits[-1],
        },
    )


def _produce(world: Rig, rate: int, seconds: float) -> dict[str, float]:
    """Produces at the given pace; returns the Unix time at which each job was due."""
    began, committed = time.time(), {}
    for n in range(int(rate * seconds)):
        due = began + n / rate
        time.sleep(max(0.0, due - time.time()))
        committed[f"J{1000 + n}"] = due
        world.publish(world.add_job(1000 + n, f"w{n * 7 % 500 + 1}"), flush=False)
    world.producer.flush()
    return committed
