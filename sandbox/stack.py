"""A whole world in processes: broker, Redis, Graph, Core, and any number of replicas of the service."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from sandbox.servers.process import Launch, Leashed, ServerFailedError, ServerProcess, accepts_connections, free_port

CORE_TOKEN: Final = "core-token"
SECRET: Final = "sandbox-client-secret-value"


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """One customer of the world."""

    site_id: str
    name: str
    timezone: str = "Europe/London"
    client_secret: str = SECRET
    client_secret_expires: date | None = None

    @property
    def tenant_id(self) -> str:
        """Every site has a tenant of its own."""
        return f"tenant-{self.site_id}"

    @property
    def client_id(self) -> str:
        """The service's app in this tenant."""
        return f"app-{self.site_id}"

    def toml(self) -> str:
        """Its entry in the sites file."""
        expires = self.client_secret_expires
        return (
            f'[[site]]\nid = "{self.site_id}"\nname = "{self.name}"\ntimezone = "{self.timezone}"\n'
            f'tenant_id = "{self.tenant_id}"\nclient_id = "{self.client_id}"\nclient_secret = "{self.client_secret}"\n'
            + (f"client_secret_expires = {expires}\n" if expires else "")
        )


@dataclass(slots=True)
class Stack:
    """Servers that run already, and the service's configuration for them."""

    folder: Path
    bootstrap_servers: str
    redis_url: str
    graph_url: str
    core_url: str
    topic: str = "core.job-changed"
    group: str = "core-calendar-sync"
    kafka_properties: Mapping[str, str] = field(default_factory=dict)
    """Further librdkafka properties; ``fetch.wait.max.ms`` must be small with the embedded broker."""
    ca_file: Path | None = None
    """The authority of a Graph that is served over https."""
    launch: Launch = Leashed
    """How the service is started."""

    @property
    def sites_file(self) -> Path:
        """Where the service reads its sites."""
        return self.folder / "sites.toml"

    def write_sites(self, sites: list[SiteSpec]) -> None:
        """Replace the sites file."""
        draft = self.sites_file.with_suffix(".draft")
        draft.write_text("\n".join(site.toml() for site in sites), encoding="utf-8")
        draft.rename(self.sites_file)

    def environment(self, http_port: int) -> dict[str, str]:
        """The service's environment variables."""
        properties = self.folder / "kafka.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self.kafka_properties.items()))
        trust = {} if self.ca_file is None else {"CALSYNC_CA_FILE": str(self.ca_file)}
        return trust | {
            "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "CALSYNC_KAFKA_TOPIC": self.topic,
            "CALSYNC_KAFKA_DLQ_TOPIC": f"{self.topic}.dlq",
            "CALSYNC_KAFKA_GROUP": self.group,
            "CALSYNC_KAFKA_CONFIG_FILE": str(properties),
            "CALSYNC_REDIS_URL": self.redis_url,
            "CALSYNC_REDIS_PREFIX": f"{self.group}:",
            "CALSYNC_CORE_API_URL": self.core_url,
            "CALSYNC_CORE_API_TOKEN": CORE_TOKEN,
            "CALSYNC_SITES_FILE": str(self.sites_file),
            "CALSYNC_GRAPH_URL": f"{self.graph_url}/v1.0",
            "CALSYNC_ENTRA_URL": self.graph_url,
            "CALSYNC_HTTP_BIND": f"127.0.0.1:{http_port}",
            "CALSYNC_LOG_FORMAT": "json",
        }

    def service(self, name: str = "calsync", **more: str) -> "Service":
        """One replica of the service, not yet started. ``more`` are further environment variables."""
        port = free_port()
        return Service(
            ServerProcess(
                name=name,
                command=[Path(sys.executable).with_name("calsync"), "run"],
                log=self.folder / f"{name}.log",
                ready=lambda: accepts_connections(port),
                environment=self.environment(port) | more,
                stop_within=30,
                launch=self.launch,
            ),
            port,
        )


@dataclass(slots=True)
class Service:
    """One replica."""

    process: ServerProcess
    port: int

    @property
    def url(self) -> str:
        """Where its metrics and probes are."""
        return f"http://127.0.0.1:{self.port}"


def stand_in(name: str, folder: Path, *arguments: str, launch: Launch = Leashed) -> ServerProcess:
    """Returns one of the sandbox's own servers, ``sandbox.{name}``, not yet started. See :func:`url_of` for its URL."""
    process = ServerProcess(
        name=f"sandbox {name}",
        command=[sys.executable, "-m", f"sandbox.{name}", "--port", "0", *arguments],
        log=folder / f"{name}.log",
        ready=lambda: process.find_in_log(r"^listening \S+$") is not None,
        launch=launch,
    )
    return process


def url_of(process: ServerProcess) -> str:
    """Returns the address that a started stand-in printed."""
    found = process.find_in_log(r"^listening (\S+)$")
    if found is None:
        raise ServerFailedError(f"{process.name} did not print its address; see its log {process.log}")
    return found[1]
