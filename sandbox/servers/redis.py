"""A Redis server: Debian's redis-server, or any binary with the same protocol and options."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from sandbox.servers.debian import Program, program
from sandbox.servers.process import ServerFailedError, ServerProcess, free_port, run

OLDEST_VERSION = (6, 2)

SETTINGS = Path(__file__).with_name("valkey.conf")


class RedisServer:
    """One Redis on its own loopback port, with the settings that the service needs (`SETTINGS`).

    With `persistent`, every write goes to an append-only file in `folder` before it is answered. So a restart or a
    kill loses no acknowledged write.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: Path,
        persistent: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.process = ServerProcess(
            name=binary.name,
            command=[
                *(binary, SETTINGS),
                *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", folder),
                *(() if persistent else ("--appendonly", "no")),
            ],
            log=folder / "redis.log",
            ready=self._answers,
            environment=environment or {},
        )

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts the server and returns when it answers PING. Raises ServerFailedError."""
        self.process.start()

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        """Kills the server with SIGKILL, like a crash."""
        self.process.kill()

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
                return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def debian_redis(folder: Path) -> RedisServer:
    """Returns a persistent redis-server that is not yet started: the one on PATH, or the one in `.cache/redis`.

    If there is neither, Debian's package is fetched (see `program`). Raises ServerFailedError if that fails, or if
    Redis is older than OLDEST_VERSION.
    """
    found = program("redis-server", "redis-server", "redis")
    _check_version(found)
    return RedisServer(folder, binary=found.path, persistent=True, environment=found.environment)


def _check_version(found: Program) -> None:
    printed = run([found.path, "--version"], failure="Redis does not run", environment=found.environment)
    version = re.search(r"\bv=(\d+)\.(\d+)", printed)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise ServerFailedError(f"Redis {oldest} or newer is missing: {found.path} reports {printed.strip()}")
