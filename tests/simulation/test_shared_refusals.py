"""Refusals in simulated time: a single mailbox is parked; a refusal of many suspends their site until it ends."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.mailbox import Mailbox
from consumer.sync.parking import BY_HAND
from consumer.sync.refusal_judge import ALONE_SECONDS
from consumer.sync.scheduler import SweepScheduler
from consumer.sync.site_probes import PROBE_SECONDS
from consumer.sync.trouble import BEGINNING_SECONDS
from tests.simulation.loop import SimulatedClock, simulate
from tests.simulation.test_changes import World
from tests.simulation.test_trouble import add_jobs
from tests.simulation.world import Replica

MISSING = MailboxRefusedError("ResourceNotFound")
READ_ONLY = ForbiddenError("ErrorAccessDenied", write=True)
INTERVAL = 300.0
REFUSALS = [
    pytest.param(MISSING, id="ResourceNotFound"),
    pytest.param(MailboxRefusedError("MailboxNotEnabledForRESTAPI"), id="MailboxNotEnabledForRESTAPI"),
    pytest.param(MailboxRefusedError("ErrorInvalidUser"), id="ErrorInvalidUser"),
    pytest.param(MailboxRefusedError("ErrorItemNotFound", hourly=True), id="404 to a read"),
    pytest.param(RequestRefusedError(400, "BadRequest"), id="a refused URL"),
    pytest.param(ForbiddenError("ErrorAccessDenied"), id="403"),
    pytest.param(ForbiddenError("InvalidAuthenticationToken", token=True), id="401"),
]


@dataclass
class Served:
    """A replica with its sweeps and its probes."""

    world: World
    replica: Replica
    resumed: list[str]
    """Sites, one entry each time that one is served again."""

    @property
    def parked(self) -> dict[str, str]:
        """Graph's code or the operator's reason, by address."""
        return {mailbox.address: parking.code for mailbox, (parking, _) in self.world.store.parked.items()}

    @property
    def is_suspended(self) -> bool:
        return self.replica.sites.suspended("acme") is not None

    def refuse(self, refusal: Exception, addresses: Iterable[str] | None = None) -> None:
        self.world.outlook.refusals = dict.fromkeys(addresses or self.world.core.addresses, refusal)

    async def swept(self, times: int = 1) -> None:
        """Wait for this many sweeps of the site."""
        ended = self.replica.meter.sweeps.setdefault("acme", [])
        wanted = len(ended) + times
        async with asyncio.timeout(3600):
            while len(ended) < wanted:  # noqa: ASYNC110 (simulated time costs nothing)
                await asyncio.sleep(1)

    async def change(self, *addresses: str) -> None:
        """Makes a new job for each address, and waits until it is done."""
        add_jobs(self.world, 1, *addresses)
        await self.world.until_done()


@asynccontextmanager
async def service(world: World) -> AsyncIterator[Served]:
    """The service over all partitions, wired as in production."""
    replica = world.replica()
    resumed: list[str] = []
    asides: set[asyncio.Task[None]] = set()
    rounds = SweepScheduler(
        replica.sweeper(world.core),
        world.store,
        replica.sites,
        clock=SimulatedClock(),
        interval=INTERVAL,
        owns=lambda _site_id: True,
    )

    def on_resumed(site_id: str) -> None:
        resumed.append(site_id)
        replica.lanes.wake(site_id)
        asides.add(asyncio.create_task(rounds.recover(site_id, every_mailbox=False)))

    replica.sites._on_resumed = on_resumed
    tasks = [asyncio.create_task(work) for work in (rounds.run(), replica.sites.probe_forever())]
    try:
        yield Served(world, replica, resumed)
    finally:
        for task in [*tasks, *asides]:
            task.cancel()
        replica.kill()


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("known", [True, False], ids=["after they answered", "from the start"])
def test_a_refusal_of_every_mailbox_suspends_the_site_and_parks_none(refusal: Exception, known: bool) -> None:
    async def story() -> None:
        world = World(1)
        if known:
            async with service(world) as served:
                await served.change(*world.core.addresses)
                served.refuse(refusal)
                await served.swept()
                await check(served)
        else:
            world.outlook.refusals = dict.fromkeys(world.core.addresses, refusal)
            async with service(world) as served:
                add_jobs(world, 1, *world.core.addresses)
                await check(served)

    async def check(served: Served) -> None:
        world = served.world
        add_jobs(world, 1, *world.core.addresses)
        await world.until_done()
        assert (served.is_suspended, served.parked) == (True, {})
        assert served.replica.meter.up.get("acme") is False
        assert served.replica.refused == []
        # A refused probe is not a success, however often it is repeated.
        await asyncio.sleep(5 * PROBE_SECONDS)
        assert (served.is_suspended, served.parked, served.resumed) == (True, {}, [])
        world.outlook.refusals = {}
        await asyncio.sleep(2 * PROBE_SECONDS)
        assert served.replica.meter.up.get("acme") is True
        await served.swept()
        assert not world.store.marks
        assert set(served.resumed) == {"acme"} | ({"globex"} & set(served.resumed))
        world.judge()

    simulate(story())


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_mailbox_that_is_refused_alone_is_parked_and_its_records_are_not_dead_lettered(
    refusal: Exception, restarted: bool
) -> None:
    async def story() -> None:
        world = World(1)
        refused, *others = world.core.addresses
        async with service(world) as served:
            await served.change(*others)
        async with service(world) as served:
            if not restarted:
                await served.change(*others)
            served.refuse(refusal, [refused])
            await served.change(refused, refused, *([] if restarted else others))
            await served.swept()
            assert served.parked.keys() == {refused}
            assert not served.is_suspended
            assert served.replica.refused == []
            # One more refusal among the many that are judged at the same time.
            await served.change(*others)
            assert served.parked.keys() == {refused}

    simulate(story())


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_mailbox_that_is_alone_in_its_site_is_parked_after_a_while(refusal: Exception) -> None:
    async def story() -> None:
        world = World(1)
        [only] = world.core.addresses = world.core.addresses[:1]
        async with service(world) as served:
            served.refuse(refusal)
            add_jobs(world, 1, only)
            await asyncio.sleep(ALONE_SECONDS / 2)
            assert served.parked == {}
            await asyncio.sleep(2 * ALONE_SECONDS)
            assert served.parked.keys() == {only}
            assert not served.is_suspended
            await world.until_done()

    simulate(story())


def test_consent_for_reading_only_suspends_the_site_until_writing_is_allowed() -> None:
    async def story() -> None:
        world = World(1)
        async with service(world) as served:
            await served.change(*world.core.addresses)
            world.outlook.write_refusals = dict.fromkeys(world.core.addresses, READ_ONLY)
            await served.change(*world.core.addresses)
            fault = served.replica.sites.suspended("acme")
            assert fault is not None
            assert (fault.code, "Calendars.ReadWrite" in fault.hint) == ("ErrorAccessDenied", True)
            await asyncio.sleep(5 * PROBE_SECONDS)
            assert (served.is_suspended, served.parked, served.resumed) == (True, {}, [])
            world.outlook.write_refusals = {}
            await asyncio.sleep(2 * PROBE_SECONDS)
            await served.swept()
            world.judge()
            assert not world.store.marks

    simulate(story())


def test_a_mailbox_that_alone_may_only_be_read_is_parked_alone() -> None:
    async def story() -> None:
        world = World(1)
        refused, *others = world.core.addresses
        async with service(world) as served:
            await served.change(*others)
            world.outlook.write_refusals = {refused: READ_ONLY}
            await served.change(refused, *others)
            assert served.parked == {refused: "ErrorAccessDenied"}
            assert not served.is_suspended

    simulate(story())


@pytest.mark.parametrize(
    ("roles", "suspended"),
    [
        ({"Calendars.Read", "MailboxSettings.Read"}, True),
        ({"Calendars.ReadBasic.All"}, True),
        ({"Calendars.ReadWrite", "MailboxSettings.Read"}, False),
        # No token shows access that is granted by RBAC for Applications.
        ({"MailboxSettings.Read"}, False),
        (set(), False),
    ],
)
def test_without_another_mailbox_the_roles_show_that_the_consent_is_for_reading_only(
    roles: set[str], suspended: bool
) -> None:
    async def story() -> None:
        world = World(1)
        [only] = world.core.addresses = world.core.addresses[:1]
        world.outlook.token_roles = frozenset(roles)
        async with service(world) as served:
            world.outlook.write_refusals = {only: READ_ONLY}
            await served.change(only)
            assert served.is_suspended is suspended
            assert served.parked.keys() == (set() if suspended else {only})

    simulate(story())


def test_recovery_enables_only_the_mailboxes_parked_since_the_trouble_began() -> None:
    async def story() -> None:
        world = World(1)
        gone, handled, first, other, *_ = world.core.addresses
        async with service(world) as served:
            await served.change(*world.core.addresses)
            served.refuse(MISSING, [gone])
            await world.store.park(Mailbox("acme", handled), BY_HAND, hourly=False, note="on leave")
            await served.swept(2)
            assert served.parked == {gone: "ResourceNotFound", handled: BY_HAND}
            await asyncio.sleep(BEGINNING_SECONDS)
            served.refuse(MISSING, [gone, first])
            await served.change(first)
            await world.store.park(Mailbox("acme", other), "ErrorInvalidUser", hourly=False)
            assert served.parked.keys() == {gone, handled, first, other}
            served.refuse(MISSING)
            await served.swept()
            assert served.is_suspended
            await asyncio.sleep(INTERVAL)
            served.refuse(MISSING, [gone])
            await asyncio.sleep(2 * PROBE_SECONDS)
            assert served.parked.keys() == {gone, handled, other}
            await served.swept()
            assert first in {address for address, _ in world.outlook.tags()}

    simulate(story())


def test_mailboxes_that_come_back_one_after_another_are_parked_for_an_hour_at_most() -> None:
    async def story() -> None:
        world = World(1)
        late = world.core.addresses[1:]
        async with service(world) as served:
            await served.change(*world.core.addresses)
            served.refuse(MISSING)
            await served.swept()
            served.refuse(MISSING, late)
            await asyncio.sleep(2 * PROBE_SECONDS)
            await served.swept()
            assert not served.is_suspended
            assert {parking.hourly for parking, _ in world.store.parked.values()} == {True}
            world.outlook.refusals = {}
            await served.change(*late)
            await asyncio.sleep(3700)
            world.judge()
            assert not world.store.marks

    simulate(story())


def test_nothing_is_parked_or_suspended_while_no_other_mailbox_can_be_asked() -> None:
    async def story() -> None:
        world = World(1)
        refused, *others = world.core.addresses
        async with service(world) as served:
            await served.change(*world.core.addresses)
            world.outlook.refusals = {refused: MISSING} | dict.fromkeys(others, TransientError("503"))
            add_jobs(world, 1, *world.core.addresses)
            await asyncio.sleep(400)
            assert (served.parked, served.is_suspended) == ({}, False)
            served.refuse(MISSING, [refused])
            await world.until_done()
            await served.swept()
            assert (set(served.parked), served.is_suspended) == ({refused}, False)

    simulate(story())


def test_a_setting_refused_everywhere_suspends_the_site_although_calendars_work() -> None:
    async def story() -> None:
        world = World(1)
        world.outlook.zone_refusals = dict.fromkeys(world.core.addresses, ForbiddenError("ErrorAccessDenied"))
        async with service(world) as served:
            await served.change(*world.core.addresses)
            assert (served.is_suspended, served.parked) == (True, {})
            await asyncio.sleep(5 * PROBE_SECONDS)
            assert (served.is_suspended, served.resumed) == (True, [])
            world.outlook.zone_refusals = {}
            await asyncio.sleep(2 * PROBE_SECONDS)
            assert not served.is_suspended

    simulate(story())


def test_a_site_resumes_by_any_mailbox_if_those_that_answered_last_are_gone() -> None:
    async def story() -> None:
        world = World(1)
        async with service(world) as served:
            await served.change(*world.core.addresses)
            served.refuse(MISSING)
            await served.swept()
            recent = set(served.replica.sites._neighbours["acme"].besides(""))
            served.refuse(MISSING, recent)
            await asyncio.sleep(5 * PROBE_SECONDS)
            assert not served.is_suspended
            await served.swept(2)
            assert {mailbox.address for mailbox in world.store.parked if mailbox.site == "acme"} == recent

    simulate(story())


def test_entra_refusing_the_fresh_token_is_the_sites_fault() -> None:
    async def story() -> None:
        world = World(1)
        refused, *others = world.core.addresses
        async with service(world) as served:
            await served.change(*others)
            expired = SiteRefusedError("AADSTS7000222", "renew it")
            world.outlook.refusals = {refused: MISSING} | dict.fromkeys(others, expired)
            await served.change(refused)
            assert served.replica.sites.suspended("acme") == expired
            assert served.parked == {}

    simulate(story())


def test_a_changed_app_enables_every_mailbox_but_those_that_were_parked_by_hand() -> None:
    async def story() -> None:
        world = World(1)
        first, second, third = (Mailbox("acme", address) for address in world.core.addresses[:3])
        await world.store.park(first, "ResourceNotFound", hourly=False)
        await world.store.park(second, BY_HAND, hourly=False, note="on leave")
        await world.store.park(third, "ErrorAccessDenied", hourly=True)
        replica = world.replica()
        rounds = SweepScheduler(
            replica.sweeper(world.core),
            world.store,
            replica.sites,
            clock=SimulatedClock(),
            interval=INTERVAL,
            owns=lambda _site_id: True,
        )
        # Redis is unavailable at first: this must not keep the mailboxes parked.
        world.store.down = True
        enabling = asyncio.create_task(rounds.recover("acme", every_mailbox=True))
        await asyncio.sleep(30)
        world.store.down = False
        await enabling
        assert world.store.parked.keys() == {second}
        replica.kill()

    simulate(story())


@pytest.mark.parametrize("write", [True, False])
def test_one_mailbox_with_a_401_is_parked_hourly_and_its_site_stays_up(write: bool) -> None:
    async def story() -> None:
        world = World(1)
        sick, *others = world.core.addresses
        async with service(world) as served:
            await served.change(*world.core.addresses)
            refusal = ForbiddenError("InvalidAuthenticationToken", write=write, token=True)
            refusals: dict[str, Exception] = {sick: refusal}
            if write:
                world.outlook.write_refusals = refusals
                add_jobs(world, 1, sick)
            else:
                world.outlook.refusals = refusals
            await served.swept(2)
            down = 0
            for _ in range(1800):
                await asyncio.sleep(1)
                down += served.is_suspended
            assert down == 0
            assert served.parked == {sick: "InvalidAuthenticationToken"}
            assert all(parking.hourly for parking, _ in world.store.parked.values())
            await served.change(*others)
            refusals.clear()
            await asyncio.sleep(3700)
            await served.swept()
            assert served.parked == {}

    simulate(story())


@pytest.mark.parametrize("refusal", [TransientError("503 MailboxInfoStale"), MISSING])
def test_a_site_resumes_although_no_time_zone_setting_can_be_read(refusal: Exception) -> None:
    async def story() -> None:
        world = World(1)
        world.outlook.zone_refusals = dict.fromkeys(world.core.addresses, refusal)
        async with service(world) as served:
            await served.change(*world.core.addresses)
            await served.swept(2)
            assert not served.is_suspended
            served.replica.sites.suspend("acme", SiteRefusedError("AADSTS7000222", "renew the secret"))
            await asyncio.sleep(3 * PROBE_SECONDS)
            assert served.resumed == ["acme"]

    simulate(story())


def test_an_import_of_bad_addresses_does_not_suspend_a_site_that_is_served() -> None:
    """A new replica has seen none of the site's good mailboxes answer: it must ask some that have events."""

    async def story() -> None:
        world = World(1)
        add_jobs(world, 1, *world.core.addresses)
        first = world.replica()
        await world.until_done()
        first.kill()
        replica = world.replica()
        bad = [f"new-{number}@typo.example" for number in range(8)]
        world.outlook.refusals = dict.fromkeys(bad, MailboxRefusedError("ErrorInvalidUser"))
        add_jobs(world, 1, *bad)
        await world.until_done()
        assert replica.sites.suspended("acme") is None
        assert {mailbox.address for mailbox in world.store.parked} == set(bad)
        replica.kill()

    simulate(story())
