"""One Kafka node, broker and controller in one process."""

import base64
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from sandbox.servers.jars import JVM, jars, java
from sandbox.servers.process import ServerProcess, accepts_connections, free_port, run
from sandbox.servers.properties import properties

POM = Path(__file__).with_name("pom.xml")
"""Names Kafka's jars, including those of Connect."""

_PROTOCOLS = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
_REQUEST_SECONDS = 10.0
_JVM = ("-Xms128m", "-Xmx384m", *JVM)

SETTINGS = Path(__file__).with_name("server.properties")

_QUICK = {
    # A group member may ask for a session timeout of one second, so that its death is noticed soon.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
    # A broker that was killed can register again only after its last session has expired: 9 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
}


class Kafka:
    """A Kafka node on its own loopback ports, with its data and log in `folder`.

    Its server properties are those of `SETTINGS`, with shorter session timeouts. A topic must be created before it is
    used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._controller_port = free_port()
        self._settings: dict[str, str] = {}
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
        """Adds a listener on loopback, with the server properties that it needs. Call it before the first start."""
        self._listeners.append((name, protocol, port))
        self._settings |= settings

    def start(self) -> None:
        """Starts the node and returns when it answers a metadata request. The first start formats its storage.

        Raises ServerFailedError.
        """
        if not self._properties.exists():
            self._format_storage()
        self.process.start()

    def stop(self) -> None:
        """Shuts the node down. Its data stays for the next start."""
        self.process.stop()

    def kill(self) -> None:
        """Kills the node with SIGKILL, like a crash."""
        self.process.kill()

    def restart(self) -> None:
        """Stops and starts the node, on the same ports and with the same data."""
        self.stop()
        self.start()

    def create_topic(self, name: str, *, partitions: int, config: Mapping[str, str] | None = None) -> None:
        """Creates a topic and returns when each of its partitions has a leader. Raises KafkaException."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin = self._admin()
        admin.create_topics([topic], operation_timeout=_REQUEST_SECONDS)[name].result(_REQUEST_SECONDS)

    def _admin(self) -> AdminClient:
        # The client's own log would only report failed connections, which are normal while the broker starts.
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
        addresses = {
            "listeners": f"{advertised},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": advertised,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "log.dirs": str(self.folder / "data"),
        }
        if more:
            addresses["listener.security.protocol.map"] = ",".join([_PROTOCOLS, *(entry for _, entry in more)])
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._properties.with_suffix(".draft")
        draft.write_text(properties(SETTINGS, _QUICK | addresses | self._settings))
        # (One in 64 of these ids begins with a hyphen, so the id is passed with "=": it must not look like an option.)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        run(
            [
                *(self._java, *_JVM, "-cp", self._classpath, "kafka.tools.StorageTool"),
                *("format", "--ignore-formatted", f"--cluster-id={cluster}", "-c", draft),
            ],
            failure="formatting Kafka's storage failed",
        )
        draft.rename(self._properties)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
