"""Reads of links outside a run, over all mailboxes."""

from collections.abc import Sequence

from consumer.domain.distinct import Distinct
from consumer.domain.link import Link, Pending
from consumer.domain.mailbox import Mailbox
from consumer.store.client import Part
from consumer.store.codec import pack_event_id, unpack
from consumer.store.keys import PAGE
from consumer.store.pipeline import Argument
from consumer.store.script import COMING, ELSEWHERE


class Links(Part):
    """Who holds a job, which mailboxes have links, and which events are linked where."""

    async def linked(self, site_id: str, after: str) -> list[str]:
        """See the port. At most ``PAGE`` addresses."""
        start = f"({after}" if after else "-"
        key = self._client.key(f"mailboxes:{site_id}")
        found = await self._client.call("ZRANGEBYLEX", key, start, "+", "LIMIT", 0, PAGE)
        return [address.decode() for address in found]

    async def holders(self, job_id: str) -> list[Mailbox]:
        """See the port."""
        found = await self._client.call("HKEYS", self._client.key(f"held:{job_id}"))
        return [Mailbox.parse(holder.decode()) for holder in found]

    async def remembered(self, job_id: str) -> dict[Mailbox, Link | Pending]:
        """See the port."""
        found: dict[Mailbox, Link | Pending] = {}
        for mailbox in await self.holders(job_id):
            stored = await self._client.call("HGET", self._client.key(f"links:{mailbox}"), job_id)
            memory = unpack(stored or b"")
            if isinstance(memory, Link | Pending):
                found[mailbox] = memory
        return found

    async def linked_elsewhere(self, mailbox: Mailbox, events: Sequence[tuple[str, str]]) -> set[str]:
        """See the port."""
        found: set[str] = set()
        for first in range(0, len(events), PAGE):
            page = events[first : first + PAGE]
            arguments: list[Argument] = [str(mailbox), self._client.prefix]
            for job_id, event_id in page:
                arguments += [job_id, pack_event_id(event_id)]
            found |= {page[number - 1][1] for number in await self._client.run(ELSEWHERE, [], *arguments)}
        return found

    async def coming(self, site_id: str) -> int:
        """See the port. Reads the links of up to ``PAGE`` mailboxes at once; counts in constant memory."""
        jobs, after = Distinct(), ""
        while page := await self.linked(site_id, after):
            keys = [self._client.key(f"links:{Mailbox(site_id, address)}") for address in page]
            for found in await self._client.run_each(COMING, [([key], []) for key in keys]):
                for job_id in found:
                    jobs.add(job_id.decode())
            after = page[-1]
        return len(jobs)
