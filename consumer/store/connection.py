"""What is done on each new connection to Redis, before its first command."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import structlog
from redis.asyncio import Connection
from redis.exceptions import BusyLoadingError, MasterDownError, NoPermissionError, OutOfMemoryError, ReadOnlyError

log = structlog.get_logger(__name__)

_REFUSALS: Final = (BusyLoadingError, MasterDownError, OutOfMemoryError, ReadOnlyError)
# An error inside a script begins with the script's place; a code of its own stands behind that.
_REFUSAL_CODE: Final = re.compile(r"\b(READONLY|OOM|MISCONF|LOADING|MASTERDOWN|NOREPLICAS)\b")


def refuses_writes(error: BaseException) -> bool:
    """Whether the server answered that it takes no writes now: it was demoted, is full, or cannot save or load.

    After a failover a kept connection leads to the demoted server, which answers every PING (redis/redis-py#435).
    """
    return isinstance(error, _REFUSALS) or _REFUSAL_CODE.search(str(error)) is not None


def on_connect(incarnation_key: str, *, read_only: bool) -> Callable[[Any], Awaitable[None]]:
    """What to do on a new connection: refuse a replica, and note in Redis which server this is, since when.

    A server that was restarted, or that a failover promoted, may lack the last writes of the one before it. Its
    ``run_id`` or ``master_replid`` is another one (Redis, INFO), so the key holds another value from then on. An
    emptied server has no such key: it gets a value that was never there before, though the server is the same.
    """

    async def connected(connection: Connection) -> None:
        await connection.on_connect()
        try:
            replication = await _info(connection, "replication")
        except NoPermissionError:
            # A write says whether this is a replica; a restart that loses writes goes unnoticed.
            log.warning("Redis does not let the service ask INFO: add +info to its user's ACL rules")
            return
        if replication.get("role", "master") != "master":
            raise ReadOnlyError("the server is a replica: it was demoted, or its name leads to a replica")
        server = await _info(connection, "server")
        incarnation = f"{server.get('run_id', '')} {replication.get('master_replid', '')}".encode()
        known = await _ask(connection, "GET", incarnation_key)
        if read_only:
            return
        if known is None:
            await _ask(connection, "SET", incarnation_key, incarnation + b" " + uuid4().hex.encode(), "NX")
        elif not known.startswith(incarnation):
            await _ask(connection, "SET", incarnation_key, incarnation)

    return connected


async def _info(connection: Connection, section: str) -> dict[str, str]:
    text = await _ask(connection, "INFO", section)
    fields = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in fields if colon}


async def _ask(connection: Connection, *command: str | bytes) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()
