"""Runs a stand-in for Core in its own process: `python -m sandbox.core --port 0 [--bootstrap-servers … | --database]`.

With `--database`, its API answers from the real database that libpq's environment variables (PGHOST, …) name.
Prints `listening http://127.0.0.1:PORT` when it is ready. Ends at SIGTERM or Ctrl-C.
"""

import argparse
import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from sandbox.core import committed
from sandbox.core.app import build
from sandbox.core.control import Publish
from sandbox.core.database import CoreDatabase
from sandbox.core.feed import Encoder
from sandbox.core.producer import FeedProducer
from sandbox.core.rows import Change
from sandbox.core.schedule import Schedule
from sandbox.serve import serve
from sandbox.servers.psql import Psql


def publisher(producer: FeedProducer, encoder: Encoder) -> Publish:
    """Returns a function that sends changes in order and waits until they have arrived."""

    async def publish(changes: Sequence[Change]) -> None:
        for change in changes:
            producer.send(encoder.records(change))
        await asyncio.to_thread(producer.flush)

    return publish


def now() -> datetime:
    return datetime.now(UTC)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.core", description="A stand-in for Core")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 selects a free port")
    parser.add_argument("--token", default="core-token", help="the API's bearer token")
    parser.add_argument("--page-size", type=int, default=100, help="the number of workers on a page")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--bootstrap-servers", help="send the changes to this Kafka")
    where.add_argument("--database", action="store_true", help="answer from the PostgreSQL that PGHOST names")
    parser.add_argument("--topic", default="core.job-changed")
    return parser


def main() -> None:
    """Reads the command line and serves until it is stopped."""
    options = parser().parse_args()
    if options.database:
        database = CoreDatabase(Psql())
        app = committed.build(database, now, token=options.token, page_size=options.page_size)
        serve(app, options.host, options.port)
        return
    publish = None
    if options.bootstrap_servers:
        publish = publisher(FeedProducer(options.bootstrap_servers, options.topic), Encoder())
    schedule = Schedule(now)
    app = build(schedule, token=options.token, page_size=options.page_size, publish=publish)
    serve(app, options.host, options.port)


if __name__ == "__main__":
    main()
