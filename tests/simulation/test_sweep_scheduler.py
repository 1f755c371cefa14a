"""The sweep schedule in simulated time: every site is swept, even while changes wait."""

import asyncio
from dataclasses import replace
from itertools import pairwise

from consumer.sync.scheduler import OVERDUE_INTERVALS, SweepScheduler
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.test_changes import PARTITIONS, World
from tests.simulation.world import SITES, Replica

INTERVAL = 20.0


def test_a_site_that_waited_long_for_its_sweep_is_overdue_sooner() -> None:
    async def story() -> None:
        world = World(1)
        replica = Replica(world.log, world.store, world.outlook, world.random, PARTITIONS, runs_at_once=1)
        for site_id in SITES:
            world.core.create(site_id, frozenset(world.core.addresses))

        async def busy() -> None:
            """Changes every mailbox again before the one worker has seen to all of them."""
            while True:
                for job in list(world.core.jobs.values()):
                    world.core.put(replace(job, subject=f"edit {world.core.revision}"))
                await asyncio.sleep(0.1)

        rounds = SweepScheduler(
            replica.sweeper(world.core),
            world.store,
            replica.sites,
            clock=SimulatedClock(),
            interval=INTERVAL,
            owns=lambda _site_id: True,
        )
        tasks = [asyncio.create_task(busy()), asyncio.create_task(rounds.run())]
        await asyncio.sleep(30 * INTERVAL)
        for task in tasks:
            task.cancel()
        replica.kill()
        for site_id in SITES:
            ended = replica.meter.sweeps[site_id]
            # The second sweep was overdue sooner: it could have begun an interval after the first.
            assert ended[1] - ended[0] < 0.75 * ended[0]
            assert max(later - earlier for earlier, later in pairwise(ended)) < (1 + OVERDUE_INTERVALS) * INTERVAL

    simulate(story())
