"""Sends SQL to PostgreSQL through its own client, psql: once, or over a connection that stays open."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.servers.process import ServerFailedError, run

SUPERUSER: Final = "postgres"

_END = "-- end of the answer --"
_LINES_QUOTED = 4


@dataclass(frozen=True, slots=True)
class Psql:
    """Sends SQL to the server that libpq's environment variables name.

    These are the variables of this process. Those in `environment` override them.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    binary: Path = Path("psql")

    def __call__(
        self,
        sql: str | Path,
        *,
        database: str = SUPERUSER,
        user: str = SUPERUSER,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """Runs SQL, or a file of SQL, and returns psql's output.

        The output has only values: one row on a line, fields separated by `|`. psql stops at the first error.
        Raises ServerFailedError with the server's message.
        """
        command = self.command(database, user)
        for name, value in (variables or {}).items():
            command += ["--set", f"{name}={value}"]
        command += ["--file", sql] if isinstance(sql, Path) else ["--command", sql]
        return run(command, failure="psql", environment=self.environment).rstrip("\n")

    def command(self, database: str, user: str = SUPERUSER) -> list[str | Path]:
        """Returns the command line of psql. Without further options, psql reads SQL from its standard input."""
        return [
            *(self.binary, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password"),
            *("--set", "ON_ERROR_STOP=on", "--username", user, "--dbname", database),
        ]


class Session:
    """One psql process that keeps running. It runs statements in the order they were sent. Not thread-safe."""

    def __init__(self, psql: Psql, database: str, user: str = SUPERUSER) -> None:
        self._psql = subprocess.Popen(
            [*psql.command(database, user), "--set", "ON_ERROR_STOP=off"],
            env={**os.environ, **psql.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, sql: str) -> str:
        """Runs SQL and returns psql's output, as `Psql` does. Raises ServerFailedError with the server's error."""
        self.send(sql)
        return self.answer()

    def send(self, sql: str) -> None:
        """Sends SQL and does not wait for it: the statement may wait for another session's lock."""
        assert self._psql.stdin is not None
        self._psql.stdin.write(f"{sql}\n;\n\\echo '{_END}'\n")
        self._psql.stdin.flush()

    def answer(self) -> str:
        """Returns the output of the oldest SQL that was sent and not answered yet.

        Raises ServerFailedError with the server's error.
        """
        assert self._psql.stdout is not None
        lines: list[str] = []
        for line in self._psql.stdout:
            if line.rstrip("\n") == _END:
                break
            lines.append(line)
        else:
            raise ServerFailedError(f"psql ended: {''.join(lines)}")
        for number, line in enumerate(lines):
            if line.startswith(("ERROR:", "FATAL:")):
                raise ServerFailedError("".join(lines[number : number + _LINES_QUOTED]))
        return "".join(lines).rstrip("\n")

    def close(self) -> None:
        """Disconnects. An open transaction is rolled back."""
        self._psql.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def literal(text: str | None) -> str:
    """Returns the text as an SQL literal. None is null."""
    return "null" if text is None else "'" + text.replace("'", "''") + "'"
