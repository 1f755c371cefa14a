"""Starts Python commands for the price of a fork: a process that has imported them forks for each.

Importing the service takes a second of processor time, and the stand-ins a third. Each command still runs in a process
of its own, with its own arguments, environment, signals and exit status.
"""

import ctypes
import gc
import importlib
import itertools
import json
import os
import queue
import runpy
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sandbox.servers.process import REPOSITORY

_SECONDS: Final = 60.0
_STAND_INS: Final = ("sandbox.graph.app", "sandbox.core.app", "sandbox.registry")
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Of stdout and stderr."""
        return self.stdout + self.stderr


class Forked:
    """One process that was forked. See :class:`sandbox.servers.process.Child`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._status = 0

    @property
    def pid(self) -> int:
        return self._pid

    def poll(self) -> int | None:
        return self._status if self._ended.is_set() else None

    def wait(self, seconds: float) -> int:
        if not self._ended.wait(seconds):
            raise subprocess.TimeoutExpired(f"process {self._pid}", seconds)
        return self._status

    def close(self) -> None:
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)
            self.wait(_SECONDS)

    def has_ended(self, status: int) -> None:
        """Note its exit status, negative for a signal."""
        self._status = status
        self._ended.set()


class Warm:
    """Forks for each command. Commands are those of ``calsync`` and of ``python -m sandbox.…``."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._started: queue.Queue[Forked] = queue.Queue()
        self._running: dict[int, Forked] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def launch(
        self, command: Sequence[str | Path], environment: Mapping[str, str], log: Path, errors: Path | None = None
    ) -> Forked:
        """Start a command; what it prints is appended to ``log``, on stderr to ``errors`` if that is given."""
        return self._fork(command, {**os.environ, **environment}, log, errors or log)

    def run(self, arguments: Sequence[str], environment: Mapping[str, str], *, within: float = _SECONDS) -> Done:
        """What ``calsync`` with these arguments printed, and its exit status; nothing else is in its environment."""
        number = next(self._numbers)
        output, errors = self._folder / f"{number}.out", self._folder / f"{number}.err"
        child = self._fork(["calsync", *arguments], environment, output, errors)
        try:
            status = child.wait(within)
        finally:
            child.close()
        return Done(status, *(file.read_text(encoding="utf-8", errors="replace") for file in (output, errors)))

    def _fork(
        self, command: Sequence[str | Path], environment: Mapping[str, str], output: Path, errors: Path
    ) -> Forked:
        order = {
            "command": [str(word) for word in command],
            "environment": dict(environment),
            "output": str(output),
            "errors": str(errors),
        }
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return self._started.get(timeout=_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            pid = said["pid"]
            if "status" in said:
                self._running.pop(pid).has_ended(said["status"])
            else:
                self._running[pid] = Forked(pid)
                self._started.put(self._running[pid])


@contextmanager
def warm(folder: Path) -> Iterator[Warm]:
    """A process that forks, for as long as the context lasts; its children end with it. ``folder`` holds scratch."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.warm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    ) as process:
        yield Warm(process, folder)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    """Fork for each order until stdin ends. Only here are the commands imported, not by the tests."""
    entry = importlib.import_module("consumer.cli.entry")
    for name in entry.COMMANDS:
        entry.load(name)
    for name in _STAND_INS:
        importlib.import_module(name)
    # Else each process would visit all that was imported when it ends, and copy it: a quarter of a second.
    gc.collect()
    gc.freeze()
    orders, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    ended, on_ended = os.pipe()
    os.set_blocking(on_ended, False)
    signal.set_wakeup_fd(on_ended)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as ready:
        ready.register(orders, selectors.EVENT_READ)
        ready.register(ended, selectors.EVENT_READ)
        rest = b""
        while True:
            files = {key.fd for key, _ in ready.select()}
            if ended in files:
                os.read(ended, 4096)
                _reap(answers)
            if orders not in files:
                continue
            data = os.read(orders, 1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if (pid := os.fork()) == 0:
                    for number in (orders, answers, ended, on_ended):
                        os.close(number)
                    _run(order, entry)
                _say(answers, pid=pid)


def _say(answers: int, **said: int) -> None:
    os.write(answers, (json.dumps(said) + "\n").encode())


def _reap(answers: int) -> None:
    """Report every child that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say(answers, pid=pid, status=os.waitstatus_to_exitcode(status))


def _run(order: dict[str, Any], entry: ModuleType) -> None:
    """Become the command. Never returns."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.environ.clear()
    os.environ.update(order["environment"])
    program, *arguments = order["command"]
    if arguments[:1] == ["-m"]:
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        sys.exit(0)
    sys.argv = [program, *arguments]
    entry.main()
    sys.exit(0)


if __name__ == "__main__":
    _serve()
