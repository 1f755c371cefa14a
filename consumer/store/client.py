"""One Redis, shared by the parts of the store: commands, scripts, and what a dry run may do."""

import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from consumer.domain.errors import ConfigurationError, ReadOnlyError
from consumer.store.connection import on_connect
from consumer.store.outage import Outage
from consumer.store.pipeline import Argument, Pipeline
from consumer.store.script import LEASING, RENEW, SCRIPTS, Script

_TIMEOUT_SECONDS: Final = 5.0
_WRITABLE_MS: Final = 10_000
_READING: Final = frozenset({"TIME", "GET", "HGET", "HMGET", "HKEYS", "HGETALL", "HLEN", "ZRANGEBYLEX", "SCARD"})


def _trust(ca_file: Path) -> dict[str, Any]:
    """TLS options for Redis. Python 3.13 refuses many companies' own authorities by default (python/cpython#107361)."""
    return {"ssl_ca_certs": str(ca_file), "ssl_exclude_verify_flags": [ssl.VERIFY_X509_STRICT]}


class Client:
    """Commands and scripts on one Redis. Each raises what :class:`~consumer.store.pipeline.Pipeline` raises."""

    def __init__(self, redis: Redis, prefix: str, *, read_only: bool = False, outage: Outage | None = None) -> None:
        """``read_only``: leases may be taken and released, and any other write raises ``ReadOnlyError``."""
        self.redis = redis
        self.prefix = prefix
        self.read_only = read_only
        self._pipeline = Pipeline(redis, [script.source for script in SCRIPTS], outage)
        # Renewals do not wait behind other commands, or a lease could expire meanwhile.
        self._renewals = Pipeline(redis, [RENEW.source], outage)

    @classmethod
    def connect(
        cls,
        url: str,
        prefix: str,
        new_id: Callable[[], str],
        *,
        ca_file: Path | None,
        read_only: bool,
        outage: Outage | None = None,
    ) -> "Client":
        """A client of the Redis at ``url``; nothing is sent yet.

        Raises:
            ConfigurationError: the URL's options cannot be used. The message holds nothing of the URL.
        """
        redis = Redis.from_url(
            url,
            **(_trust(ca_file) if ca_file is not None and url.lower().startswith("rediss:") else {}),
            decode_responses=False,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 1),
            redis_connect_func=on_connect(prefix, new_id, read_only=read_only),
        )
        try:
            redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        except (RedisError, ValueError, TypeError, OSError):
            raise ConfigurationError(["CALSYNC_REDIS_URL: its options cannot be used"]) from None
        return cls(redis, prefix, read_only=read_only, outage=outage)

    async def close(self) -> None:
        """Close every connection."""
        await self.redis.aclose()

    async def check(self) -> None:
        """Raises ``StoreUnavailableError`` unless Redis takes a write: a demoted or full server answers PING."""
        await self.call("SET", self.key("writable"), 1, "PX", _WRITABLE_MS)

    def key(self, name: str) -> str:
        """The key of this name, see :mod:`consumer.store.keys`."""
        return self.prefix + name

    async def time(self) -> tuple[int, int]:
        """Redis's clock: Unix time in whole seconds, and the microseconds since."""
        seconds, microseconds = await self.call("TIME")
        return int(seconds), int(microseconds)

    async def run(self, script: Script, keys: list[str], *arguments: Argument) -> Any:
        """The script's answer."""
        return await self._pipeline.call(*self._script_call(script, keys, *arguments))

    async def run_each(self, script: Script, calls: Iterable[tuple[list[str], list[Argument]]]) -> list[Any]:
        """The script's answers to each (keys, arguments), in the fewest round trips."""
        return await self._pipeline.call_each([self._script_call(script, keys, *given) for keys, given in calls])

    async def renew(self, key: str, token: str, milliseconds: int) -> bool:
        """Whether the lease could be renewed; sent on a connection of its own."""
        return bool(await self._renewals.call(*self._script_call(RENEW, [key], token, milliseconds)))

    async def call(self, *command: Argument) -> Any:
        """The command's answer."""
        return await self._pipeline.call(*self._allowed(command))

    async def call_each(self, *commands: tuple[Argument, ...]) -> list[Any]:
        """The answer to each command, in one round trip. If the connection fails, any of them may have been done."""
        return await self._pipeline.call_each([self._allowed(command) for command in commands])

    async def hash(self, name: str) -> dict[bytes, bytes]:
        """Every field of the hash of this name."""
        parts = await self.call("HGETALL", self.key(name))
        return parts if isinstance(parts, dict) else dict(zip(parts[::2], parts[1::2], strict=True))

    def _script_call(self, script: Script, keys: list[str], *arguments: Argument) -> tuple[Argument, ...]:
        if self.read_only and script not in LEASING:
            raise ReadOnlyError("a script")
        return "EVALSHA", script.sha, len(keys), *keys, *arguments

    def _allowed(self, command: tuple[Argument, ...]) -> tuple[Argument, ...]:
        if self.read_only and command[0] not in _READING:
            raise ReadOnlyError(str(command[0]))
        return command


class Part:
    """A part of the store: the methods of some ports, on the client that all parts share."""

    def __init__(self, client: Client) -> None:
        self._client = client
