"""Commands that wait at the same time share a round trip, over all runs."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from consumer.domain.errors import ConfigurationError, StoreUnavailableError
from consumer.store.connection import refuses_writes
from consumer.store.outage import Outage
from consumer.store.version import NewerDataError

log = structlog.get_logger(__name__)

Argument = bytes | str | int
_BATCH: Final = 500
"""The most commands of one round trip."""
EXCHANGE_SECONDS: Final = 10.0
"""The longest time of one round trip, a new connection included. Without it, a server that accepts and never answers
would block every caller for longer: redis-py repeats each step of a connection, each with its own timeout."""
_CLOSE_SECONDS: Final = 1.0
_WRITES: Final = frozenset({"SET", "SETNX", "HSET", "HSETNX"})
"""Commands that succeed only while Redis takes writes. A full Redis still deletes (Redis, ``maxmemory``), and a script
may succeed without a write."""


class Pipeline:
    """Sends each command at once if no round trip is under way, otherwise with the next one.

    The queue holds the commands of the callers that wait, and nothing else: the callers bound it.
    """

    def __init__(self, redis: Redis, scripts: Sequence[bytes], outage: Outage | None = None) -> None:
        """``scripts`` are loaded when Redis does not know one, for example after a restart.

        ``outage`` logs that Redis is unavailable; a command has none, because it reports that as its own outcome.
        """
        self._redis = redis
        self._outage = outage
        self._scripts = scripts
        self._waiting: list[tuple[tuple[Argument, ...], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def call(self, *command: Argument) -> Any:
        """Redis's answer to one command.

        Raises:
            StoreUnavailableError: no answer, or an error as the answer; the command may have been carried out.
            ConfigurationError: Redis holds data of a newer version.
        """
        return await self._enqueue(command)

    async def call_each(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """Redis's answer to each of these commands. Returns or raises when all are answered.

        Raises:
            StoreUnavailableError: as in ``call``, for at least one of them.
            ConfigurationError: as in ``call``.
        """
        answers = await asyncio.gather(*map(self._enqueue, commands), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def _enqueue(self, command: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                await self._exchange(batch)
        finally:
            self._sender = None

    async def _exchange(self, batch: list[tuple[tuple[Argument, ...], "asyncio.Future[Any]"]]) -> None:
        answers: list[Any]
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                answers = await self._answers([command for command, _ in batch])
        except TimeoutError:
            await self._leave_server()
            answers = [TimeoutError(f"no answer within {EXCHANGE_SECONDS:g} s")] * len(batch)
        except (RedisError, OSError) as error:
            answers = [error] * len(batch)
        except Exception as error:
            # Each caller must get an answer, or it waits for ever.
            log.critical("store failed: an unexpected error", exc_info=True)
            answers = [error] * len(batch)
        refused = any(isinstance(answer, Exception) and refuses_writes(answer) for answer in answers)
        if refused:
            await self._leave_server()
        if self._outage is not None:
            fault = next((answer for answer in answers if isinstance(answer, Exception)), None)
            if fault is None:
                self._outage.answered(wrote=any(command[0] in _WRITES for command, _ in batch))
            elif isinstance(fault, RedisError | OSError) and not isinstance(fault, NewerDataError):
                self._outage.failed(str(fault), refused=refused)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue  # the caller was cancelled
            if isinstance(answer, NewerDataError):
                future.set_exception(ConfigurationError([str(answer)]))
            elif isinstance(answer, Exception):
                future.set_exception(StoreUnavailableError(f"Redis: {answer}", refused=refuses_writes(answer)))
            else:
                future.set_result(answer)

    async def _answers(self, commands: list[tuple[Argument, ...]]) -> list[Any]:
        answers = await self._execute(commands)
        unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            await self._load()
            for n, answer in zip(unknown, await self._execute([commands[n] for n in unknown]), strict=True):
                answers[n] = answer
        return answers

    async def _execute(self, commands: list[tuple[Argument, ...]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return await pipe.execute(raise_on_error=False)

    async def _leave_server(self) -> None:
        """Have the next command connect and resolve the name again: after a failover, it leads to another server."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._redis.connection_pool.disconnect(inuse_connections=True)
        except (RedisError, OSError) as error:  # a timeout is an OSError
            log.info("connection to Redis not closed cleanly", reason=str(error))

    async def _load(self) -> None:
        for script in self._scripts:
            await self._redis.script_load(script)
