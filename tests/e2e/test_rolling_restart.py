"""Replicas restarted one after the other under load: nothing is lost or doubled, and no change waits for long.

Half of the load is pulses: workers with one job each, changed again and again, each time with another text. The
sandbox's log of a pulse's mailbox shows how long each of its changes waited, on any replica.
"""

import asyncio
import os
import signal
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from sandbox.core.rows import Change, Job, Worker
from sandbox.servers.kafka import Kafka
from sandbox.stack import Service
from tests.company import Company, eventually, found_company, now

SITES = ("site-1", "site-2")
PULSES = 24
CHANGES_A_SECOND = 100
SESSION_SECONDS = 10.0
"""After this time, by default, the group removes a killed replica."""
NEVER_AGAIN = {"CALSYNC_SWEEP_INTERVAL_SECONDS": "3600"}
"""Each site is swept when the service first starts, and not again."""
WRITES = frozenset({"create", "update", "delete"})


@dataclass
class Load:
    """Changes at a steady pace, until the load is stopped."""

    company: Company
    changes: int = 0
    pulses: list[tuple[float, str]] = field(default_factory=list)
    """When each change of a pulse was committed, and the address of its mailbox."""

    async def run(self) -> None:
        """Runs until cancelled. Each change is due at its own time, even if earlier ones are late."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            while True:
                await asyncio.sleep(max(0.0, began + self.changes / CHANGES_A_SECOND - loop.time()))
                for change in self._pulse() if self.changes % 2 else _planned(self.company):
                    self.company.producer.send(self.company.encoder.records(change))
                self.changes += 1
        finally:
            self.company.producer.flush()

    def _pulse(self) -> list[Change]:
        number = self.changes // 2 % PULSES
        self.pulses.append((time.time(), _address(number)))
        return self.company.schedule.change_job(f"pulse-{number}", customer_reference=f"{self.changes}")


@dataclass(frozen=True)
class Restart:
    """A replica that ended and is ready again: Unix times of begin and end, and the seconds until it had ended."""

    began: float
    stopped: float
    ready: float

    def __str__(self) -> str:
        return f"ended after {self.stopped:.2f} s, ready again after {self.ready - self.began:.2f} s"


@dataclass(frozen=True)
class Pause:
    """How long work stood still in an interval, in seconds."""

    longest_wait: float
    """The longest wait of a change, from its commit to a write that began after it in its mailbox."""
    silence: float
    """The longest time without any write."""

    def __str__(self) -> str:
        return f"a change waited {self.longest_wait:.2f} s at most, no write at all for {self.silence:.2f} s at most"


async def test_three_replicas_restarted_one_after_the_other_under_load(
    tmp_path: Path, kafka: Kafka, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.create_topic("rolling", partitions=12)
    kafka.create_topic("rolling.dlq", partitions=1)
    async with found_company(tmp_path, kafka.bootstrap_servers, redis_url, name="rolling", site_ids=SITES) as company:
        replicas = await settle(company)

        restarts: list[Restart] = []
        async with load(company) as clean:
            await asyncio.sleep(2)
            for replica in replicas:
                began = time.time()
                stopped = await stop(replica)
                await start_again(company, replica)
                restarts.append(Restart(began, stopped, time.time()))
            await asyncio.sleep(2)
        await company.consumed()
        await company.judge()
        await nothing_was_left_to_a_sweep(company, replicas)
        ends = [*(restart.began for restart in restarts[1:]), time.time()]
        pauses = [await pause(company, clean, restart.began, end) for restart, end in zip(restarts, ends, strict=True)]

        async with load(company) as rough:
            await asyncio.sleep(2)
            began = time.time()
            await asyncio.to_thread(replicas[0].process.kill)
            await start_again(company, replicas[0])
            crash = Restart(began, 0.0, time.time())
            await asyncio.sleep(2)
        await company.consumed(within=120)
        killed = await pause(company, rough, began, time.time())
        await company.give_core_the_schedule()
        done = await company.sweep()
        assert done.status == 0, done.errors
        await company.judge()

        with capsys.disabled():
            print(f"\n{clean.changes + rough.changes} changes, {CHANGES_A_SECOND} a second")
            for how, restart, waited in zip(
                ["stopped"] * 3 + ["killed"], [*restarts, crash], [*pauses, killed], strict=True
            ):
                print(f"  {how}: {restart}; {waited}")
        # The work of a killed replica waits until the group removes the replica; that of a stopped one must not wait.
        assert max(each.longest_wait for each in pauses) < SESSION_SECONDS
        assert max(each.longest_wait for each in pauses) < killed.longest_wait


async def settle(company: Company) -> list[Service]:
    """Three replicas whose sites are swept and whose calendars equal the schedule."""
    changes = company.generate(workers=40, jobs=8)
    schedule = company.schedule
    for number in range(PULSES):
        site_id = SITES[number % len(SITES)]
        schedule.put_worker(Worker(f"pulse-{number}", site_id, _address(number)))
        changes += schedule.add_job(_job(company, f"pulse-{number}", site_id), [f"pulse-{number}"])
    await company.open_mailboxes(changes)
    await company.give_core_the_schedule()
    company.publish(changes)
    replicas = [await company.start(f"replica-{number}", **NEVER_AGAIN) for number in (1, 2, 3)]

    async def swept() -> bool:
        return min([sum([await company.sweeps(one, site) for one in replicas]) for site in SITES]) > 0

    await eventually(swept, "both sites are swept", 60)
    await company.consumed()
    await company.judge()
    await company.graph.set_switches(latency_ms=10.0, log_size=100_000)
    return replicas


@asynccontextmanager
async def load(company: Company) -> AsyncIterator[Load]:
    """A load that runs while the context is open."""
    flowing = Load(company)
    task = asyncio.create_task(flowing.run())
    try:
        yield flowing
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stop(replica: Service) -> float:
    """Sends SIGTERM; returns the seconds until the replica ended, which must be with status 0."""
    process, began = replica.process, time.monotonic()
    child = process._child
    assert child is not None
    os.kill(process.pid, signal.SIGTERM)
    assert await asyncio.to_thread(child.wait, 30) == 0
    seconds = time.monotonic() - began
    process.stop()
    return seconds


async def start_again(company: Company, replica: Service) -> None:
    await asyncio.to_thread(replica.process.start)
    await eventually(lambda: company.ready(replica), f"{replica.process.name} is ready again")


async def nothing_was_left_to_a_sweep(company: Company, replicas: list[Service]) -> None:
    """Since the restarts no site was swept, and nothing waits for a sweep."""
    for replica in replicas:
        assert [await company.sweeps(replica, site) for site in SITES] == [0, 0]
        assert await company.metric(replica, 'calsync_events_total{result="handed_over"}') == 0
        assert await company.metric(replica, 'calsync_events_total{result="dead_lettered"}') == 0
    assert [await company.metric(replicas[0], f'calsync_assignments_dirty{{site="{site}"}}') for site in SITES] == [
        0,
        0,
    ]


async def pause(company: Company, flowed: Load, began: float, ended: float) -> Pause:
    """How long the changes of the pulses committed in this interval waited for their writes."""
    by_mailbox: dict[str, list[float]] = defaultdict(list)
    written = sorted(
        (line["time"], line["mailbox"])
        for line in await company.graph.log()
        if line["operation"] in WRITES and line["status"] < 300
    )
    for moment, address in written:
        by_mailbox[address].append(moment)
    # Every change of a pulse changes its event, so each has such a write.
    waits = [
        by_mailbox[address][bisect_left(by_mailbox[address], moment)] - moment
        for moment, address in flowed.pulses
        if began <= moment < ended
    ]
    until = min(ended, flowed.pulses[-1][0])
    moments = [began, *(moment for moment, _ in written if began <= moment < until), until]
    return Pause(max(waits), max(later - earlier for earlier, later in pairwise(moments)))


def _address(number: int) -> str:
    return f"pulse-{number}@{SITES[number % len(SITES)]}.example"


def _job(company: Company, job_id: str, site_id: str) -> Job:
    start = now().replace(microsecond=0) + timedelta(days=1, minutes=15 * company.random.randrange(1_800))
    return Job(
        job_id=job_id,
        site_id=site_id,
        subject="Annual inspection",
        address="1 High Street\nLeeds",
        starts_at=start,
        ends_at=start + timedelta(hours=2),
    )


def _planned(company: Company) -> list[Change]:
    """One decision of a planner. Deletions are so rare that the fuse allows them."""
    schedule, random = company.schedule, company.random
    staff = [worker for worker in schedule.workers if not worker.startswith("pulse")]
    job = random.choice([job for job in schedule.jobs.values() if not job.job_id.startswith("pulse")])
    colleagues = [worker for worker in staff if schedule.workers[worker].site_id == job.site_id]
    what = random.choices(
        ("create", "edit", "move", "reassign", "cancel", "restore", "delete"), weights=(20, 30, 20, 20, 4, 4, 2)
    )[0]
    match what:
        case "create":
            worker = schedule.workers[random.choice(staff)]
            return schedule.add_job(_job(company, f"new-{schedule.revision}", worker.site_id), [worker.worker_id])
        case "delete":
            return schedule.delete(job.job_id)
        case "move":
            moved = _job(company, job.job_id, job.site_id)
            return schedule.reschedule(job.job_id, moved.starts_at, moved.ends_at)
        case "reassign":
            return schedule.change_job(job.job_id, workers=random.sample(colleagues, random.randint(1, 2)))
        case "edit":
            return schedule.change_job(job.job_id, notes=f"Revision {schedule.revision}")
        case _:
            return schedule.change_job(job.job_id, status="cancelled" if what == "cancel" else "scheduled")
