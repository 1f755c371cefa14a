"""Where a change goes: to every mailbox of its newest state, and to every mailbox that has the job now."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.domain.job import Deletion, Job, rank
from consumer.domain.mailbox import Mailbox
from consumer.sync import routing
from consumer.sync.change import Change
from consumer.sync.ranks import RankRequest, Routed
from consumer.sync.receipts import Receipt
from consumer.sync.routing import Arrival, Router

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
ANNA, BEN, CAI = (Mailbox("acme", f"{name}@acme.example") for name in ("anna", "ben", "cai"))


@dataclass
class World:
    """The store, the lanes, the sites and the clock of a router."""

    holders: tuple[Mailbox, ...] = ()
    """Holders by their links in Redis, including pending ones."""
    in_flight: frozenset[Mailbox] = frozenset()
    newest_here: int = 0
    newest: int | None = None
    sightings: list[RankRequest] = field(default_factory=list)
    added: list[tuple[Mailbox, Change]] = field(default_factory=list)
    back: list[str] = field(default_factory=list)

    async def route(self, sightings: Sequence[RankRequest]) -> list[Routed]:
        self.sightings += sightings
        ranks = [1 if sighting.rank is None else sighting.rank for sighting in sightings]
        return [Routed(each, each if self.newest is None else self.newest, self.holders) for each in ranks]

    def holding(self, _job_id: str) -> frozenset[Mailbox]:
        return self.in_flight

    def newest_of(self, _job_id: str) -> int:
        return self.newest_here

    def add(self, mailbox: Mailbox, change: Change) -> None:
        self.added.append((mailbox, change))

    def get(self, site_id: str) -> Any:
        return object() if site_id == "acme" else None

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def arrive(self, job: Job | None) -> list[Mailbox]:
        part: Any = self
        lanes: Any = Lanes(self)
        router = Router(part, lanes, part, part, window_days=21, fuse_seconds=300)
        receipt = Receipt(None, lambda _receipt, result: self.back.append(result), lambda: True)
        await router.route([Arrival("J", job, 3, 7, receipt, None, "the topic's id")])
        return [mailbox for mailbox, _ in self.added]


@dataclass
class Lanes:
    """The lanes' part of the world, which has a method name in common with the world."""

    world: World

    def holding(self, job_id: str) -> frozenset[Mailbox]:
        return self.world.holding(job_id)

    def newest(self, job_id: str) -> int:
        return self.world.newest_of(job_id)

    def add(self, mailbox: Mailbox, change: Change) -> None:
        self.world.add(mailbox, change)


def job(*mailboxes: Mailbox, revision: int = 5, days: float = 1.0) -> Job:
    start = NOW + timedelta(days=days)
    return Job(
        "J",
        "acme",
        revision,
        "scheduled",
        starts_at=start,
        ends_at=start + timedelta(hours=1),
        addresses=frozenset(mailbox.address for mailbox in mailboxes),
    )


async def test_a_change_goes_to_the_mailboxes_it_names_and_to_those_that_hold_the_job_by_their_links() -> None:
    assert await World(holders=(ANNA,)).arrive(job(BEN)) == [ANNA, BEN]


async def test_a_change_goes_to_the_mailboxes_in_which_the_job_is_in_flight_here() -> None:
    """The first mailbox's event is not linked yet: without this rule it would stay."""
    assert await World(in_flight=frozenset({ANNA})).arrive(job(BEN)) == [ANNA, BEN]


async def test_a_deletion_goes_to_every_mailbox_that_has_the_job_after_the_changes_waiting_here() -> None:
    world = World(holders=(ANNA,), in_flight=frozenset({BEN}), newest_here=rank(9))
    assert await world.arrive(None) == [ANNA, BEN]
    assert {change.state for _, change in world.added} == {Deletion("J", rank(9) | 1)}


async def test_a_job_beyond_the_window_goes_only_to_its_holders() -> None:
    assert await World(holders=(ANNA,)).arrive(job(ANNA, BEN, days=30)) == [ANNA]


async def test_a_state_that_is_not_the_newest_any_more_is_stale() -> None:
    world = World(holders=(ANNA,), newest=rank(6))
    assert await world.arrive(job(ANNA)) == []
    assert world.back == ["stale"]


async def test_mailboxes_of_sites_that_are_not_served_here_are_left_out() -> None:
    other = Mailbox("elsewhere", "anna@elsewhere.example")
    assert await World(holders=(other, CAI)).arrive(job(ANNA)) == [ANNA, CAI]
    world = World(holders=(other,))
    assert await world.arrive(None) == []
    assert world.back == ["skipped"]


async def test_the_receipt_comes_back_once_when_each_mailbox_is_done() -> None:
    world = World(holders=(ANNA,))
    await world.arrive(job(BEN, CAI))
    results = []
    for _, change in world.added:
        results.append(list(world.back))
        change.done("applied")
    assert results == [[], [], []]
    assert world.back == ["applied"]


async def test_the_topics_id_goes_along_with_the_offset() -> None:
    world = World()
    await world.arrive(job(ANNA))
    assert world.sightings == [RankRequest("J", rank(5), 3, 7, topic_id="the topic's id")]


def test_unknown_sites_are_logged_once_each_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "_REPORTED_AT_MOST", 2)
    part: Any = World()
    router = Router(part, part, part, part, window_days=21, fuse_seconds=300)
    with capture_logs() as logs:
        named = [router.is_named(site_id) for site_id in ("acme", "a", "a", "b", "c", "c", "acme")]
    assert named == [True, False, False, False, False, False, True]
    assert [line["site"] for line in logs] == ["a", "b"]
