"""Prepares what the service needs, one step for each command: `python -m sandbox.prepare STEP …`.

The containers of `docker-compose.yml` run these steps; `sandbox.chain` calls the same functions without containers.
Every step can be repeated: it leaves what exists as it is. Core's database is the PostgreSQL that libpq's environment
variables name (PGHOST, PGPORT, PGPASSWORD). CORE_DB_PASSWORD holds the password of the feed's role.
"""

import argparse
import asyncio
import os
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
from confluent_kafka import KafkaException

from sandbox import certificates
from sandbox.control import GraphControl
from sandbox.core.database import CoreDatabase
from sandbox.demo.company import SITES
from sandbox.demo.rows import company
from sandbox.demo.tenants import found_tenants
from sandbox.feed import TOPICS, Feed
from sandbox.servers.connect.api import ConnectApi
from sandbox.servers.kafka.topics import create_topics
from sandbox.servers.process import ServerFailedError
from sandbox.servers.psql import Psql


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    whole = argparse.ArgumentParser(prog="python -m sandbox.prepare", description="Prepare a world, step by step")
    steps = whole.add_subparsers(dest="step", required=True)

    step = steps.add_parser("files", help="the sites file, and the certificate of the sandbox's Graph")
    step.add_argument("folder", type=Path)
    step.add_argument("--name", action="append", required=True, help="a name of Graph's server; may be repeated")
    step.set_defaults(do=_files)

    step = steps.add_parser("database", help="Core's database, with a small company in it")
    step.set_defaults(do=_database)

    step = steps.add_parser("topics", help="the topics of schemas/core/topics.json")
    step.add_argument("--bootstrap-servers", required=True)
    step.set_defaults(do=_topics)

    step = steps.add_parser("connector", help="the connector of schemas/core; returns when it captures changes")
    step.add_argument("connect", help="the URL of Kafka Connect")
    step.set_defaults(do=_connector)

    step = steps.add_parser("keep", help="restart failed tasks of the connector, for ever")
    step.add_argument("connect", help="the URL of Kafka Connect")
    step.add_argument("--every", type=float, default=10.0, metavar="SECONDS")
    step.set_defaults(do=_keep)

    step = steps.add_parser("tenants", help="the company's tenants, apps and mailboxes in the sandbox's Graph")
    step.add_argument("graph", help="the URL of the sandbox's Graph")
    step.add_argument("--ca", type=Path, help="the certificate authority to trust")
    step.set_defaults(do=_tenants)
    return whole


def main() -> int:
    """Does one step and returns 0. If the step fails, prints the reason and returns 1."""
    options = parser().parse_args()
    try:
        print(options.do(options))
    except (ServerFailedError, KafkaException, httpx.HTTPError, OSError) as error:
        print(f"{options.step}: {error}", file=sys.stderr)
        return 1
    return 0


def _files(options: argparse.Namespace) -> str:
    issued = certificates.issue(options.folder, options.name)
    draft = options.folder / "sites.draft"
    draft.write_text("\n".join(site.toml() for site in SITES), encoding="utf-8")
    draft.rename(options.folder / "sites.toml")
    return f"the sites file was written; the certificate {'was written' if issued else 'existed already'}"


def _database(_options: argparse.Namespace) -> str:
    core = CoreDatabase(Psql())
    core.create(os.environ["CORE_DB_PASSWORD"])
    core.run(company(datetime.now(UTC)))
    return f"Core's database has {core.run('select count(*) from jobs')} jobs"


def _topics(options: argparse.Namespace) -> str:
    created = create_topics(options.bootstrap_servers, TOPICS)
    return f"topics created: {', '.join(created) or 'none, all existed already'}"


def _connector(options: argparse.Namespace) -> str:
    _feed(options).start()
    return "the connector captures changes"


def _keep(options: argparse.Namespace) -> str:
    _feed(options).keep(options.every)
    return ""


def _feed(options: argparse.Namespace) -> Feed:
    return Feed(ConnectApi(options.connect), CoreDatabase(Psql()))


def _tenants(options: argparse.Namespace) -> str:
    return f"tenants created: {', '.join(asyncio.run(_found(options))) or 'none, all existed already'}"


async def _found(options: argparse.Namespace) -> list[str]:
    trusted = True if options.ca is None else ssl.create_default_context(cafile=options.ca)
    async with GraphControl(options.graph, verify=trusted) as graph:
        return await found_tenants(graph)


if __name__ == "__main__":
    sys.exit(main())
