"""Ranks, dirty marks, and the count of deletions."""

import hashlib
from collections.abc import Sequence

from consumer.domain.mailbox import Mailbox
from consumer.store.client import Part
from consumer.store.codec import pack_rank
from consumer.store.keys import KEPT_SECONDS, dirty_member
from consumer.store.pipeline import Argument
from consumer.store.script import MARK, ROUTE
from consumer.sync.ranks import RankRequest, Routed


class Routing(Part):
    """:class:`~consumer.sync.routing_store.RoutingStore` on Redis, but for ``coming``."""

    async def route(self, requests: Sequence[RankRequest]) -> list[Routed]:
        """See the port."""
        answers = await self._client.run_each(ROUTE, [self._rank_call(request) for request in requests])
        return [
            Routed(
                int.from_bytes(rank, "big"),
                int.from_bytes(newest, "big"),
                tuple(Mailbox.parse(holder.decode()) for holder in holders),
                coming,
            )
            for rank, newest, coming, *holders in answers
        ]

    async def mark_dirty(self, assignments: Sequence[tuple[Mailbox, str]]) -> None:
        """See the port."""
        by_site: dict[str, list[Argument]] = {}
        for mailbox, job_id in assignments:
            by_site.setdefault(mailbox.site, []).append(dirty_member(mailbox, job_id))
        await self._client.run_each(
            MARK, [([self._client.key(f"dirty:{site}")], members) for site, members in by_site.items()]
        )

    async def count_deletions(self, site_id: str, jobs: Sequence[str], seconds: float) -> tuple[int, int]:
        """See the port."""
        key = self._client.key(f"deleted:{site_id}")
        _, milliseconds, count, known = await self._client.call_each(
            ("SADD", key, *(_hash_of(job_id) for job_id in jobs)),
            ("PTTL", key),
            ("SCARD", key),
            ("GET", self._client.key(f"events:{site_id}")),
        )
        if milliseconds < 0:
            await self._client.call("PEXPIRE", key, int(seconds * 1000))
        return count, int(known or 0)

    def _rank_call(self, request: RankRequest) -> tuple[list[str], list[Argument]]:
        keys = [self._client.key(f"job:{request.job_id}"), self._client.key(f"held:{request.job_id}")]
        return keys, [
            b"" if request.rank is None else pack_rank(request.rank),
            request.partition.to_bytes(4, "big"),
            request.offset.to_bytes(8, "big"),
            self._client.key("links:"),
            request.job_id,
            KEPT_SECONDS,
            request.site,
            request.topic_id,
        ]


def _hash_of(job_id: str) -> bytes:
    return hashlib.blake2b(job_id.encode(), digest_size=8).digest()
