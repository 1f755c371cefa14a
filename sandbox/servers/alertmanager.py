"""A real Alertmanager, and its amtool: those on PATH, or Debian's."""

import os
import shutil
from pathlib import Path

from sandbox.servers.configured import ConfiguredServer
from sandbox.servers.debian import CACHE, Program, program
from sandbox.servers.process import REPOSITORY, ServerProcess, free_port
from sandbox.servers.prometheus import is_ready

_PACKAGE = "prometheus-alertmanager"
_FOLDER = "alertmanager"
_SHARED = "/usr/share/prometheus/alertmanager"
"""At every start, Debian's program opens the templates in this folder. No option replaces it."""


def amtool() -> Path:
    """Returns amtool's path. Raises ServerFailedError if it is missing and cannot be fetched."""
    return program("amtool", _PACKAGE, _FOLDER).path


def _alertmanager() -> Program:
    """Returns the program. One that was unpacked is copied, with another path to its files."""
    # Debian renamed the program: `alertmanager` is the name in Prometheus' own releases.
    name = "alertmanager" if shutil.which("alertmanager") else _PACKAGE
    found = program(name, _PACKAGE, _FOLDER)
    unpacked = CACHE / _FOLDER
    if not found.path.is_relative_to(unpacked):
        return found
    moved = unpacked / "alertmanager"
    if not moved.exists():
        for template in (unpacked / _SHARED.lstrip("/")).glob("*.tmpl"):
            shutil.copy(template, unpacked)
        # A server runs in the repository's folder. The new path must be as long as the old one.
        folder = f"./{unpacked.relative_to(REPOSITORY).as_posix().rjust(len(_SHARED) - 2, '/')}"
        draft = unpacked / f"alertmanager.{os.getpid()}"
        draft.write_bytes(found.path.read_bytes().replace(_SHARED.encode(), folder.encode()))
        draft.chmod(0o755)
        draft.rename(moved)
    return Program(moved, found.environment)


class Alertmanager(ConfiguredServer):
    """One Alertmanager on its own loopback port, without a cluster, with its data and log in `folder`.

    `configuration` is the text of its configuration file.
    """

    def __init__(self, folder: Path, configuration: str) -> None:
        super().__init__(free_port(), folder / "alertmanager.yml", configuration)
        found = _alertmanager()
        self.process = ServerProcess(
            name="Alertmanager",
            command=[
                found.path,
                f"--config.file={self._file}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
                "--log.level=warn",
            ],
            log=folder / "alertmanager.log",
            ready=lambda: is_ready(self.url),
            environment=found.environment,
        )
