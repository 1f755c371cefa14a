"""Commands that wait at the same time travel together: one round trip, however many runs ask."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from consumer.domain.errors import StoreUnavailableError
from consumer.store.connection import refuses_writes

log = structlog.get_logger(__name__)

Argument = bytes | str | int
_BATCH: Final = 500
EXCHANGE_SECONDS: Final = 10.0
"""How long one round trip may take, a new connection included. A server that accepts and never answers would hold every
caller otherwise: redis-py tries each step of a connection again, each within its own time."""
_CLOSE_SECONDS: Final = 1.0


class Pipeline:
    """Sends commands to Redis in the fewest round trips that make nobody wait."""

    def __init__(self, redis: Redis, scripts: Sequence[bytes]) -> None:
        """``scripts`` are loaded again whenever Redis says that it does not know one (it was restarted)."""
        self._redis = redis
        self._scripts = scripts
        self._waiting: list[tuple[tuple[Argument, ...], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def call(self, *command: Argument) -> Any:
        """Redis's answer to one command.

        Raises:
            StoreUnavailableError: no answer, or an error for an answer; the command may have been carried out.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await answer

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
            # Nobody must wait for ever for an answer that does not come.
            log.critical("the store failed in a way that is ours", exc_info=True)
            answers = [error] * len(batch)
        if any(isinstance(answer, Exception) and refuses_writes(answer) for answer in answers):
            await self._leave_server()
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue  # the caller was cancelled
            if isinstance(answer, Exception):
                future.set_exception(StoreUnavailableError(f"Redis: {answer}"))
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
        """The next command connects again and resolves the name again: after a failover it leads elsewhere."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._redis.connection_pool.disconnect(inuse_connections=True)
        except (RedisError, OSError) as error:  # a timeout is an OSError
            log.info("connection to Redis not closed cleanly", reason=str(error))

    async def _load(self) -> None:
        for script in self._scripts:
            await self._redis.script_load(script)
