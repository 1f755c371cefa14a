"""Runs ``calsync`` many times for the price of one start: a process that has imported it forks for each command."""

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    status: int
    output: str
    """Of stdout and stderr."""


class Commands:
    """Runs commands one after another, each in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._output = folder / "output.txt"

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Done:
        """A command, from its start to its end; one that does not end is killed by SIGALRM."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": [*arguments], "environment": {**environment}, "output": str(self._output)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return Done(status, self._output.read_text(encoding="utf-8", errors="replace"))


@contextmanager
def commands(folder: Path) -> Iterator[Commands]:
    """A process that is ready to run commands."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        yield Commands(process, folder)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    """Fork for each command; only here is the command imported, and not by the tests that import this module."""
    entry = importlib.import_module("consumer.cli.entry")
    for name in entry.COMMANDS:
        entry.load(name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.environ.clear()
            os.environ.update(order["environment"])
            sys.argv = ["calsync", *order["arguments"]]
            signal.alarm(_SECONDS)
            status = 1
            try:
                entry.main()
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:  # noqa: BLE001 (what the interpreter itself would print)
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
