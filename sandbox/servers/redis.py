"""A Redis server: Debian's own redis-server, or any binary that speaks its protocol and takes its options."""

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
    """One Redis on a loopback port of its own, run as the service asks for it: with the settings of `SETTINGS`.

    With `persistent` every write goes to an append-only file in `folder` before it is answered, so that a
    restart, or a kill, loses nothing that was acknowledged.
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
        """Starts it and returns when it answers PING. Raises ServerFailedError."""
        self.process.start()

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
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
    """Debian's redis-server, persistent, not yet started: the one on PATH, else one unpacked in `.cache/redis`.

    Where there is none, Debian's package is fetched and unpacked there, which needs no root. Raises
    ServerFailedError when it is not to be had, or is older than OLDEST_VERSION.
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
    told = run([binary, "--version"], failure="Redis does not run", environment=environment)
    version = re.search(r"\bv=(\d+)\.(\d+)", told)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise ServerFailedError(f"Redis {oldest} or newer is needed, and {binary} is: {told.strip()}")


def _unpack_debian_packages() -> None:
    """Unpacks redis-server, and what apt finds missing for it on this machine, into `.cache/redis`."""
    advice = "redis-server is not on PATH: install Redis (Debian's package redis-server)"
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ServerFailedError(advice)
    failure = f"{advice}; it could not be fetched either"
    if os.geteuid() == 0:
        run(["apt-get", "-qq", "update"], failure=failure)
    simulated = run(["apt-get", "-s", "install", "--no-install-recommends", "redis-server"], failure=failure)
    missing = re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)
    _UNPACKED.parent.mkdir(exist_ok=True)
    # Renamed into place when it is whole, so that an interrupted download is not taken for a Redis.
    with tempfile.TemporaryDirectory(dir=_UNPACKED.parent) as folder:
        run(["apt-get", "-qq", "download", *missing], failure=failure, folder=Path(folder))
        unpacked = Path(folder) / "unpacked"
        for package in sorted(Path(folder).glob("*.deb")):
            run(["dpkg", "-x", package, unpacked], failure=failure)
        shutil.rmtree(_UNPACKED, ignore_errors=True)
        unpacked.rename(_UNPACKED)
