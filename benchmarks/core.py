"""Core as a process of its own, with the given number of workers at one site, and of jobs for each."""

import argparse
from datetime import UTC, datetime, timedelta

from benchmarks.rig import SITE, job
from sandbox.core.app import build
from sandbox.core.rows import Site, Worker
from sandbox.core.schedule import Schedule
from sandbox.serve import serve
from sandbox.stack import CORE_TOKEN


def main() -> None:
    """Serves the schedule until a signal stops it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.core")
    parser.add_argument("--mailboxes", type=int, required=True)
    parser.add_argument("--events", type=int, required=True, help="a mailbox")
    options = parser.parse_args()
    schedule = Schedule(lambda: datetime.now(UTC))
    schedule.put_site(Site(SITE.site_id, SITE.name, SITE.timezone))
    for n in range(1, options.mailboxes + 1):
        schedule.put_worker(Worker(f"w{n}", SITE.site_id, f"w{n}@bench.example"))
        for k in range(options.events):
            schedule.add_job(job(f"J{n}-{k}", timedelta(days=1, hours=7 * k % 456)), [f"w{n}"])
    serve(build(schedule, token=CORE_TOKEN), "127.0.0.1", 0)


if __name__ == "__main__":
    main()
