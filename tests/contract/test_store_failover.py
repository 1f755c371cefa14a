"""A Redis that refuses writes: the client drops the connection, and the name leads to the server that accepts them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError

from consumer.clock import SystemClock
from consumer.domain.errors import StoreUnavailableError
from consumer.store.connection import refuses_writes
from consumer.store.store import RedisStore
from consumer.sync.grant import DataLost
from consumer.sync.run_outcome import RunOutcome
from sandbox.servers.embedded import embedded_valkey
from sandbox.servers.redis import RedisServer
from tests.company import eventually
from tests.contract.store_steps import ANNA, APP, begin, link, linked


class Name:
    """A name that leads to one of two servers, for new connections only. A failover changes it."""

    def __init__(self) -> None:
        self.server: RedisServer | None = None
        self.port = 0
        self._copying: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listening.close()
            for task in self._copying:
                task.cancel()
            await asyncio.gather(*self._copying, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.server is not None
        answers, requests = await asyncio.open_connection("127.0.0.1", self.server.port)
        for source, sink in ((reader, requests), (answers, writer)):
            task = asyncio.create_task(_copy(source, sink))
            self._copying.add(task)
            task.add_done_callback(self._copying.discard)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        return
    finally:
        sink.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A server and its replica."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with embedded_valkey(tmp_path / "first") as first, embedded_valkey(tmp_path / "second") as second:
        with redis.Redis(port=first.port) as client:
            client.config_set("repl-diskless-sync-delay", "0")
        with redis.Redis(port=second.port) as client:
            client.replicaof("127.0.0.1", first.port)
        yield first, second


def fail_over(demoted: RedisServer, promoted: RedisServer) -> None:
    """Promote the replica and demote its server, as a sentinel does; kept connections stay where they are."""
    with redis.Redis(port=promoted.port) as client:
        client.replicaof("NO", "ONE")
    with redis.Redis(port=demoted.port) as client:
        client.replicaof("127.0.0.1", promoted.port)


def replicated(first: RedisServer, second: RedisServer) -> bool:
    with redis.Redis(port=first.port) as one, redis.Redis(port=second.port) as two:
        return bool(one.dbsize() and one.dbsize() == two.dbsize())


async def test_after_a_failover_writes_go_to_the_promoted_server_without_a_restart(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    first, second = pair
    name = Name()
    async with name.served():
        name.server = first
        store = RedisStore.connect(f"redis://127.0.0.1:{name.port}/0", f"{uuid4()}:", SystemClock())
        await linked(store)
        granted = await begin(store)
        await store.finish(granted.lease, RunOutcome(listed_in=granted.incarnation))
        await store.check()

        async def caught_up() -> bool:
            return await asyncio.to_thread(replicated, first, second)

        await eventually(caught_up, "the replica has everything")
        await asyncio.to_thread(fail_over, first, second)
        # The name still leads to the demoted server, and so does the kept connection.
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="replica"):
                await store.check()
        name.server = second
        await store.check()
        # Writes may have been lost: its runs list the mailboxes again.
        assert isinstance(await store.begin(ANNA, APP, "t", [], incarnation=granted.incarnation), DataLost)
        again = await begin(store)
        assert not again.is_known
        assert again.assignments["J1"].memory == link()
        await store.close()


async def test_a_restart_of_the_server_begins_an_incarnation_and_a_new_connection_does_not(tmp_path: Path) -> None:
    server = embedded_valkey(tmp_path, persistent=True)
    server.start()
    store = RedisStore.connect(server.url, "p:", SystemClock())
    granted = await begin(store)
    await store.finish(granted.lease, RunOutcome(listed_in=granted.incarnation))
    other = RedisStore.connect(server.url, "p:", SystemClock())
    again = await begin(other)
    assert again.is_known
    await other.finish(again.lease, RunOutcome())
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    assert not (await begin(store)).is_known
    await store.close()
    await other.close()
    await asyncio.to_thread(server.stop)


async def test_a_full_server_does_not_pass_the_check(tmp_path: Path) -> None:
    with embedded_valkey(tmp_path) as server:
        store = RedisStore.connect(server.url, "p:", SystemClock())
        await store.check()
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory", "1")
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="memory"):
                    await store.check()
                with pytest.raises(StoreUnavailableError):
                    await begin(store)
            client.config_set("maxmemory", "0")
        await store.check()
        await store.close()


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (ReadOnlyError("You can't write against a read only replica."), True),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), True),
        (BusyLoadingError("Redis is loading the dataset in memory"), True),
        (
            ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist"),
            True,
        ),
        (ResponseError("Error running script: @user_script: 12: -READONLY You can't write against a replica"), True),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), True),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (ConnectionError("Connection refused"), False),
    ],
)
def test_a_refusal_to_write_is_distinguished_from_other_errors(error: Exception, refused: bool) -> None:
    assert refuses_writes(error) is refused


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of a server that accepts connections and never answers, as a stopped Redis does."""
    writers: list[asyncio.StreamWriter] = []
    listening = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
    listening.close()


async def test_a_server_that_never_answers_fails_every_caller_in_time(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.store.pipeline.EXCHANGE_SECONDS", 0.2)
    store = RedisStore.connect(f"redis://127.0.0.1:{silent}/0", "p:", SystemClock())
    async with asyncio.timeout(10):
        for _ in range(2):
            answers = await asyncio.gather(store.check(), begin(store), store.time(), return_exceptions=True)
            assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
        await store.close()
