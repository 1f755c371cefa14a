"""One Kafka node, broker and controller in one process."""

import base64
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sandbox.servers.jars import JVM, jars, java
from sandbox.servers.process import ServerProcess, accepts_connections, free_port, run

POM = Path(__file__).with_name("pom.xml")
"""Of Kafka's jars, Connect's among them."""

_REQUEST_SECONDS = 10.0
_JVM = ("-Xms128m", "-Xmx384m", *JVM)

_ONE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "log.segment.bytes": "16777216",
    "num.partitions": "4",
    # Groups in tests settle at once, and a killed member is missed after a second if it asks for that.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
    # A broker that was killed can register again only when its last session has run out: 9 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
}


class Kafka:
    """A Kafka node on loopback ports of its own, with its data and log in `folder`.

    `settings` are further server properties, which win over those here. Topics that are asked for without
    having been created appear with 4 partitions, as with the embedded broker.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._controller_port = free_port()
        self._settings = dict(settings or {})
        self._listeners: list[tuple[str, str, int]] = []
        self._classpath = f"{jars(POM)}/*"
        self._java = java()
        self._properties = folder / "server.properties"
        self.process = ServerProcess(
            name="Kafka",
            command=[self._java, *_JVM, "-cp", self._classpath, "kafka.Kafka", self._properties],
            log=folder / "kafka.log",
            ready=self._answers,
            start_within=60,
            stop_within=20,
        )

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add_listener(self, name: str, protocol: str, port: int, settings: Mapping[str, str]) -> None:
        """One more listener on loopback, before the first start, with the server properties that it needs."""
        self._listeners.append((name, protocol, port))
        self._settings |= settings

    def start(self) -> None:
        """Starts it, its storage formatted the first time; returns when it answers a metadata request.

        Raises ServerFailedError.
        """
        if not self._properties.exists():
            self._format_storage()
        self.process.start()

    def stop(self) -> None:
        """Shuts it down; its data stay for the next start."""
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Stops and starts it, on the same ports and with the same data."""
        self.stop()
        self.start()

    def create_topic(self, name: str, *, partitions: int, config: Mapping[str, str] | None = None) -> None:
        """Creates a topic and returns when each of its partitions has a leader. Raises KafkaException."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin = self._admin()
        admin.create_topics([topic], operation_timeout=_REQUEST_SECONDS)[name].result(_REQUEST_SECONDS)

    def create_topics(self, document: Mapping[str, Any]) -> None:
        """Creates the topics of `schemas/core/topics.json`, with the one replica that there can be here."""
        for name, topic in document.items():
            config = {**topic["config"], "min.insync.replicas": "1"}
            self.create_topic(name, partitions=topic["partitions"], config=config)

    def _admin(self) -> AdminClient:
        # Its own log would tell of connections that fail, which is the question while the broker starts.
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def _answers(self) -> bool:
        if not accepts_connections(self.port):
            return False
        try:
            return len(self._admin().list_topics(timeout=1).brokers) > 0
        except KafkaException:
            return False

    def _format_storage(self) -> None:
        more = [(f"{name}://127.0.0.1:{port}", f"{name}:{protocol}") for name, protocol, port in self._listeners]
        advertised = ",".join([f"PLAINTEXT://127.0.0.1:{self.port}", *(address for address, _ in more)])
        protocols = ",".join([_ONE_NODE["listener.security.protocol.map"], *(entry for _, entry in more)])
        properties = {
            **_ONE_NODE,
            "listeners": f"{advertised},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": advertised,
            "listener.security.protocol.map": protocols,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "log.dirs": str(self.folder / "data"),
            **self._settings,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._properties.with_suffix(".draft")
        draft.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        run(
            [
                *(self._java, *_JVM, "-cp", self._classpath, "kafka.tools.StorageTool"),
                *("format", "--ignore-formatted", "-t", cluster, "-c", draft),
            ],
            failure="Kafka's storage could not be formatted",
        )
        draft.rename(self._properties)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
