"""One Apicurio Registry."""

from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from sandbox.servers.jars import JVM, jars, java
from sandbox.servers.process import ServerProcess, free_port

SETTINGS = Path(__file__).with_name("registry.properties")

_POM = Path(__file__).with_name("pom.xml")


class Apicurio:
    """A registry on its own loopback port. Its schemas and log are in `folder`, so ids survive a restart."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        (program,) = jars(_POM).glob("*-runner.jar")
        self.process = ServerProcess(
            name="Apicurio Registry",
            command=[
                *(java(), "-Xmx256m", *JVM),
                *(f"-Dquarkus.config.locations={SETTINGS}", "-jar", program),
            ],
            log=folder / "registry.log",
            ready=self._answers,
            environment={
                "REGISTRY_HOST": "127.0.0.1",
                "REGISTRY_PORT": str(self.port),
                "REGISTRY_FOLDER": str(folder.absolute()),
            },
            start_within=60,
        )

    @property
    def url(self) -> str:
        """The URL of Apicurio's own API, for the converter."""
        return f"http://127.0.0.1:{self.port}/apis/registry/v3"

    @property
    def confluent_url(self) -> str:
        """The URL of Confluent's API, for the consumer."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def start(self) -> None:
        """Starts the registry and returns when it answers. Raises ServerFailedError."""
        self.process.start()

    def stop(self) -> None:
        """Shuts the registry down. Its schemas stay for the next start."""
        self.process.stop()

    def kill(self) -> None:
        """Kills the registry with SIGKILL, like a crash."""
        self.process.kill()

    def restart(self) -> None:
        """Stops and starts the registry, on the same port and with the same schemas."""
        self.stop()
        self.start()

    def subjects(self) -> list[str]:
        """Returns the names of the subjects. Raises httpx.HTTPError."""
        answer = httpx.get(f"{self.confluent_url}/subjects", timeout=10)
        return list(answer.raise_for_status().json())

    def schema(self, subject: str) -> str:
        """Returns the newest schema of a subject, as JSON. Raises httpx.HTTPError."""
        answer = httpx.get(f"{self.confluent_url}/subjects/{subject}/versions/latest", timeout=10)
        return str(answer.raise_for_status().json()["schema"])

    def _answers(self) -> bool:
        try:
            self.subjects()
        except httpx.HTTPError:
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
