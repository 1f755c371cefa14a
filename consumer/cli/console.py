"""What all commands share: options, where they print, and how they start."""

import asyncio
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from io import TextIOBase
from typing import IO, Annotated, Any, Final, Literal, TextIO, TypeVar, cast

import orjson
import typer
import uvloop
from rich.console import Console

from consumer import redaction, settings
from consumer.ops import logging

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
SiteOptions = Annotated[list[str] | None, typer.Option("--site", help="Only this site; may be given several times.")]


class Redacted(TextIOBase):
    """Standard output or error without secrets and tokens. Mail addresses stay: operators ask for them."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._name = name

    def write(self, text: str, /) -> int:
        """Write the text."""
        self._stream.write(redaction.text(text, addresses=False))
        return len(text)

    def flush(self) -> None:
        """As the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """As the stream."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """As the stream."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the stream's."""
        return self._stream.encoding

    @property
    def _stream(self) -> TextIO:
        stream: TextIO = getattr(sys, self._name)
        # While rich draws a bar, it replaces the stream by a proxy that prints to this very console.
        proxied: TextIO = getattr(stream, "rich_proxied_file", stream)
        return proxied


# A file or a pipe has no width: there, nothing is cut or folded to fit one.
output: Final = Console(
    file=cast("IO[str]", Redacted("stdout")), markup=False, emoji=False, width=None if sys.stdout.isatty() else 200
)
errors: Final = Console(file=cast("IO[str]", Redacted("stderr")), highlight=False, markup=False, emoji=False)


def configured() -> settings.Settings:
    """The environment's settings, with logging set up as they say. Raises ``ConfigurationError``."""
    chosen = settings.load()
    logging.configure(chosen.log_level, chosen.log_format)
    return chosen


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, in an event loop of its own."""

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(logging.loop_error)
        return await work

    return uvloop.run(watched())


def print_document(content: dict[str, Any]) -> None:
    """JSON for machines, legible for people."""
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()
    Redacted("stdout").write(f"{text}\n")


def moment(unix_time: float) -> str:
    """RFC 3339, UTC, to the second."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
