"""One change at a time: how long from the commit in Core to the event in the calendar."""

import asyncio
from pathlib import Path

from benchmarks.rig import Figures, ready, rig, sample


async def measure_latency(folder: Path, rate: int, seconds: float) -> Figures:
    """An open loop of ``rate`` changes a second, each due at its own moment, whatever became of those before."""
    async with rig(folder, f"latency-{rate}", 500, 0.0) as world:
        warm = [change for n in range(500) for change in world.add_job(n, f"w{n + 1}")]
        world.publish(warm)
        service = world.stack.service()
        with service.process:
            await ready(service)
            while await sample(service, 'calsync_events_total{result="applied"}') < len(warm):
                await asyncio.sleep(0.05)
            committed = await asyncio.to_thread(_produce, world, rate, seconds)
            while await sample(service, 'calsync_events_total{result="applied"}') < len(warm) + len(committed):
                await asyncio.sleep(0.05)
            events = await world.graph.events()
    shown = {
        event["tag"].partition("/")[2]: event["modified"] for box in events.values() for event in box if event["tag"]
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
