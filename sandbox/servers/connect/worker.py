"""One worker of Kafka Connect, distributed: its connectors, their offsets and states are topics in Kafka."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from sandbox.servers.jars import JVM, jars, java
from sandbox.servers.kafka.broker import POM as KAFKA_POM
from sandbox.servers.process import ServerProcess, free_port

_PLUGINS_POM = Path(__file__).with_name("plugins.xml")

_SETTINGS = {
    "group.id": "connect",
    "config.storage.topic": "connect-configs",
    "config.storage.replication.factor": "1",
    "offset.storage.topic": "connect-offsets",
    "offset.storage.replication.factor": "1",
    "offset.storage.partitions": "1",
    "status.storage.topic": "connect-status",
    "status.storage.replication.factor": "1",
    "status.storage.partitions": "1",
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    # ${env:NAME} in a connector's configuration is the worker's environment variable.
    "config.providers": "env",
    "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
    "plugin.discovery": "service_load",
    # What was sent since the last flush is sent again after a crash; before the first one, all is snapshotted again.
    "offset.flush.interval.ms": "1000",
    # A worker that was killed is missed soon, and its tasks wait for nobody to come back.
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "1000",
    "scheduled.rebalance.max.delay.ms": "0",
}


class Connect:
    """A worker with its REST API on a loopback port of its own, and its log in `folder`.

    `environment` is what connectors may refer to as `${env:NAME}`; `settings` are further worker properties,
    which win over those here.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap_servers: str,
        *,
        environment: Mapping[str, str],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        properties = folder / "worker.properties"
        self._properties = properties
        self._settings = {
            **_SETTINGS,
            "bootstrap.servers": bootstrap_servers,
            "listeners": f"http://127.0.0.1:{self.port}",
            "plugin.path": str(jars(_PLUGINS_POM)),
            **(settings or {}),
        }
        self.process = ServerProcess(
            name="Kafka Connect",
            command=[
                *(java(), "-Xmx256m", *JVM, "-cp", f"{jars(KAFKA_POM)}/*"),
                *("org.apache.kafka.connect.cli.ConnectDistributed", properties),
            ],
            log=folder / "connect.log",
            ready=self._answers,
            environment=environment,
            start_within=90,
            stop_within=20,
        )

    @property
    def url(self) -> str:
        """Of its REST API."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and returns when it answers for its connectors. Raises ServerFailedError."""
        self._properties.parent.mkdir(parents=True, exist_ok=True)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in self._settings.items()))
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
        """Creates or changes a connector: `{"name", "config"}`. Raises httpx.HTTPError."""
        self._ask("PUT", f"/connectors/{document['name']}/config", document["config"])

    def restart_failed(self, name: str) -> None:
        """Restarts what has failed of a connector and its tasks. Raises httpx.HTTPError."""
        self._ask("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")

    def states(self, name: str) -> list[str]:
        """Of the connector and then of its tasks: RUNNING, FAILED, … Empty while Connect does not know it."""
        try:
            status = self._ask("GET", f"/connectors/{name}/status")
        except httpx.HTTPError:
            return []
        return [status["connector"]["state"], *(task["state"] for task in status["tasks"])]

    def _ask(self, method: str, path: str, document: Any = None) -> Any:
        answer = httpx.request(method, f"{self.url}{path}", json=document, timeout=30)
        if answer.is_error:
            raise httpx.HTTPStatusError(f"{method} {path}: {answer.text}", request=answer.request, response=answer)
        return answer.json() if answer.content else None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/connectors", timeout=5).is_success
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
