"""A server that is given the text of its configuration file."""

from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.servers.process import ServerProcess


class ConfiguredServer:
    """Writes its configuration before each start. A subclass has ``process`` made in its constructor."""

    process: ServerProcess

    def __init__(self, port: int, file: Path, configuration: str) -> None:
        self.port = port
        self._file = file
        self._configuration = configuration

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server and returns when it is ready. Raises ServerFailedError, also for a wrong configuration."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(self._configuration, encoding="utf-8")
        self.process.start()

    def stop(self) -> None:
        """Stops the server. Its data stays for the next start."""
        self.process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
