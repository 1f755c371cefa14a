"""Runs a server as a child process: starts it, waits until it is ready, and stops it by its process id."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]

_LEASH = Path(__file__).with_name("leash.py")
_POLL_SECONDS = 0.02
_LOG_LINES_TOLD = 15

_PORTS = random.SystemRandom()  # two test runs with the same seed must not draw the same ports
_given_ports: set[int] = set()


class ServerFailedError(RuntimeError):
    """A server did not start, or ended by itself. The message names its log and quotes the end of it."""


def free_port() -> int:
    """Returns a loopback TCP port that nothing listens on. One process never gets the same port twice.

    The port is below the range that Linux and macOS use for outgoing connections, so no such connection can take it
    between a server's stop and its restart.
    """
    for _ in range(100):
        port = _PORTS.randrange(20_000, 32_000)
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise ServerFailedError("no free TCP port between 20000 and 32000 on 127.0.0.1")


def accepts_connections(port: int) -> bool:
    """Returns whether something listens on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def run(
    command: Sequence[str | Path],
    *,
    failure: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Runs a command and returns its output.

    If its exit status is not 0, raises ServerFailedError with a message that begins with `failure`.
    """
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode != 0:
        raise ServerFailedError(f"{failure}: {command[0]} ended with exit status {done.returncode}\n{done.stdout}")
    return done.stdout


@dataclass(slots=True)
class ServerProcess:
    """One server. It ends with the process that started it, and can be started again after it stopped.

    `ready` is asked until it answers True. The log (all that the server prints) is appended to, start after
    start. Durations are seconds.
    """

    name: str
    command: Sequence[str | Path]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    start_within: float = 30
    stop_within: float = 10
    stop_signal: signal.Signals = signal.SIGTERM
    _leash: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _pid: int = field(default=0, init=False)
    _log_start: int = field(default=0, init=False)

    def start(self) -> None:
        """Starts the server and returns when it is ready. Raises ServerFailedError."""
        if self.running:
            raise ServerFailedError(f"{self.name} is running already")
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._leash = subprocess.Popen(
                # Isolated and without site-packages: the leash needs neither and starts in 20 ms.
                [sys.executable, "-I", "-S", _LEASH, *self.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
                cwd=REPOSITORY,
                # Ctrl-C in a terminal is for the parent, which stops its servers in its own order.
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._leash)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """`stop_signal`, then SIGKILL after `stop_within`. Does nothing when the server is not running."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """SIGKILL at once, as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops and starts it."""
        self.stop()
        self.start()

    @property
    def running(self) -> bool:
        return self._leash is not None and self._leash.poll() is None

    @property
    def pid(self) -> int:
        """The server's own process id."""
        if not self.running:
            raise ServerFailedError(f"{self.name} is not running")
        return self._pid

    def find_in_log(self, pattern: str) -> re.Match[str] | None:
        """The first match in what the server printed since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return re.search(pattern, log.read().decode(errors="replace"), re.MULTILINE)

    def _wait_until_ready(self, leash: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.start_within
        assert leash.stdout is not None
        announced = leash.stdout.readline()
        if not announced:
            leash.wait()
            raise self._failure(f"could not be run ({self.command[0]})")
        self._pid = int(announced)
        while not self.ready():
            if leash.poll() is not None:
                raise self._failure(f"ended with exit status {leash.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {self.start_within:g} s")
            time.sleep(_POLL_SECONDS)

    def _end(self, first: signal.Signals) -> None:
        leash = self._leash
        if leash is None:
            return
        # Without an id there is no server yet, or none that is known: closing the pipes ends it.
        for signum in (first, signal.SIGKILL) if self._pid else ():
            # The leash reaps the server and ends at once after it: while it lives, the id is the server's.
            if leash.poll() is None:
                os.kill(self._pid, signum)
            try:
                leash.wait(self.stop_within)
                break
            except subprocess.TimeoutExpired:
                continue
        for pipe in (leash.stdin, leash.stdout):
            if pipe is not None:
                pipe.close()
        leash.wait()
        self._leash = None
        self._pid = 0

    def _failure(self, what: str) -> ServerFailedError:
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES_TOLD:]
        quoted = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        return ServerFailedError(f"{self.name} {what}; its log {self.log} ends with:\n{quoted}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
