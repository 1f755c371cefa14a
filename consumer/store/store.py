"""The store: links, leases, newest revisions, dirty marks and parked mailboxes, in Redis.

Keys, below the prefix:

========================  ======  =================================================================
``job:{job}``             string  newest known rank, partition and offset; kept an hour
``held:{job}``            hash    the mailboxes that hold the job's event, or may
``links:{mailbox}``       hash    job → link or pending link, see :mod:`consumer.store.codec`
``gone:{mailbox}/{job}``  string  tombstone; kept an hour
``mailboxes:{site}``      zset    addresses with links, in byte order
``lease:{app}/{address}`` string  until when, the token of the run that holds the mailbox, and the jobs it may touch
``known:{site}``          hash    address → the incarnation in which all its tagged events were listed
``writable``              string  written to see whether Redis takes writes
``incarnation``           string  of the store: another one after each loss of data that there may have been
``timezone:{mailbox}``    string  when the mailbox's time-zone setting was read, and the setting; kept 30 days
``parked``                hash    mailbox → JSON: code, since, retry_at, note
``paused``                hash    site → Unix time since when
``replayed:{topic}``      hash    partition of the dead letters → the first that was not replayed
``born``                  string  when this store was first used
``blocked:{topic}``       hash    partition → JSON: offset, since; too many unreadable records in a row
``dirty:{site}``          hash    address, NUL, job: what the sweep must look at → when it was marked (µs)
``deleted:{site}``        set     8-byte hashes of jobs whose rows were deleted within one sweep interval
``events:{site}``         string  how many jobs with an event in the window the last complete sweep found
``unread:{site}``         hash    address → in how many sweeps in a row it could not be read
``swept:{site}``          string  there while the site's last sweep is younger than the interval
========================  ======  =================================================================

Scripts compute keys, so this is for one Redis (with replicas, if you like), not for Redis Cluster.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from consumer.domain.compare import PATIENCE_SECONDS
from consumer.domain.distinct import Distinct
from consumer.domain.errors import ConfigurationError, ReadOnlyError
from consumer.domain.link import Link, Memory, Pending
from consumer.domain.mailbox import Mailbox
from consumer.store.codec import pack_event_id, pack_link, pack_rank, unpack
from consumer.store.connection import on_connect
from consumer.store.pipeline import Argument, Pipeline
from consumer.sync.ports import (
    LEASE_SECONDS,
    AssignmentState,
    Busy,
    Clock,
    DataLost,
    Grant,
    Intent,
    Lease,
    Mark,
    Parked,
    Parking,
    RankRequest,
    Routed,
    RunOutcome,
)

KEPT_SECONDS: Final = 3600
"""How long newest revisions and tombstones are remembered, and a time zone counts as fresh."""
_ZONE_KEPT_SECONDS: Final = 30 * 86400
_LEASE_MS: Final = int(LEASE_SECONDS * 1000)
_BUSY_LOOK_SECONDS: Final = 1.0
"""A busy mailbox is looked at again after this at the latest: its holder may be dead."""
_TIMEOUT_SECONDS: Final = 5.0
_INDEX_PAGE: Final = 500
_WRITABLE_MS: Final = 10_000


def _source(name: str) -> bytes:
    return files("consumer.store").joinpath("scripts", f"{name}.lua").read_bytes()


class _Script:
    def __init__(self, name: str) -> None:
        self.source = _source("common") + _source(name)
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


_ROUTE, _BEGIN, _FINISH, _RENEW, _RELEASE, _COMING, _MARK, _CLEAN, _ELSEWHERE = _SCRIPTS = tuple(
    _Script(name) for name in ("route", "begin", "finish", "renew", "release", "coming", "mark", "clean", "elsewhere")
)
_LEASING: Final = (_BEGIN, _RENEW, _RELEASE, _ELSEWHERE)
"""What a dry run may do too."""
_READING: Final = frozenset({"TIME", "GET", "HGET", "HKEYS", "HGETALL", "HLEN", "ZRANGEBYLEX", "SCARD"})


@dataclass(frozen=True, slots=True)
class Block:
    """Where and since when a partition is not read any further."""

    offset: int
    """The first that was not read."""
    since: int
    """Unix time."""


def _trust(ca_file: Path) -> dict[str, Any]:
    """TLS options for Redis. Python 3.13 refuses many companies' own authorities by default (python/cpython#107361)."""
    return {"ssl_ca_certs": str(ca_file), "ssl_exclude_verify_flags": [ssl.VERIFY_X509_STRICT]}


class RedisStore:
    """The store port on one Redis."""

    def __init__(self, redis: Redis, prefix: str, clock: Clock, *, read_only: bool = False) -> None:
        """``read_only``: leases may be taken and given back, and ``ReadOnlyError`` is raised for any other write."""
        self._redis = redis
        self._prefix = prefix
        self._clock = clock
        self._read_only = read_only
        self._pipeline = Pipeline(redis, [script.source for script in _SCRIPTS])
        # A lease must not expire behind whatever else is asked.
        self._renewals = Pipeline(redis, [_RENEW.source])

    @classmethod
    def connect(
        cls, url: str, prefix: str, clock: Clock, *, ca_file: Path | None = None, read_only: bool = False
    ) -> "RedisStore":
        """A store on the Redis at ``url``; nothing is sent yet.

        ``ca_file`` holds authorities that a ``rediss://`` server's certificate may come from, besides the system's.

        Raises:
            ConfigurationError: no connection can be made as the URL says. The message holds nothing of it.
        """
        redis = Redis.from_url(
            url,
            **(_trust(ca_file) if ca_file is not None and url.lower().startswith("rediss:") else {}),
            decode_responses=False,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 1),
            redis_connect_func=on_connect(f"{prefix}incarnation", read_only=read_only),
        )
        try:
            redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        except (RedisError, ValueError, TypeError, OSError):
            raise ConfigurationError(["CALSYNC_REDIS_URL: its options cannot be used"]) from None
        return cls(redis, prefix, clock, read_only=read_only)

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def check(self) -> None:
        """Raises ``StoreUnavailableError`` unless Redis takes a write: a demoted or full server answers PING."""
        await self._call("SET", self._key("writable"), 1, "PX", _WRITABLE_MS)

    async def route(self, sightings: Sequence[RankRequest]) -> list[Routed]:
        """See the port."""
        links = self._key("links:")
        answers = await asyncio.gather(
            *(
                self._run(
                    _ROUTE,
                    [self._key(f"job:{sighting.job_id}"), self._key(f"held:{sighting.job_id}")],
                    b"" if sighting.rank is None else pack_rank(sighting.rank),
                    sighting.partition.to_bytes(4, "big"),
                    sighting.offset.to_bytes(8, "big"),
                    links,
                    sighting.job_id,
                    KEPT_SECONDS,
                    sighting.site,
                    sighting.log,
                )
                for sighting in sightings
            )
        )
        return [
            Routed(
                int.from_bytes(rank, "big"),
                int.from_bytes(newest, "big"),
                tuple(Mailbox.parse(holder.decode()) for holder in holders),
                coming,
            )
            for rank, newest, coming, *holders in answers
        ]

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
        if self._read_only and any(intent.transaction_id or intent.forced for intent in intents):
            raise ReadOnlyError("an intent")
        lease = Lease(app, mailbox, token, self._clock.monotonic())
        arguments: list[Argument] = [token, _LEASE_MS, str(mailbox), mailbox.address, self._prefix]
        arguments += [KEPT_SECONDS, int(PATIENCE_SECONDS), len(intents)]
        for intent in intents:
            by = "forced" if intent.forced else "swept" if intent.swept else ""
            arguments += [intent.job_id, pack_rank(intent.rank), intent.transaction_id or "", by]
        arguments += [int(everything), incarnation]
        keys = self._keys(lease)
        answer = await self._run(_BEGIN, [*keys[:5], *keys[6:]], *arguments)
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
                rest[3 * n] in {1, 2}, unpack(rest[3 * n + 1]), rest[3 * n + 2].decode() or None, rest[3 * n] in {2, 3}
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
        key = self._keys(lease)[0]
        held = await self._renewals.call("EVALSHA", _RENEW.sha, 1, key, lease.token, _LEASE_MS)
        if held:
            lease.renewed_at = asked_at
        else:
            lease.lost = True
        return bool(held)

    async def finish(self, lease: Lease, outcome: RunOutcome) -> bool:
        """See the port."""
        zone = b"" if outcome.zone is None else b"=" + outcome.zone.encode()
        mailbox = lease.mailbox
        arguments: list[Argument] = [lease.token, str(mailbox), mailbox.address, self._prefix, zone]
        arguments += [KEPT_SECONDS, _ZONE_KEPT_SECONDS, "1" if outcome.answered else "", outcome.listed_in]
        for job_id in sorted(outcome.forgotten):
            arguments += ["forget", job_id, ""]
        for job_id, rank in outcome.tombstones.items():
            arguments += ["bury", job_id, pack_rank(rank)]
        for job_id, link in outcome.links.items():
            arguments += ["link", job_id, pack_link(link)]
        for job_id, link in outcome.found.items():
            what = "found beyond" if job_id in outcome.beyond else "found"
            arguments += [what, job_id, pack_link(link)]
        for job_id in sorted(outcome.dirty):
            arguments += ["dirty", _dirty(mailbox, job_id), ""]
        for job_id, seconds in outcome.doubtful.items():
            arguments += ["doubt", job_id, int(seconds * 1000)]
        return bool(await self._run(_FINISH, self._keys(lease), *arguments))

    async def release(self, lease: Lease) -> None:
        """See the port."""
        await self._run(_RELEASE, self._keys(lease)[:1], lease.token)

    async def mark_dirty(self, assignments: Sequence[tuple[Mailbox, str]]) -> None:
        """See the port."""
        by_site: dict[str, list[Argument]] = {}
        for mailbox, job_id in assignments:
            by_site.setdefault(mailbox.site, []).append(_dirty(mailbox, job_id))
        await asyncio.gather(
            *(self._run(_MARK, [self._key(f"dirty:{site}")], *marks) for site, marks in by_site.items())
        )

    async def list_parked(self) -> list[tuple[Mailbox, Parking]]:
        """See the port."""
        entries = await self._hash("parked")
        found = [(Mailbox.parse(mailbox.decode()), orjson.loads(entry)) for mailbox, entry in entries.items()]
        return [
            (mailbox, Parking(entry["code"], "retry_at" in entry, entry["since"], entry.get("note", "")))
            for mailbox, entry in found
        ]

    async def enable(self, mailbox: Mailbox) -> None:
        """See the port."""
        await self._call("HDEL", self._key("parked"), str(mailbox))

    async def block(self, topic: str, partition: int, offset: int) -> None:
        """Have no replica read the partition any further than ``offset``, until it is unblocked."""
        entry = orjson.dumps({"offset": offset, "since": int(await self.time())})
        await self._call("HSET", self._key(f"blocked:{topic}"), str(partition), entry)

    async def unblock(self, topic: str, partition: int) -> None:
        """Block the partition no longer."""
        await self._call("HDEL", self._key(f"blocked:{topic}"), str(partition))

    async def blocked(self, topic: str) -> dict[int, Block]:
        """Every blocked partition of the topic."""
        entries = (await self._hash(f"blocked:{topic}")).items()
        return {int(partition): Block(**orjson.loads(entry)) for partition, entry in sorted(entries)}

    async def replayed(self, topic: str) -> dict[int, int]:
        """Of each partition of the dead-letter topic: the first offset that was not replayed."""
        return {int(partition): int(offset) for partition, offset in (await self._hash(f"replayed:{topic}")).items()}

    async def remember_replayed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Dead letters of the topic before these offsets were replayed."""
        for partition, offset in offsets.items():
            await self._call("HSET", self._key(f"replayed:{topic}"), str(partition), offset)

    async def pause(self, site_id: str) -> None:
        """See the port."""
        await self._call("HSETNX", self._key("paused"), site_id, str(await self.time()))

    async def resume(self, site_id: str) -> None:
        """See the port."""
        await self._call("HDEL", self._key("paused"), site_id)

    async def paused(self) -> dict[str, float]:
        """See the port."""
        return {site_id.decode(): float(since) for site_id, since in (await self._hash("paused")).items()}

    async def born(self) -> str:
        """See the port."""
        await self._call("SETNX", self._key("born"), str(await self.time()))
        return str((await self._call("GET", self._key("born"))).decode())

    async def time(self) -> float:
        """See the port."""
        seconds, microseconds = await self._call("TIME")
        return int(seconds) + int(microseconds) / 1e6

    async def linked(self, site_id: str, after: str) -> list[str]:
        """See the port."""
        start = f"({after}" if after else "-"
        found = await self._call("ZRANGEBYLEX", self._key(f"mailboxes:{site_id}"), start, "+", "LIMIT", 0, _INDEX_PAGE)
        return [address.decode() for address in found]

    async def holders(self, job_id: str) -> list[Mailbox]:
        """See the port."""
        return [Mailbox.parse(holder.decode()) for holder in await self._call("HKEYS", self._key(f"held:{job_id}"))]

    async def remembered(self, job_id: str) -> dict[Mailbox, Link | Pending]:
        """See the port."""
        found: dict[Mailbox, Link | Pending] = {}
        for mailbox in await self.holders(job_id):
            memory = unpack(await self._call("HGET", self._key(f"links:{mailbox}"), job_id) or b"")
            if isinstance(memory, Link | Pending):
                found[mailbox] = memory
        return found

    async def linked_elsewhere(self, mailbox: Mailbox, events: Sequence[tuple[str, str]]) -> set[str]:
        """See the port."""
        found: set[str] = set()
        for first in range(0, len(events), _INDEX_PAGE):
            page = events[first : first + _INDEX_PAGE]
            arguments: list[Argument] = [str(mailbox), self._prefix]
            for job_id, event_id in page:
                arguments += [job_id, pack_event_id(event_id)]
            found |= {page[number - 1][1] for number in await self._run(_ELSEWHERE, [], *arguments)}
        return found

    async def forget_zone(self, mailbox: Mailbox) -> None:
        """See the port."""
        await self._call("DEL", self._key(f"timezone:{mailbox}"))

    async def dirty(self, site_id: str) -> list[Mark]:
        """See the port."""
        marks = []
        for member, stamp in (await self._hash(f"dirty:{site_id}")).items():
            address, _, job_id = member.decode().partition("\0")
            marks.append(Mark(address, job_id, int(stamp)))
        return sorted(marks)

    async def count_dirty(self, site_id: str) -> int:
        """How much was handed over to the sweep of a site."""
        return int(await self._call("HLEN", self._key(f"dirty:{site_id}")))

    async def clean(self, site_id: str, marks: Sequence[Mark]) -> None:
        """See the port."""
        for first in range(0, len(marks), _INDEX_PAGE):
            arguments: list[Argument] = []
            for mark in marks[first : first + _INDEX_PAGE]:
                arguments += [f"{mark.address}\0{mark.job_id}", mark.stamp]
            await self._run(_CLEAN, [self._key(f"dirty:{site_id}")], *arguments)

    async def count_deletions(self, site_id: str, jobs: Sequence[str], seconds: float) -> tuple[int, int]:
        """See the port."""
        key = self._key(f"deleted:{site_id}")
        answers = await asyncio.gather(
            self._call("SADD", key, *(_hash_of(job_id) for job_id in jobs)),
            self._call("PTTL", key),
            self._call("SCARD", key),
            self._call("GET", self._key(f"events:{site_id}")),
        )
        _, milliseconds, count, known = answers
        if milliseconds < 0:
            await self._call("PEXPIRE", key, int(seconds * 1000))
        return count, int(known or 0)

    async def coming(self, site_id: str) -> int:
        """See the port."""
        jobs, after = Distinct(), ""
        while page := await self.linked(site_id, after):
            links = [self._key(f"links:{Mailbox(site_id, address)}") for address in page]
            for found in await asyncio.gather(*(self._run(_COMING, [key]) for key in links)):
                for job_id in found:
                    jobs.add(job_id.decode())
            after = page[-1]
        return len(jobs)

    async def remember_events(self, site_id: str, count: int) -> None:
        """See the port."""
        await self._call("SET", self._key(f"events:{site_id}"), count)

    async def events(self, site_id: str) -> int:
        """See the port."""
        return int(await self._call("GET", self._key(f"events:{site_id}")) or 0)

    async def unread(self, site_id: str) -> dict[str, int]:
        """See the port."""
        return {address.decode(): int(count) for address, count in (await self._hash(f"unread:{site_id}")).items()}

    async def remember_unread(self, site_id: str, counts: Mapping[str, int]) -> None:
        """See the port."""
        key = self._key(f"unread:{site_id}")
        fields = [part for address, count in counts.items() for part in (address, count)]
        # Both travel in one pipeline. If only the first is done, the mailboxes are counted from the start.
        await asyncio.gather(self._call("DEL", key), *([self._call("HSET", key, *fields)] if fields else []))

    async def claim_sweep(self, site_id: str, seconds: float) -> bool:
        """See the port."""
        claimed = await self._call("SET", self._key(f"swept:{site_id}"), 1, "NX", "PX", int(seconds * 1000))
        return claimed is not None

    async def release_sweep(self, site_id: str) -> None:
        """See the port."""
        await self._call("DEL", self._key(f"swept:{site_id}"))

    async def park(self, mailbox: Mailbox, code: str, *, hourly: bool, note: str = "") -> None:
        """See the port."""
        seconds, _ = await self._call("TIME")
        known = await self._call("HGET", self._key("parked"), str(mailbox))
        if hourly and known and "retry_at" not in orjson.loads(known):
            return  # what an operator parked stays parked
        entry = {"code": code, "since": int(seconds)}
        if hourly:
            entry["retry_at"] = int(seconds) + KEPT_SECONDS
        if note:
            entry["note"] = note
        await self._call("HSET", self._key("parked"), str(mailbox), orjson.dumps(entry))

    async def _run(self, script: _Script, keys: list[str], *arguments: Argument) -> Any:
        if self._read_only and script not in _LEASING:
            raise ReadOnlyError("a script")
        return await self._pipeline.call("EVALSHA", script.sha, len(keys), *keys, *arguments)

    async def _call(self, command: str, *arguments: Argument) -> Any:
        if self._read_only and command not in _READING:
            raise ReadOnlyError(command)
        return await self._pipeline.call(command, *arguments)

    async def _hash(self, name: str) -> dict[bytes, bytes]:
        parts = await self._call("HGETALL", self._key(name))
        return parts if isinstance(parts, dict) else dict(zip(parts[::2], parts[1::2], strict=True))

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _keys(self, lease: Lease) -> list[str]:
        site, address = lease.mailbox
        return [
            self._key(f"lease:{lease.app}/{address}"),
            self._key(f"links:{lease.mailbox}"),
            self._key(f"timezone:{lease.mailbox}"),
            self._key("parked"),
            self._key(f"mailboxes:{site}"),
            self._key(f"dirty:{site}"),
            self._key(f"known:{site}"),
            self._key("incarnation"),
        ]


def _dirty(mailbox: Mailbox, job_id: str) -> str:
    return f"{mailbox.address}\0{job_id}"


def _hash_of(job_id: str) -> bytes:
    return hashlib.blake2b(job_id.encode(), digest_size=8).digest()


def _unpack_links(parts: Sequence[bytes]) -> dict[str, Memory]:
    links = {}
    for job_id, stored in zip(parts[::2], parts[1::2], strict=True):
        memory = unpack(stored)
        if memory is not None:
            links[job_id.decode()] = memory
    return links


def _unpack_zone(stored: bytes) -> str | None:
    """An empty setting is a setting, so a stored one begins with ``=``."""
    return stored[1:].decode() if stored else None
