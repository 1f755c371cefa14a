"""One worker of Kafka Connect, distributed: its connectors, their offsets and states are topics in Kafka."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.servers.connect.api import ConnectApi
from sandbox.servers.jars import JVM, jars, java
from sandbox.servers.kafka.broker import POM as KAFKA_POM
from sandbox.servers.process import ServerProcess, free_port
from sandbox.servers.properties import properties

_PLUGINS_POM = Path(__file__).with_name("plugins.xml")

SETTINGS = Path(__file__).with_name("worker.properties")


class Connect:
    """A worker with its REST API on a loopback port of its own, and its log in `folder`.

    Its properties are those of `SETTINGS`. `environment` is what connectors may refer to as `${env:NAME}`.
    """

    def __init__(self, folder: Path, bootstrap_servers: str, *, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = ConnectApi(self.url)
        self._properties = folder / "worker.properties"
        addresses = {
            "CONNECT_BOOTSTRAP_SERVERS": bootstrap_servers,
            "CONNECT_LISTENERS": self.url,
        }
        self.process = ServerProcess(
            name="Kafka Connect",
            command=[
                *(java(), "-Xmx256m", *JVM, "-cp", f"{jars(KAFKA_POM)}/*"),
                *("org.apache.kafka.connect.cli.ConnectDistributed", self._properties),
            ],
            log=folder / "connect.log",
            ready=self.api.answers,
            environment={**environment, **addresses},
            start_within=90,
            stop_within=20,
        )

    def start(self) -> None:
        """Starts it and returns when it answers for its connectors. Raises ServerFailedError."""
        self._properties.parent.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(properties(SETTINGS, {"plugin.path": str(jars(_PLUGINS_POM))}))
        self.process.start()

    def stop(self) -> None:
        """Shuts it down; its connectors go on when it is started again."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Stops and starts it, on the same port."""
        self.stop()
        self.start()

    def put_connector(self, document: Mapping[str, Any]) -> None:
        """As `ConnectApi` does."""
        self.api.put_connector(document)

    def states(self, name: str) -> list[str]:
        """As `ConnectApi` does."""
        return self.api.states(name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
