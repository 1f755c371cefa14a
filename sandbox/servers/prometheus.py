"""A real Prometheus, and its promtool: those on PATH, or Debian's."""

from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from sandbox.servers.configured import ConfiguredServer
from sandbox.servers.debian import program
from sandbox.servers.process import ServerProcess, free_port


def promtool() -> Path:
    """Returns promtool's path. Raises ServerFailedError if it is missing and cannot be fetched."""
    return program("promtool", "prometheus", "prometheus").path


class Prometheus(ConfiguredServer):
    """One Prometheus on its own loopback port, with its data and log in `folder`.

    `configuration` is the text of its configuration file. Files that it names are relative to `folder`.
    """

    def __init__(self, folder: Path, configuration: str) -> None:
        super().__init__(free_port(), folder / "prometheus.yml", configuration)
        found = program("prometheus", "prometheus", "prometheus")
        self.process = ServerProcess(
            name="Prometheus",
            command=[
                found.path,
                f"--config.file={self._file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            log=folder / "prometheus.log",
            ready=lambda: is_ready(self.url),
            environment=found.environment,
        )


def is_ready(url: str) -> bool:
    """Returns whether the Prometheus or Alertmanager at this address is ready."""
    try:
        with urlopen(f"{url}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
