"""What operators decide: paused sites, parked mailboxes, blocked partitions, replayed dead letters."""

from collections.abc import Mapping

import orjson

from consumer.domain.mailbox import Mailbox
from consumer.store.client import Part
from consumer.store.keys import KEPT_SECONDS
from consumer.sync.parking import Parking
from consumer.sync.partition_block import Block


class Operators(Part):
    """:class:`~consumer.sync.operator_store.OperatorStore` on Redis, and the mark of its first use."""

    async def pause(self, site_id: str) -> None:
        """See the port."""
        seconds, microseconds = await self._client.time()
        await self._client.call("HSETNX", self._client.key("paused"), site_id, str(seconds + microseconds / 1e6))

    async def resume(self, site_id: str) -> None:
        """See the port."""
        await self._client.call("HDEL", self._client.key("paused"), site_id)

    async def paused(self) -> dict[str, float]:
        """See the port."""
        return {site_id.decode(): float(since) for site_id, since in (await self._client.hash("paused")).items()}

    async def park(self, mailbox: Mailbox, code: str, *, hourly: bool, note: str = "") -> None:
        """See the port."""
        seconds, _ = await self._client.time()
        known = await self._client.call("HGET", self._client.key("parked"), str(mailbox))
        if hourly and known and "retry_at" not in orjson.loads(known):
            return  # it is parked until an operator enables it
        entry = {"code": code, "since": seconds}
        if hourly:
            entry["retry_at"] = seconds + KEPT_SECONDS
        if note:
            entry["note"] = note
        await self._client.call("HSET", self._client.key("parked"), str(mailbox), orjson.dumps(entry))

    async def enable(self, mailbox: Mailbox) -> None:
        """See the port."""
        await self._client.call("HDEL", self._client.key("parked"), str(mailbox))

    async def list_parked(self) -> list[tuple[Mailbox, Parking]]:
        """See the port."""
        entries = await self._client.hash("parked")
        found = [(Mailbox.parse(mailbox.decode()), orjson.loads(entry)) for mailbox, entry in entries.items()]
        return [
            (mailbox, Parking(entry["code"], "retry_at" in entry, entry["since"], entry.get("note", "")))
            for mailbox, entry in found
        ]

    async def born(self) -> str:
        """See the port."""
        seconds, microseconds = await self._client.time()
        await self._client.call("SETNX", self._client.key("born"), str(seconds + microseconds / 1e6))
        return str((await self._client.call("GET", self._client.key("born"))).decode())


class Partitions(Part):
    """:class:`~consumer.sync.operator_store.PartitionStore` on Redis."""

    async def block(self, topic: str, partition: int, offset: int) -> None:
        """See the port."""
        seconds, _ = await self._client.time()
        entry = orjson.dumps({"offset": offset, "since": seconds})
        await self._client.call("HSET", self._client.key(f"blocked:{topic}"), str(partition), entry)

    async def unblock(self, topic: str, partition: int) -> None:
        """See the port."""
        await self._client.call("HDEL", self._client.key(f"blocked:{topic}"), str(partition))

    async def blocked(self, topic: str) -> dict[int, Block]:
        """See the port."""
        entries = (await self._client.hash(f"blocked:{topic}")).items()
        return {int(partition): Block(**orjson.loads(entry)) for partition, entry in sorted(entries)}

    async def replayed(self, topic: str) -> dict[int, int]:
        """See the port."""
        offsets = await self._client.hash(f"replayed:{topic}")
        return {int(partition): int(offset) for partition, offset in offsets.items()}

    async def remember_replayed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """See the port."""
        for partition, offset in offsets.items():
            await self._client.call("HSET", self._client.key(f"replayed:{topic}"), str(partition), offset)
