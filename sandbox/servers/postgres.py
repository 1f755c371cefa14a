"""A real PostgreSQL with logical decoding, which change data capture needs."""

import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.servers.process import ServerFailedError, ServerProcess, free_port, run
from sandbox.servers.psql import SUPERUSER, Psql

OLDEST_VERSION = 15
SETTINGS = Path(__file__).with_name("postgresql.conf")

_ADVICE = f"PostgreSQL {OLDEST_VERSION} or newer is missing: install it (Debian's package postgresql)"
_DEBIAN = Path("/usr/lib/postgresql")
_RECOVERY_SECONDS = 20.0

_ADDRESSES = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}


class Postgres:
    """One PostgreSQL on its own loopback port, with its log in `folder`. It asks no user for a password.

    PostgreSQL refuses to run as root. If this process is root, an account without rights runs the server. That account
    may have no access to `folder`, so the data is in a temporary folder of its own until `remove`. `settings` are
    further parameters of the server; they override those of `SETTINGS`. `psql` sends SQL to the server.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self._binaries = postgres_binaries()
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._home / "data"
        self.psql = Psql({"PGHOST": "127.0.0.1", "PGPORT": str(self.port)}, self._binaries / "psql")
        parameters = {"config_file": str(self._home / SETTINGS.name), "port": str(self.port)}
        parameters |= _ADDRESSES | dict(settings or {})
        self.process = ServerProcess(
            name="PostgreSQL",
            command=[
                *self._unprivileged(),
                *(self._binaries / "postgres", "-D", self._data),
                *(part for name, value in parameters.items() for part in ("-c", f"{name}={value}")),
            ],
            log=folder / "postgres.log",
            ready=self._answers,
            stop_signal=signal.SIGINT,  # with SIGTERM it would wait until its clients disconnect
        )

    def start(self) -> None:
        """Starts the server and returns when it accepts connections. The first start creates the cluster.

        Raises ServerFailedError.
        """
        if not self._data.exists():
            self._make_cluster()
        shutil.copy(SETTINGS, self._home)  # the account that runs the server can read it there
        # After a kill, the server's children keep its shared memory until they notice that it is gone.
        deadline = time.monotonic() + _RECOVERY_SECONDS
        while True:
            try:
                return self.process.start()
            except ServerFailedError as error:
                if "still in use" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """Shuts the server down and disconnects its clients. Its data stays for the next start."""
        self.process.stop()

    def kill(self) -> None:
        """Kills the server with SIGKILL, like a crash."""
        self.process.kill()

    def restart(self) -> None:
        """Stops and starts the server, on the same port and with the same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _make_cluster(self) -> None:
        self._home.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(self._home, *_account())
        run(
            [
                *self._unprivileged(),
                *(self._binaries / "initdb", "--pgdata", self._data, "--username", SUPERUSER, "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            failure="creating PostgreSQL's cluster failed",
            folder=self._home,
        )

    def _unprivileged(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        user, group = _account()
        return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"]

    def _answers(self) -> bool:
        try:
            return self.psql("select true") == "t"
        except ServerFailedError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def postgres_binaries() -> Path:
    """Returns the folder with PostgreSQL's programs: the newest of Debian's packages, or the one on PATH.

    Raises ServerFailedError if there is none, or if it is older than OLDEST_VERSION.
    """
    versions = sorted(int(folder.name) for folder in _DEBIAN.glob("*") if (folder / "bin/postgres").exists())
    if versions and versions[-1] >= OLDEST_VERSION:
        return _DEBIAN / str(versions[-1]) / "bin"
    found = shutil.which("postgres")
    if found is None:
        raise ServerFailedError(_ADVICE)
    printed = run([found, "--version"], failure=_ADVICE)
    if int(printed.split()[-1].split(".")[0]) < OLDEST_VERSION:
        raise ServerFailedError(f"{_ADVICE}; {found} reports: {printed.strip()}")
    return Path(found).parent


def _account() -> tuple[int, int]:
    """Returns the account without rights, and its group, that runs the server if this process is root."""
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid
