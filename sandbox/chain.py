"""Core's feed with the real servers: PostgreSQL, Debezium in Kafka Connect, a schema registry, Kafka.

`docker-compose.yml` runs the same chain in containers, with the same settings files and the same code for the steps.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.core.database import FEED_PASSWORD, CoreDatabase
from sandbox.feed import CONNECTOR, SLOT, TOPICS, Feed
from sandbox.servers.apicurio import Apicurio
from sandbox.servers.connect import Connect
from sandbox.servers.kafka import Kafka
from sandbox.servers.kafka.topics import create_topics
from sandbox.servers.postgres import Postgres
from sandbox.servers.process import ServerFailedError

__all__ = ["CONNECTOR", "TOPICS", "Chain", "found_chain"]


@dataclass(frozen=True, slots=True)
class Chain:
    """The running servers. The topics exist and are empty. Nothing is captured before `start_feed`."""

    postgres: Postgres
    core: CoreDatabase
    kafka: Kafka
    registry: Apicurio
    connect: Connect

    @property
    def feed(self) -> Feed:
        return Feed(self.connect.api, self.core)

    def start_feed(self) -> None:
        """Does the same as `Feed.start`. Raises ServerFailedError, which names Connect's log."""
        self.feed.connect.put_connector(CONNECTOR)
        self.await_feed()

    def await_feed(self) -> None:
        """Does the same as `Feed.wait`. Raises ServerFailedError, which names Connect's log."""
        try:
            self.feed.wait()
        except ServerFailedError as error:
            raise ServerFailedError(f"{error}; see {self.connect.process.log}") from error

    def drop_slot(self) -> None:
        """Drops the replication slot, as a failover or `max_slot_wal_keep_size` can. The connector must not run."""
        self.core.run(f"select pg_drop_replication_slot('{SLOT}')")


@contextmanager
def found_chain(folder: Path) -> Iterator[Chain]:
    """Runs the servers of a chain while the context lasts. Logs and data are in the folder."""
    postgres, kafka, registry = Postgres(folder), Kafka(folder / "kafka"), Apicurio(folder / "registry")
    core = CoreDatabase(postgres.psql)
    with ExitStack() as servers:
        servers.callback(postgres.remove)
        servers.callback(kafka.stop)
        servers.callback(registry.stop)
        with ThreadPoolExecutor() as starters:
            for started in [starters.submit(server.start) for server in (postgres, kafka, registry)]:
                started.result()
        core.create()
        create_topics(kafka.bootstrap_servers, TOPICS)
        environment = {
            "CORE_DB_HOST": "127.0.0.1",
            "CORE_DB_PORT": str(postgres.port),
            "CORE_DB_NAME": core.name,
            "CORE_DB_PASSWORD": FEED_PASSWORD,
            "SCHEMA_REGISTRY_URL": registry.url,
        }
        connect = Connect(folder / "connect", kafka.bootstrap_servers, environment=environment)
        servers.enter_context(connect)
        yield Chain(postgres, core, kafka, registry, connect)
