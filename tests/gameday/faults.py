"""The faults of the game day: how each is made and repaired, and who must hear of it.

A broker that hangs is not among them. The service notices it after a fixed 16 seconds, which beside the divided times
of the alerts would be three minutes: the feed's alert would always come first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from tests.company import now
from tests.gameday.world import ROLES, World

Action = Callable[[World], Awaitable[None]]

SITE: Final = "contoso"
"""The site that a fault of one site breaks."""
MAILBOX: Final = f"w1@{SITE}.example"


@dataclass(frozen=True, slots=True)
class Page:
    """The one notification that must reach the pager."""

    alert: str
    labels: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    """Each must be in the summary or the description, in any case."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Without a page, it must wake nobody."""

    name: str
    what: str
    make: Action
    repair: Action
    page: Page | None = None
    ticket: str | None = None
    """An alert that must open a ticket."""
    quick: bool = False
    """Whether it is one of the few that every change to the repository must pass."""


async def graph_down(world: World) -> None:
    await world.graph.set_fault("503")


async def graph_throttles(world: World) -> None:
    await world.graph.set_fault("429", probability=0.5, retry_after=1)


async def graph_well(world: World) -> None:
    await world.graph.clear_faults()


async def feed_stopped(world: World) -> None:
    await world.feed.stop()


async def feed_started(world: World) -> None:
    await world.feed.start()


async def secret_expired(world: World) -> None:
    await world.set_secret(SITE, expires=now().replace(hour=0, minute=0, second=0, microsecond=0))


async def secret_renewed(world: World) -> None:
    await world.set_secret(SITE, expires=now() + timedelta(days=365))


async def all_killed(world: World) -> None:
    await asyncio.gather(*(asyncio.to_thread(replica.process.kill) for replica in world.replicas))


async def all_started(world: World) -> None:
    await asyncio.gather(*(world.start_replica(each) for each in world.replicas if not each.process.running))


async def one_killed(world: World) -> None:
    await asyncio.to_thread(world.replicas[-1].process.kill)


async def redis_refuses(world: World) -> None:
    world.configure_redis(maxmemory="1")


async def redis_accepts(world: World) -> None:
    world.configure_redis(maxmemory="0")


async def consent_withdrawn(world: World) -> None:
    await world.set_roles(SITE)


async def consent_given(world: World) -> None:
    await world.set_roles(SITE, *ROLES)


async def partition_poisoned(world: World) -> None:
    await world.poison(50)


async def partition_resumed(world: World) -> None:
    await world.command("dead-letters", "resume")


async def dead_letters_refused(world: World) -> None:
    world.limit_dead_letters("100")
    await world.poison(1)


async def dead_letters_taken(world: World) -> None:
    world.limit_dead_letters(None)


async def licence_removed(world: World) -> None:
    await world.graph.set_mailbox(world.sites[SITE].tenant_id, MAILBOX, state="no-licence")


async def licence_given(world: World) -> None:
    await world.graph.set_mailbox(world.sites[SITE].tenant_id, MAILBOX, state="ok")
    await world.command("mailbox", "enable", MAILBOX, "--site", SITE)


async def table_wiped(world: World) -> None:
    await world.feed.wipe()


async def table_restored(world: World) -> None:
    await world.feed.restore()


async def proxy_answers(world: World) -> None:
    page = "<html><body><h1>403 Forbidden</h1><p>Blocked by the web gateway.</p></body></html>"
    await world.graph.ingress.answer("/v1.0", status=403, content_type="text/html", body=page)


async def proxy_gone(world: World) -> None:
    await world.graph.ingress.clear()


async def site_paused(world: World) -> None:
    await world.command("site", "pause", SITE)


async def site_resumed(world: World) -> None:
    await world.command("site", "resume", SITE)


async def redis_killed(world: World) -> None:
    await asyncio.to_thread(world.redis.kill)


async def redis_started(world: World) -> None:
    await asyncio.to_thread(world.redis.start)


async def core_down(world: World) -> None:
    problem = '{"type": "about:blank", "title": "Service Unavailable", "status": 503}'
    await world.feed.core.ingress.answer("/sites", status=503, content_type="application/problem+json", body=problem)


async def core_well(world: World) -> None:
    await world.feed.core.ingress.clear()


FAULTS: Final = (
    Fault(
        "graph-down",
        "Graph answers every request with 503",
        graph_down,
        graph_well,
        Page("CalsyncGraphUnavailable", words=("graph",)),
        quick=True,
    ),
    Fault(
        "graph-throttles",
        "Graph answers every other request with 429",
        graph_throttles,
        graph_well,
        ticket="CalsyncGraphThrottled",
    ),
    Fault(
        "feed-stopped",
        "Core's feed stops: no changes, no heartbeats",
        feed_stopped,
        feed_started,
        Page("CalsyncFeedDead", words=("heartbeat",)),
    ),
    Fault(
        "secret-expired",
        "a site's client secret expires",
        secret_expired,
        secret_renewed,
        Page("CalsyncClientSecretExpired", {"site": SITE}, (SITE, "secret", "expired")),
        quick=True,
    ),
    Fault(
        "all-killed",
        "all replicas are killed",
        all_killed,
        all_started,
        Page("CalsyncNoReplica", words=("replica",)),
        quick=True,
    ),
    Fault(
        "redis-refuses",
        "Redis is full and refuses writes",
        redis_refuses,
        redis_accepts,
        Page("CalsyncRedisRefusesWrites", words=("redis", "write")),
        quick=True,
    ),
    Fault(
        "consent-withdrawn",
        "a site's administrator withdraws the consent",
        consent_withdrawn,
        consent_given,
        Page("CalsyncSiteDown", {"site": SITE}, (SITE,)),
    ),
    Fault(
        "partition-poisoned",
        "50 unreadable records in a row on one partition",
        partition_poisoned,
        partition_resumed,
        Page("CalsyncPartitionBlocked", words=("partition",)),
    ),
    Fault(
        "dead-letters-refused",
        "the dead-letter topic refuses an unreadable record",
        dead_letters_refused,
        dead_letters_taken,
        Page("CalsyncPartitionWaits", {"cause": "dead_letter"}, ("partition",)),
    ),
    Fault(
        "licence-removed",
        "a worker's mailbox loses its licence",
        licence_removed,
        licence_given,
        ticket="CalsyncMailboxesParked",
    ),
    Fault(
        "table-wiped",
        "Core's table of jobs is emptied",
        table_wiped,
        table_restored,
        Page("CalsyncDeletionsHeld", words=("deletion",)),
    ),
    Fault(
        "proxy-pages",
        "a proxy answers with its own error pages in front of Graph",
        proxy_answers,
        proxy_gone,
        Page("CalsyncForeignAnswers", {"part": "graph"}, ("graph",)),
    ),
    Fault("one-killed", "one of three replicas is killed and stays away", one_killed, all_started),
    Fault("site-paused", "an operator pauses a site", site_paused, site_resumed),
    Fault(
        "redis-down",
        "Redis is killed",
        redis_killed,
        redis_started,
        Page("CalsyncRedisUnavailable", words=("redis",)),
    ),
    Fault(
        "core-down",
        "Core's API answers with 503",
        core_down,
        core_well,
        Page("CalsyncCoreUnavailable", words=("core",)),
    ),
)
