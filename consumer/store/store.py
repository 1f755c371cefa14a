"""The store on one Redis: all parts on one client. Each user sees it through a port of its own."""

import secrets
from collections.abc import Callable
from pathlib import Path

from consumer.store.client import Client
from consumer.store.leases import Leases
from consumer.store.links import Links
from consumer.store.operators import Operators, Partitions
from consumer.store.outage import Outage
from consumer.store.routing import Routing
from consumer.store.sweeps import Sweeps
from consumer.sync.ports import Clock


def _random_id() -> str:
    return secrets.token_hex(16)


class RedisStore(Leases, Links, Routing, Sweeps, Operators, Partitions):
    """Every port of the store on one Redis."""

    @classmethod
    def connect(
        cls,
        url: str,
        prefix: str,
        clock: Clock,
        *,
        ca_file: Path | None = None,
        read_only: bool = False,
        new_id: Callable[[], str] = _random_id,
        log_outages: bool = False,
    ) -> "RedisStore":
        """A store on the Redis at ``url``; nothing is sent yet.

        Args:
            url: ``redis://`` or ``rediss://``.
            prefix: of every key.
            clock: dates the leases; everything in Redis has Redis's own time.
            ca_file: authorities that may sign a ``rediss://`` server's certificate, besides the system's.
            read_only: leases may be taken and released, and any other write raises ``ReadOnlyError``.
            new_id: makes the random part of an incarnation's name.
            log_outages: log that Redis is unavailable. A command reports that itself.

        Raises:
            ConfigurationError: the URL's options cannot be used. The message holds nothing of the URL.
        """
        outage = Outage(clock.monotonic) if log_outages else None
        return cls(Client.connect(url, prefix, new_id, ca_file=ca_file, read_only=read_only, outage=outage), clock)

    async def close(self) -> None:
        """See the port."""
        await self._client.close()

    async def check(self) -> None:
        """See the port."""
        await self._client.check()
