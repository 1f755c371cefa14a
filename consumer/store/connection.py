"""What happens on each new connection to Redis, before its first command."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import structlog
from redis.asyncio import Connection
from redis.exceptions import BusyLoadingError, MasterDownError, NoPermissionError, OutOfMemoryError, ReadOnlyError

from consumer.store.version import VERSION_KEY, check_version

log = structlog.get_logger(__name__)

_REFUSALS: Final = (BusyLoadingError, MasterDownError, OutOfMemoryError, ReadOnlyError)
# An error inside a script begins with the place in the script; its own code follows.
_REFUSAL_CODE: Final = re.compile(r"\b(READONLY|OOM|MISCONF|LOADING|MASTERDOWN|NOREPLICAS)\b")


def refuses_writes(error: BaseException) -> bool:
    """Whether the server answered that it takes no writes now: it was demoted, is full, is loading, or cannot save.

    After a failover, an open connection still leads to the demoted server, which answers every PING
    (redis/redis-py#435).
    """
    return isinstance(error, _REFUSALS) or _REFUSAL_CODE.search(str(error)) is not None


def on_connect(prefix: str, new_id: Callable[[], str], *, read_only: bool) -> Callable[[Any], Awaitable[None]]:
    """What to do on a new connection: refuse a replica and newer data, and note which server this is, since when.

    A server that was restarted, or that a failover promoted, may lack the last writes of the one before it. Its
    ``run_id`` or ``master_replid`` differs (Redis, INFO), so the key ``incarnation`` gets a new value. An emptied
    server has no such key: ``new_id`` makes its value unlike any before, though the server is the same.
    """
    incarnation_key = f"{prefix}incarnation"

    async def connected(connection: Connection) -> None:
        await connection.on_connect()
        ask = partial(_ask, connection)
        try:
            replication = await _info(connection, "replication")
        except NoPermissionError:
            # Without INFO, only a write shows that this is a replica, and a restart that loses writes goes unnoticed.
            log.warning("Redis refuses INFO to the service: add +info to its user's ACL rules")
            await check_version(ask, f"{prefix}{VERSION_KEY}", read_only=read_only)
            return
        if replication.get("role", "master") != "master":
            raise ReadOnlyError("the server is a replica: it was demoted, or its name leads to a replica")
        await check_version(ask, f"{prefix}{VERSION_KEY}", read_only=read_only)
        server = await _info(connection, "server")
        incarnation = f"{server.get('run_id', '')} {replication.get('master_replid', '')}".encode()
        known = await ask("GET", incarnation_key)
        if read_only:
            return
        if known is None:
            await ask("SET", incarnation_key, incarnation + b" " + new_id().encode(), "NX")
        elif not known.startswith(incarnation):
            await ask("SET", incarnation_key, incarnation)

    return connected


async def _info(connection: Connection, section: str) -> dict[str, str]:
    text = await _ask(connection, "INFO", section)
    fields = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in fields if colon}


async def _ask(connection: Connection, *command: str | bytes) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()
