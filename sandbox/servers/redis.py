"""A Redis server: Debian's redis-server, or any binary with the same protocol and options."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from sandbox.servers.process import REPOSITORY, ServerFailedError, ServerProcess, free_port, run

OLDEST_VERSION = (6, 2)

SETTINGS = Path(__file__).with_name("valkey.conf")

_UNPACKED = REPOSITORY / ".cache" / "redis"


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

    If there is neither, fetches Debian's package and unpacks it there, which needs no root. Raises ServerFailedError
    if the package cannot be fetched, or if Redis is older than OLDEST_VERSION.
    """
    installed = shutil.which("redis-server")
    if installed is not None:
        binary, environment = Path(installed), dict[str, str]()
    else:
        binary = _UNPACKED / "usr/bin/redis-server"
        if not binary.exists():
            _unpack_debian_packages()
        libraries = sorted({str(library.parent) for library in _UNPACKED.rglob("*.so*")})
        environment = {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    _check_version(binary, environment)
    return RedisServer(folder, binary=binary, persistent=True, environment=environment)


def _check_version(binary: Path, environment: Mapping[str, str]) -> None:
    printed = run([binary, "--version"], failure="Redis does not run", environment=environment)
    version = re.search(r"\bv=(\d+)\.(\d+)", printed)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise ServerFailedError(f"Redis {oldest} or newer is missing: {binary} reports {printed.strip()}")


def _unpack_debian_packages() -> None:
    """Unpacks redis-server, and its dependencies that apt finds missing on this machine, into `.cache/redis`."""
    advice = "redis-server is not on PATH: install Redis (Debian's package redis-server)"
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ServerFailedError(advice)
    failure = f"{advice}. Fetching the package failed too"
    if os.geteuid() == 0:
        run(["apt-get", "-qq", "update"], failure=failure)
    simulated = run(["apt-get", "-s", "install", "--no-install-recommends", "redis-server"], failure=failure)
    missing = re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)
    _UNPACKED.parent.mkdir(exist_ok=True)
    # The folder gets its final name only when it is complete, so an interrupted download is never used as a Redis.
    with tempfile.TemporaryDirectory(dir=_UNPACKED.parent) as folder:
        run(["apt-get", "-qq", "download", *missing], failure=failure, folder=Path(folder))
        unpacked = Path(folder) / "unpacked"
        for package in sorted(Path(folder).glob("*.deb")):
            run(["dpkg", "-x", package, unpacked], failure=failure)
        shutil.rmtree(_UNPACKED, ignore_errors=True)
        unpacked.rename(_UNPACKED)
