"""Leases, and what a run reads and writes under one."""

from collections.abc import Sequence
from typing import Final

from consumer.domain.compare import NEWER_RANK_SECONDS
from consumer.domain.errors import ReadOnlyError
from consumer.domain.link import Memory
from consumer.domain.mailbox import Mailbox
from consumer.store.client import Client, Part
from consumer.store.codec import pack_link, pack_rank, unpack
from consumer.store.keys import KEPT_SECONDS, dirty_member
from consumer.store.pipeline import Argument
from consumer.store.script import BEGIN, FINISH, RELEASE
from consumer.sync.grant import AssignmentState, Busy, DataLost, Grant, Intent, Parked, Precedence
from consumer.sync.lease import LEASE_SECONDS, Lease
from consumer.sync.ports import Clock
from consumer.sync.run_outcome import RunOutcome

_LEASE_MS: Final = int(LEASE_SECONDS * 1000)
_ZONE_KEPT_SECONDS: Final = 30 * 86400
_BUSY_LOOK_SECONDS: Final = 1.0
"""A run looks at a busy mailbox again after this at the latest: the replica that has it may be dead."""


class Leases(Part):
    """:class:`~consumer.sync.run_store.RunStore` on Redis, but for ``linked_elsewhere``."""

    def __init__(self, client: Client, clock: Clock) -> None:
        super().__init__(client)
        self._clock = clock

    async def begin(
        self,
        mailbox: Mailbox,
        app: str,
        token: str,
        intents: Sequence[Intent],
        *,
        everything: bool = False,
        incarnation: str = "",
    ) -> Grant | Busy | Parked | DataLost:
        """See the port."""
        if self._client.read_only and any(intent.transaction_id or intent.forced for intent in intents):
            raise ReadOnlyError("an intent")
        lease = Lease(app, mailbox, token, self._clock.monotonic())
        arguments: list[Argument] = [token, _LEASE_MS, str(mailbox), mailbox.address, self._client.prefix]
        arguments += [KEPT_SECONDS, int(NEWER_RANK_SECONDS), len(intents)]
        for intent in intents:
            by = "forced" if intent.forced else "swept" if intent.swept else ""
            arguments += [intent.job_id, pack_rank(intent.rank), intent.transaction_id or "", by]
        arguments += [int(everything), incarnation]
        keys = self._keys(lease)
        answer = await self._client.run(BEGIN, [*keys[:5], *keys[6:]], *arguments)
        kind, first = answer[:2]
        if kind == b"parked":
            return Parked(first.decode())
        if kind == b"lost":
            return DataLost(first.decode())
        if kind == b"busy":
            return Busy(min(_BUSY_LOOK_SECONDS, max(first, 10) / 1000))
        zone_age, present, is_known, *rest = answer[2:]
        assignments = {
            intent.job_id: AssignmentState(
                Precedence(rest[3 * n]), unpack(rest[3 * n + 1]), rest[3 * n + 2].decode() or None
            )
            for n, intent in enumerate(intents)
        }
        return Grant(
            lease,
            _unpack_zone(first),
            assignments,
            _unpack_links(rest[3 * len(intents) :]),
            zone_is_fresh=bool(first) and zone_age < KEPT_SECONDS * 1000,
            is_known=bool(is_known),
            incarnation=present.decode(),
        )

    async def renew(self, lease: Lease) -> bool:
        """See the port."""
        asked_at = self._clock.monotonic()
        renewed = await self._client.renew(self._keys(lease)[0], lease.token, _LEASE_MS)
        if renewed:
            lease.renewed_at = asked_at
        else:
            lease.lost = True
        return renewed

    async def finish(self, lease: Lease, outcome: RunOutcome) -> bool:
        """See the port."""
        zone = b"" if outcome.zone is None else b"=" + outcome.zone.encode()
        mailbox = lease.mailbox
        arguments: list[Argument] = [lease.token, str(mailbox), mailbox.address, self._client.prefix, zone]
        arguments += [KEPT_SECONDS, _ZONE_KEPT_SECONDS, "1" if outcome.answered else "", outcome.listed_in]
        for job_id in sorted(outcome.forgotten):
            arguments += ["forget", job_id, ""]
        for job_id, rank in outcome.tombstones.items():
            arguments += ["tombstone", job_id, pack_rank(rank)]
        for job_id, link in outcome.links.items():
            arguments += ["link", job_id, pack_link(link)]
        for job_id, link in outcome.found.items():
            what = "found beyond" if job_id in outcome.beyond else "found"
            arguments += [what, job_id, pack_link(link)]
        for job_id in sorted(outcome.dirty):
            arguments += ["dirty", dirty_member(mailbox, job_id), ""]
        for job_id, seconds in outcome.doubtful.items():
            arguments += ["doubt", job_id, int(seconds * 1000)]
        return bool(await self._client.run(FINISH, self._keys(lease), *arguments))

    async def release(self, lease: Lease) -> None:
        """See the port."""
        await self._client.run(RELEASE, self._keys(lease)[:1], lease.token)

    def _keys(self, lease: Lease) -> list[str]:
        site, address = lease.mailbox
        names = [
            f"lease:{lease.app}/{address}",
            f"links:{lease.mailbox}",
            f"timezone:{lease.mailbox}",
            "parked",
            f"mailboxes:{site}",
            f"dirty:{site}",
            f"known:{site}",
            "incarnation",
        ]
        return [self._client.key(name) for name in names]


def _unpack_links(parts: Sequence[bytes]) -> dict[str, Memory]:
    links = {}
    for job_id, stored in zip(parts[::2], parts[1::2], strict=True):
        memory = unpack(stored)
        if memory is not None:
            links[job_id.decode()] = memory
    return links


def _unpack_zone(stored: bytes) -> str | None:
    """A stored setting begins with ``=``, because a setting may be empty."""
    return stored[1:].decode() if stored else None
