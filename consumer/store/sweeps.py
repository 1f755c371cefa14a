"""What sweeps keep from one to the next."""

from collections.abc import Mapping, Sequence
from typing import Final

from consumer.domain.mailbox import Mailbox
from consumer.store.client import Part
from consumer.store.keys import PAGE
from consumer.store.pipeline import Argument
from consumer.store.script import CLEAN
from consumer.sync.marks import Mark
from consumer.sync.sweep_state import SweepState

_STATE_FIELDS: Final = ("succeeded_at", "held", "unavailable")


class Sweeps(Part):
    """Most of :mod:`consumer.sync.sweep_store` on Redis: claims, marks, and what the last sweep found."""

    async def time(self) -> float:
        """See the port."""
        seconds, microseconds = await self._client.time()
        return seconds + microseconds / 1e6

    async def dirty(self, site_id: str) -> list[Mark]:
        """See the port."""
        marks = []
        for member, stamp in (await self._client.hash(f"dirty:{site_id}")).items():
            address, _, job_id = member.decode().partition("\0")
            marks.append(Mark(address, job_id, int(stamp)))
        return sorted(marks)

    async def count_dirty(self, site_ids: Sequence[str]) -> dict[str, int]:
        """See the port."""
        counts = await self._client.call_each(*(("HLEN", self._client.key(f"dirty:{each}")) for each in site_ids))
        return dict(zip(site_ids, map(int, counts), strict=True))

    async def sweep_states(self, site_ids: Sequence[str]) -> dict[str, SweepState]:
        """See the port."""
        found = await self._client.call_each(
            *(("HMGET", self._client.key(f"sweep:{each}"), *_STATE_FIELDS) for each in site_ids)
        )
        return {
            site_id: SweepState(at and float(at), held and int(held), unavailable and int(unavailable))
            for site_id, (at, held, unavailable) in zip(site_ids, found, strict=True)
        }

    async def remember_sweep(self, site_id: str, state: SweepState) -> None:
        """See the port."""
        values = (state.succeeded_at, state.held, state.unavailable)
        known = [(name, str(value)) for name, value in zip(_STATE_FIELDS, values, strict=True) if value is not None]
        parts = [part for field in known for part in field]
        await self._client.call("HSET", self._client.key(f"sweep:{site_id}"), *parts)

    async def clean(self, site_id: str, marks: Sequence[Mark]) -> None:
        """See the port."""
        for first in range(0, len(marks), PAGE):
            arguments: list[Argument] = []
            for mark in marks[first : first + PAGE]:
                arguments += [f"{mark.address}\0{mark.job_id}", mark.stamp]
            await self._client.run(CLEAN, [self._client.key(f"dirty:{site_id}")], *arguments)

    async def forget_zone(self, mailbox: Mailbox) -> None:
        """See the port."""
        await self._client.call("DEL", self._client.key(f"timezone:{mailbox}"))

    async def remember_events(self, site_id: str, count: int) -> None:
        """See the port."""
        await self._client.call("SET", self._client.key(f"events:{site_id}"), count)

    async def events(self, site_id: str) -> int:
        """See the port."""
        return int(await self._client.call("GET", self._client.key(f"events:{site_id}")) or 0)

    async def unread(self, site_id: str) -> dict[str, int]:
        """See the port."""
        counts = await self._client.hash(f"unread:{site_id}")
        return {address.decode(): int(count) for address, count in counts.items()}

    async def remember_unread(self, site_id: str, counts: Mapping[str, int]) -> None:
        """See the port."""
        key = self._client.key(f"unread:{site_id}")
        fields = [part for address, count in counts.items() for part in (address, count)]
        # If only the first is done, the count of each mailbox starts again at 0.
        await self._client.call_each(("DEL", key), *([("HSET", key, *fields)] if fields else []))

    async def claim_sweep(self, site_id: str, seconds: float) -> bool:
        """See the port."""
        key = self._client.key(f"swept:{site_id}")
        return await self._client.call("SET", key, 1, "NX", "PX", int(seconds * 1000)) is not None

    async def release_sweep(self, site_id: str) -> None:
        """See the port."""
        await self._client.call("DEL", self._client.key(f"swept:{site_id}"))
