"""A connection to PostgreSQL that stays open, for transactions that last or stand in each other's way."""

import subprocess
from types import TracebackType
from typing import Self

from sandbox.servers.postgres import Postgres
from sandbox.servers.process import ServerFailedError

_END = "-- end of the answer --"
_LINES_TOLD = 4


class Session:
    """One psql, kept running. What is sent is carried out in order; nobody else's thread may use it."""

    def __init__(self, server: Postgres, database: str, user: str = "postgres") -> None:
        self._psql = subprocess.Popen(
            [*server.psql_command(database, user), "--set", "ON_ERROR_STOP=off"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, sql: str) -> str:
        """What psql printed for it, as `Postgres.psql` gives it. Raises ServerFailedError with the server's error."""
        self.send(sql)
        return self.answer()

    def send(self, sql: str) -> None:
        """Sends it without waiting: it may have to wait for another session's lock."""
        assert self._psql.stdin is not None
        self._psql.stdin.write(f"{sql}\n;\n\\echo '{_END}'\n")
        self._psql.stdin.flush()

    def answer(self) -> str:
        """What psql printed for what was sent longest ago. Raises ServerFailedError with the server's error."""
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
                raise ServerFailedError("".join(lines[number : number + _LINES_TOLD]))
        return "".join(lines).rstrip("\n")

    def close(self) -> None:
        """Leaves; a transaction that is open is undone."""
        self._psql.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def literal(text: str | None) -> str:
    """The text as an SQL literal; None is null."""
    return "null" if text is None else "'" + text.replace("'", "''") + "'"
