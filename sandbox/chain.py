"""Core's feed as it really runs: PostgreSQL, Debezium in Kafka Connect, a schema registry, Kafka."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.core.database import FOLDER, CoreDatabase
from sandbox.servers.apicurio import Apicurio
from sandbox.servers.connect import Connect
from sandbox.servers.kafka import Kafka
from sandbox.servers.postgres import Postgres
from sandbox.servers.process import ServerFailedError

CONNECTOR: Final[dict[str, Any]] = json.loads((FOLDER / "debezium-connector.json").read_text(encoding="utf-8"))
TOPICS: Final[dict[str, Any]] = json.loads((FOLDER / "topics.json").read_text(encoding="utf-8"))

_SLOT: Final = CONNECTOR["config"]["slot.name"]
_FEED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Chain:
    """The servers, running. The topics are there and empty; nothing is captured before `start_feed`."""

    postgres: Postgres
    core: CoreDatabase
    kafka: Kafka
    registry: Apicurio
    connect: Connect

    def start_feed(self) -> None:
        """Gives Connect the connector, or what it needs to go on, and returns when it captures.

        Raises ServerFailedError when it does not within a minute.
        """
        self.connect.put_connector(CONNECTOR)
        self.await_feed()

    def await_feed(self) -> None:
        """Returns when the connector captures. Raises ServerFailedError when it does not within a minute.

        A failed task is restarted, as whoever runs Connect must see to: one that needs a schema while the registry
        is away fails, and Connect never tries it again by itself.
        """
        deadline = time.monotonic() + _FEED_SECONDS
        while (states := self.states()) != ["RUNNING", "RUNNING"] or not self._streams():
            if "FAILED" in states:
                self.connect.restart_failed(CONNECTOR["name"])
            if time.monotonic() > deadline:
                raise ServerFailedError(
                    f"the connector does not capture: {self.states()}; see {self.connect.process.log}"
                )
            time.sleep(0.05)

    def states(self) -> list[str]:
        """Of the connector and its task, as `Connect.states` tells them."""
        return self.connect.states(CONNECTOR["name"])

    def drop_slot(self) -> None:
        """Loses the replication slot, as a failover or `max_slot_wal_keep_size` would; the connector must not run."""
        self.postgres.psql(f"select pg_drop_replication_slot('{_SLOT}')")

    def _streams(self) -> bool:
        held = self.postgres.psql(f"select count(*) from pg_replication_slots where slot_name = '{_SLOT}' and active")
        return held == "1"


@contextmanager
def found_chain(folder: Path) -> Iterator[Chain]:
    """The servers of a chain, for as long as the context lasts; logs and data are in the folder."""
    postgres, registry = Postgres(folder), Apicurio(folder / "registry")
    # As brokers should be run: a topic that nobody created is a fault, and not an empty topic of any settings.
    kafka = Kafka(folder / "kafka", settings={"auto.create.topics.enable": "false"})
    core = CoreDatabase(postgres)
    with ExitStack() as servers:
        servers.callback(postgres.remove)
        servers.callback(kafka.stop)
        servers.callback(registry.stop)
        with ThreadPoolExecutor() as starters:
            for started in [starters.submit(server.start) for server in (postgres, kafka, registry)]:
                started.result()
        core.create()
        kafka.create_topics(TOPICS)
        environment = {**core.environment(), "SCHEMA_REGISTRY_URL": registry.url}
        connect = Connect(folder / "connect", kafka.bootstrap_servers, environment=environment)
        servers.enter_context(connect)
        yield Chain(postgres, core, kafka, registry, connect)
