"""docker-compose.yml without containers: its commands, health checks and environments, each service on loopback.

PostgreSQL, the registry, Connect and Valkey are the native servers, which read the files that compose mounts or copies.
Every Python service runs the command of the file, and Kafka starts the way its image starts it. Only addresses and
folders differ.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.core.database import CoreDatabase
from sandbox.servers.apicurio import Apicurio
from sandbox.servers.connect import Connect
from sandbox.servers.embedded import embedded_valkey
from sandbox.servers.jars import JVM, jars, java
from sandbox.servers.kafka.broker import POM, SETTINGS
from sandbox.servers.postgres import Postgres
from sandbox.servers.process import REPOSITORY, ServerProcess, free_port, run
from sandbox.servers.redis import RedisServer
from tests.compose_file import Service, services, steps

_LOG4J = "Configuration:\n  Properties: {}\n  Appenders: {}\n  Loggers:\n    Root:\n      level: WARN\n"


@dataclass
class Composed:
    """The services of the file, in the order in which they start."""

    folder: Path
    services: dict[str, Service] = field(default_factory=services)
    ports: dict[str, int] = field(default_factory=dict)
    """Where each service listens here, by its address in the file: `kafka:9092`."""
    processes: dict[str, ServerProcess] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    """What each step printed when it last ran."""

    def here(self, name: str, text: str) -> str:
        """Replaces the addresses and folders of a service's text with those used here."""
        text = text.replace("$$", "$").replace("/world", str(self.folder / "world"))
        own = {
            f"{host}:{port.rpartition(':')[2]}": at
            for port, at in self.ports.items()
            if port.split(":")[0] == name
            for host in ("127.0.0.1", "0.0.0.0")
        }
        for address, port in {**self.ports, **own}.items():
            host = "localhost" if "https" in text else "127.0.0.1"
            text = re.sub(rf"(?<![\w.]){re.escape(address)}\b", f"{host}:{port}", text)
        return text.replace("0.0.0.0", "127.0.0.1")

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service, including the variables of its own image."""
        given: Mapping[str, Any] = self.services[name].get("environment", {})
        texts = {variable: self.here(name, str(value)) for variable, value in given.items()}
        for prefix in ("PG", "CORE_DB_"):
            if f"{prefix}HOST" in texts:
                address = f"{texts[f'{prefix}HOST']}:{texts[f'{prefix}PORT']}"
                texts |= {f"{prefix}HOST": "127.0.0.1", f"{prefix}PORT": str(self.ports[address])}
        return texts

    def command(self, name: str, command: list[str]) -> list[str]:
        """The command of a service, with the addresses, ports and programs used here."""
        own = {port.split(":")[1]: at for port, at in self.ports.items() if port.split(":")[0] == name}
        here = [self.here(name, part) for part in command]
        here = [re.sub(r"^(--port=)(\d+)$", lambda found: f"{found[1]}{own[found[2]]}", part) for part in here]
        here = [re.sub(r"/dev/tcp/127.0.0.1/(\d+)", lambda f: f"/dev/tcp/127.0.0.1/{own[f[1]]}", part) for part in here]
        programs = {"python": sys.executable, "calsync": str(Path(sys.executable).with_name("calsync"))}
        return [programs.get(here[0], here[0]), *here[1:]]

    def do(self, name: str) -> None:
        """Runs a step, for the first time or again. Raises ServerFailedError."""
        command = self.command(name, self.services[name]["command"])
        self.printed[name] = run(command, failure=name, environment=self.environment(name), folder=REPOSITORY).strip()

    def healthy(self, name: str) -> bool:
        """Whether the health check of a service passes."""
        kind, *test = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD", name
        done = subprocess.run(
            self.command(name, test),
            env={**os.environ, **self.environment(name)},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )
        return done.returncode == 0

    def process(self, name: str, command: list[str]) -> ServerProcess:
        """A service that is ready when its health check passes."""
        self.processes[name] = ServerProcess(
            name=name,
            command=self.command(name, command),
            log=self.folder / f"{name}.log",
            ready=lambda: self.healthy(name),
            environment=self.environment(name),
            start_within=90,
            stop_within=30,
        )
        return self.processes[name]

    def kafka(self) -> ServerProcess:
        """Kafka, started as its image does it: the environment overrides the mounted file; storage is formatted."""
        (self.folder / "kafka").mkdir()
        defaults, mounted, final = (self.folder / "kafka" / part for part in ("default", "mounted", "final"))
        for each in (defaults, mounted, final):
            each.mkdir()
        (defaults / "server.properties").write_text("process.roles=none\n")
        for log4j in ("log4j2.yaml", "tools-log4j2.yaml"):
            (defaults / log4j).write_text(_LOG4J)
        (mounted / "server.properties").write_text(SETTINGS.read_text())
        broker, controller = self.ports["kafka:9092"], free_port()
        environment = {
            variable: self.here("kafka", text)
            .replace("/var/lib/kafka", str(self.folder / "kafka"))
            .replace("://:", "://127.0.0.1:")
            .replace(":9092", f":{broker}")
            .replace(":9093", f":{controller}")
            for variable, text in self.services["kafka"]["environment"].items()
        }
        program = [str(java()), *JVM, "-cp", f"{jars(POM)}/*"]
        folders = {"--default-configs-dir": defaults, "--mounted-configs-dir": mounted, "--final-configs-dir": final}
        setup = [*program, "kafka.docker.KafkaDockerWrapper", "setup"]
        run(
            [*setup, *(str(part) for folder in folders.items() for part in folder)],
            failure="what Kafka's image does at first",
            environment=environment,
        )
        return self.process("kafka", [*program, "kafka.Kafka", str(final / "server.properties")])


@dataclass(frozen=True)
class Running:
    """All services of the file, running."""

    composed: Composed
    postgres: Postgres
    core: CoreDatabase
    registry: Apicurio
    connect: Connect

    @property
    def folder(self) -> Path:
        """The folder that is /world in the containers."""
        return self.composed.folder / "world"

    def url(self, address: str, scheme: str = "http") -> str:
        """The URL of a service, by its address in the file."""
        return f"{scheme}://localhost:{self.composed.ports[address]}"


@contextmanager
def composed(folder: Path) -> Iterator[Running]:
    """`docker compose up` without containers, while the context is open."""
    (folder / "world").mkdir(parents=True)
    postgres, registry = Postgres(folder), Apicurio(folder / "registry")
    valkey: RedisServer = embedded_valkey(folder, persistent=True)
    here = Composed(folder)
    here.ports |= {"postgres:5432": postgres.port, "registry:8080": registry.port, "valkey:6379": valkey.port}
    here.ports |= {each: free_port() for each in ("kafka:9092", "graph:8443", "core:8080", "calsync:9464")}
    connect: Connect | None = None
    with ExitStack() as servers:
        servers.callback(postgres.remove)
        for name, service in here.services.items():
            if name in steps():
                here.do(name)
            elif name == "postgres":
                postgres.start()
            elif name in ("registry", "valkey"):
                servers.enter_context(registry if name == "registry" else valkey)
            elif name == "kafka":
                servers.enter_context(here.kafka())
            elif name == "connect":
                environment = here.environment(name)
                connect = Connect(folder / "connect", environment["CONNECT_BOOTSTRAP_SERVERS"], environment=environment)
                here.ports["connect:8083"] = connect.port
                servers.enter_context(connect)
            else:
                servers.enter_context(here.process(name, service.get("command", ["calsync", "run"])))
        assert connect is not None
        yield Running(here, postgres, CoreDatabase(postgres.psql), registry, connect)
