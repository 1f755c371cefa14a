"""One distributed worker of Kafka Connect. It keeps its connectors, their offsets and states in Kafka topics."""

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
    """A worker with its REST API on its own loopback port, and its log in `folder`.

    Its properties are those of `SETTINGS`. Connectors may refer to a variable in `environment` as `${env:NAME}`.
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
        """Starts the worker and returns when it knows its connectors. Raises ServerFailedError."""
        self._properties.parent.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(properties(SETTINGS, {"plugin.path": str(jars(_PLUGINS_POM))}))
        self.process.start()

    def stop(self) -> None:
        """Shuts the worker down. Its connectors continue when it is started again."""
        self.process.stop()

    def kill(self) -> None:
        """Kills the worker with SIGKILL, like a crash."""
        self.process.kill()

    def restart(self) -> None:
        """Stops and starts the worker, on the same port."""
        self.stop()
        self.start()

    def put_connector(self, document: Mapping[str, Any]) -> None:
        """See `ConnectApi.put_connector`."""
        self.api.put_connector(document)

    def states(self, name: str) -> list[str]:
        """See `ConnectApi.states`."""
        return self.api.states(name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
