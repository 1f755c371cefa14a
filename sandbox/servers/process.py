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
from typing import Protocol, Self

REPOSITORY = Path(__file__).resolve().parents[2]

_LEASH = Path(__file__).with_name("leash.py")
_POLL_SECONDS = 0.02
_LOG_LINES_QUOTED = 15

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


class Child(Protocol):
    """A process that was launched. It ends with the one that launched it."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Its exit status, or `None` while it runs."""

    def wait(self, seconds: float) -> int:
        """Its exit status. Raises `subprocess.TimeoutExpired` when it has not ended within these seconds."""

    def close(self) -> None:
        """Ends the process if it still runs, and releases the resources for watching it."""


class Launch(Protocol):
    """Starts a command."""

    def __call__(self, command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> Child:
        """Starts the command in the repository's folder. Its output goes to `log`.

        `environment` is added to the environment of this process. Raises OSError if the command cannot be run.
        """


class Leashed:
    """A command on a leash: a small process that ends the command when this process ends in any way."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._leash = subprocess.Popen(
                # Isolated and without site-packages: the leash needs neither and starts in 20 ms.
                [sys.executable, "-I", "-S", _LEASH, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **environment},
                cwd=REPOSITORY,
                # Ctrl-C in a terminal is for the parent, which stops its servers in its own order.
                start_new_session=True,
            )
        assert self._leash.stdout is not None
        announced = self._leash.stdout.readline()
        if not announced:
            self.close()
            raise OSError(f"could not be run ({command[0]})")
        self._pid = int(announced)

    @property
    def pid(self) -> int:
        """The command's process id. The leash ends right after the command, so the id is valid while the leash runs."""
        return self._pid

    def poll(self) -> int | None:
        """The command's exit status, or `None` while it runs."""
        return self._leash.poll()

    def wait(self, seconds: float) -> int:
        """The command's exit status. Raises `subprocess.TimeoutExpired`."""
        return self._leash.wait(seconds)

    def close(self) -> None:
        """Closes the pipes. This ends the command if it still runs."""
        for pipe in (self._leash.stdin, self._leash.stdout):
            if pipe is not None:
                pipe.close()
        self._leash.wait()


@dataclass(slots=True)
class ServerProcess:
    """One server. It ends with the process that started it, and can be started again after it stopped.

    `ready` is called until it returns True. All output of the server goes to `log`; each start appends to it. Durations
    are in seconds. `launch` starts the command.
    """

    name: str
    command: Sequence[str | Path]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    start_within: float = 30
    stop_within: float = 10
    stop_signal: signal.Signals = signal.SIGTERM
    launch: Launch = Leashed
    _child: Child | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    def start(self) -> None:
        """Starts the server and returns when it is ready. Raises ServerFailedError."""
        if self.running:
            raise ServerFailedError(f"{self.name} is running already")
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        self._log_start = self.log.stat().st_size
        try:
            self._child = self.launch(self.command, self.environment, self.log)
        except OSError as error:
            raise self._failure(str(error)) from None
        try:
            self._wait_until_ready(self._child)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Sends `stop_signal`, then SIGKILL after `stop_within`. Does nothing if the server is not running."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Kills the server with SIGKILL, like a crash."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops and starts it."""
        self.stop()
        self.start()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The server's own process id."""
        if self._child is None or self._child.poll() is not None:
            raise ServerFailedError(f"{self.name} is not running")
        return self._child.pid

    def find_in_log(self, pattern: str) -> re.Match[str] | None:
        """Returns the first match in what the server has printed since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return re.search(pattern, log.read().decode(errors="replace"), re.MULTILINE)

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + self.start_within
        while not self.ready():
            if (status := child.poll()) is not None:
                raise self._failure(f"ended with exit status {status} before it was ready")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {self.start_within:g} s")
            time.sleep(_POLL_SECONDS)

    def _end(self, first: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for signum in (first, signal.SIGKILL):
            # poll() must come first: the id of a process that has ended may belong to another process.
            if child.poll() is None:
                os.kill(child.pid, signum)
            try:
                child.wait(self.stop_within)
                break
            except subprocess.TimeoutExpired:
                continue
        child.close()

    def _failure(self, what: str) -> ServerFailedError:
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES_QUOTED:]
        quoted = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
        return ServerFailedError(f"{self.name} {what}; its log {self.log} ends with:\n{quoted}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
