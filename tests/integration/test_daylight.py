"""Jobs around a change of the clocks: every event at the right instant, in the worker's zone, written once.

A window of three weeks rarely contains a change of the clocks, so these windows are a year long.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis import Redis

from sandbox.control import Mailbox
from sandbox.core.rows import Job, Site, Worker
from sandbox.oracle import compare, expect
from tests.company import Company, eventually, now

DAYS = 365
HOUR = timedelta(hours=1)
WINDOWS_NAMES = {
    "Europe/London": "GMT Standard Time",
    "America/New_York": "Eastern Standard Time",
    "Australia/Lord_Howe": "Lord Howe Standard Time",  # half an hour of daylight saving
    "Pacific/Chatham": "Chatham Islands Standard Time",  # 12:45 ahead of UTC
}
NO_ZONE = ("", "Customized Time Zone", "tzone://Microsoft/Custom", "Atlantis Standard Time")
NO_WINDOWS_NAME = "Antarctica/Troll"

Span = tuple[datetime, datetime]


@pytest.fixture(autouse=True)
def long_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of a year, for the service and for the command."""
    monkeypatch.setenv("CALSYNC_WINDOW_DAYS", str(DAYS))


def clock_changes(zone: ZoneInfo) -> Iterator[tuple[datetime, timedelta]]:
    """The instants within the window at which the zone's clocks change, and by how much they go forward."""
    quarter = timedelta(minutes=15)
    moment = datetime.combine(now() + timedelta(days=2), datetime.min.time(), UTC)
    offset, end = moment.astimezone(zone).utcoffset(), now() + timedelta(days=DAYS - 2)
    while moment < end:
        moment += quarter
        new = moment.astimezone(zone).utcoffset()
        assert new is not None
        assert offset is not None
        if new != offset:
            yield moment, new - offset
        offset = new


def around(at: datetime, forward: timedelta, zone: ZoneInfo) -> dict[str, Span]:
    """Jobs before, within, after and across a change of the clocks."""
    spans = {"before": (at - 4 * HOUR, at - 3 * HOUR), "spanning": (at - 2 * HOUR, at + 2 * HOUR)}
    if forward > timedelta(0):
        last = (at - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None) + timedelta(minutes=1)
        typed = (last + forward / 2).replace(tzinfo=zone)  # a time that does not exist: Core makes an instant of it
        return spans | {
            "until-the-gap": (at - HOUR, at),
            "from-the-gap": (at, at + HOUR),
            "in-the-gap": (typed.astimezone(UTC), typed.astimezone(UTC) + HOUR),
            "in-the-gap-otherwise": (at - HOUR, typed.replace(fold=1).astimezone(UTC)),
        }
    twice = -forward
    return spans | {
        "into-the-first-hour": (at - twice - HOUR, at - twice / 2),
        "the-first-hour": (at - twice, at),
        "the-same-local-time": (at - twice / 2, at + twice / 2),
        "the-second-hour": (at, at + twice),
        "out-of-the-second-hour": (at + twice / 2, at + twice + HOUR),
        "until-the-first-hour": (at - twice - HOUR, at - twice - timedelta(minutes=1)),
        "from-the-second-hour": (at + twice, at + twice + HOUR),
    }


def add_jobs(company: Company, site_id: str, worker_ids: list[str]) -> dict[str, Span]:
    """A job of all these workers for each moment around each change of each zone; returns their times by tag."""
    times = {}
    changes = {name: list(clock_changes(ZoneInfo(name))) for name in WINDOWS_NAMES}
    # Autumn changes may be 53 weeks apart, so on a few days of the year a zone has only one change ahead.
    assert all(changes.values())
    assert {forward > timedelta(0) for each in changes.values() for _, forward in each} == {True, False}
    for name, each in changes.items():
        zone = ZoneInfo(name)
        for number, (at, forward) in enumerate(each):
            for moment, (start, end) in around(at, forward, zone).items():
                job_id = f"{site_id}-{name.partition('/')[2]}-{number}-{moment}"
                job = Job(job_id=job_id, site_id=site_id, subject=moment, starts_at=start, ends_at=end)
                company.publish(company.schedule.add_job(job, worker_ids))
                times[f"{site_id}/{job_id}"] = start, end
    return times


def happens_twice(moment: datetime, zone: ZoneInfo) -> bool:
    """Whether the zone's clocks show this moment's time again within two hours."""
    shown = moment.astimezone(zone).replace(tzinfo=None)
    others = (moment + timedelta(minutes=m) for m in range(-120, 121, 15) if m)
    return any(other.astimezone(zone).replace(tzinfo=None) == shown for other in others)


def zone_shown(span: Span, name: str) -> str:
    """The zone in which Outlook must show an event of a worker of this zone."""
    zone = ZoneInfo(name)
    return "UTC" if any(happens_twice(moment, zone) for moment in span) else WINDOWS_NAMES.get(name, "UTC")


def shown(event: dict[str, Any]) -> tuple[datetime, datetime, str, str]:
    start, end = (datetime.fromisoformat(event[name]).replace(tzinfo=UTC) for name in ("start", "end"))
    return start, end, event["start_zone"], event["end_zone"]


async def repairs(company: Company) -> dict[str, int]:
    """Sweep once; returns the repairs by cause."""
    swept = await company.sweep()
    assert swept.status == 0, swept.errors
    assert [site["unserved"] for site in swept.sites.values()] == [0] * len(company.sites)
    return dict(sum((Counter(swept.repairs(site_id)) for site_id in swept.sites), Counter()))


async def writes(company: Company) -> dict[str, dict[str, int]]:
    """The writes to Outlook since the last call, by operation and status."""
    requests = (await company.graph.stats())["requests"]
    await company.graph.reset_stats()
    return {name: requests[name] for name in ("create", "update", "delete") if name in requests}


@pytest.mark.parametrize("way", ["changes", "sweep"])
async def test_every_event_is_written_once_at_its_instant_in_its_workers_zone(company: Company, way: str) -> None:
    first, second = company.sites
    second = replace(second, timezone="Australia/Lord_Howe")
    company.stack.write_sites([first, second])
    mailboxes: dict[str, tuple[str, str]] = {}  # address → its setting, and the zone in which its events must be
    staff: dict[str, list[str]] = {}
    for site in (first, second):
        company.schedule.put_site(Site(site.site_id, site.name, site.timezone))
        zones = [(setting, site.timezone) for setting in NO_ZONE]
        if site is first:
            zones += [(setting, name) for name, windows in WINDOWS_NAMES.items() for setting in (name, windows)]
            zones.append((NO_WINDOWS_NAME, NO_WINDOWS_NAME))
        for number, zone in enumerate(zones):
            address = f"w{number}@{site.site_id}.example"
            mailboxes[address] = zone
            worker = Worker(f"{site.site_id}-w{number}", site.site_id, address)
            company.schedule.put_worker(worker)
            staff.setdefault(site.site_id, []).append(worker.worker_id)
        boxes = [Mailbox(address, time_zone=mailboxes[address][0]) for address in mailboxes if site.site_id in address]
        await company.graph.add_mailboxes(site.tenant_id, boxes)
    times = {site.site_id: add_jobs(company, site.site_id, staff[site.site_id]) for site in (first, second)}

    if way == "changes":
        await company.start()
        await company.consumed()
        await company.give_core_the_schedule()
    else:
        await company.give_core_the_schedule()
        await repairs(company)

    wanted = {
        address: {
            tag: (*span, *[zone_shown(span, mailboxes[address][1])] * 2)
            for tag, span in times[address.partition("@")[2].removesuffix(".example")].items()
        }
        for address in mailboxes
    }
    held = await company.graph.events()
    assert {address: {event["tag"]: shown(event) for event in box} for address, box in held.items()} == wanted
    assert compare(expect(company.schedule, now(), timedelta(days=DAYS)), held) == []
    assert await writes(company) == {"create": {"201": sum(map(len, wanted.values()))}}
    assert await repairs(company) == {}
    assert await writes(company) == {}


async def test_a_zone_that_its_worker_changed_rewrites_the_coming_events_of_that_mailbox_once(company: Company) -> None:
    site = company.sites[0]
    for each in company.sites:
        company.schedule.put_site(Site(each.site_id, each.name, each.timezone))
    mover, colleague = f"mover@{site.site_id}.example", f"colleague@{site.site_id}.example"
    for address in (mover, colleague):
        company.schedule.put_worker(Worker(address, site.site_id, address))
    boxes = [Mailbox(address, time_zone="GMT Standard Time") for address in (mover, colleague)]
    await company.graph.add_mailboxes(site.tenant_id, boxes)
    times = add_jobs(company, site.site_id, [mover, colleague])
    await company.start()
    await company.consumed()
    soon = now() + timedelta(seconds=4)
    brief = Job(job_id="over-soon", site_id=site.site_id, starts_at=now() - HOUR, ends_at=soon)
    company.publish(company.schedule.add_job(brief, [mover]))
    await company.consumed()
    await company.give_core_the_schedule()

    async def is_over() -> bool:
        return now() > soon

    await eventually(is_over, "the short job has ended")
    before = await company.graph.events()
    [history] = [event for event in before[mover] if event["tag"].endswith("/over-soon")]
    await writes(company)

    await company.graph.set_mailbox(site.tenant_id, mover, time_zone="Eastern Standard Time")
    assert await repairs(company) == {}
    assert await writes(company) == {}  # it is read hourly
    hour_passes(company, site.site_id, mover)
    assert await repairs(company) == {"edited": len(times)}
    assert await writes(company) == {"update": {"200": len(times)}}

    after = await company.graph.events()
    assert after[colleague] == before[colleague]
    assert history in after[mover]
    assert {event["tag"]: shown(event) for event in after[mover] if event != history} == {
        tag: (*span, *[zone_shown(span, "America/New_York")] * 2) for tag, span in times.items()
    }
    hour_passes(company, site.site_id, mover)
    assert await repairs(company) == {}
    assert await writes(company) == {}


def hour_passes(company: Company, site_id: str, address: str) -> None:
    """Forgets the time zone of the mailbox, as the service does after an hour."""
    with Redis.from_url(company.stack.redis_url) as redis:
        assert redis.delete(f"{company.stack.group}:timezone:{site_id}/{address}") == 1
