"""A Graph outage while Core continues: each job costs one write afterwards, and memory use stays bounded."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.outage import fill, live_through, refusing, staffed
from benchmarks.rig import SITE, Rig
from sandbox.servers.kafka import Kafka
from tests.company import found_company

JOBS, TIMES, MAILBOXES = 1_500, 20, 150
"""The whole hour, 18,000 jobs changed 20 times, is ``python -m benchmarks outage``."""


@pytest.mark.parametrize("fault", ["service-unavailable", "cut"])
async def test_a_backlog_after_a_graph_outage_costs_one_write_a_job_and_bounded_memory(
    tmp_path: Path, kafka: Kafka, redis_url: str, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    name = f"backlog-{fault}"
    kafka.create_topic(name, partitions=12)
    kafka.create_topic(f"{name}.dlq", partitions=1)
    async with found_company(
        tmp_path, kafka.bootstrap_servers, redis_url, name=name, site_ids=(SITE.site_id,)
    ) as company:
        staffed(company.schedule, MAILBOXES)
        await company.open_mailboxes()
        await company.give_core_the_schedule()
        service = await company.start(CALSYNC_SWEEP_INTERVAL_SECONDS="3600")
        world = Rig(company.stack, company.graph, company.schedule, company.producer, company.encoder)
        await fill(world, service, JOBS)

        async with asyncio.timeout(300):
            seen = await live_through(world, service, TIMES, refusing(company.graph, fault))

        with capsys.disabled():
            print(
                f"\n{fault}: {seen.changes} changes of {seen.jobs} jobs",
                f"read in {seen.seconds_to_read:.1f} s, lag {seen.lag:.0f} records, {seen.lag_seconds:.1f} s",
                f"worked off in {seen.seconds_to_work_off:.1f} s, {seen.writes_a_job:.3f} writes a job",
                f"{seen.before:.0f} MiB before, {seen.quarter:.0f} with a quarter read, {seen.read:.0f} with all read, "
                f"{seen.after:.0f} worked off",
                sep="\n  ",
            )
        await company.consumed()
        await company.judge()
        assert seen.results["handed_over"] == seen.results["dead_lettered"] == 0
        assert await company.metric(service, f'calsync_assignments_dirty{{site="{SITE.site_id}"}}') == 0
        assert seen.writes_a_job < 1.05
        assert seen.lag >= JOBS
        assert seen.lag_seconds > 0
        assert seen.read < 1.4 * seen.quarter
        assert max(seen.read, seen.after) < 250
