"""The demo: each step changes a calendar or says why not, and the news are correct."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from sandbox.control import GraphControl
from sandbox.core.app import build
from sandbox.core.schedule import Schedule
from sandbox.demo.company import PARKED, SITES, WORKERS
from sandbox.demo.core import CoreControl
from sandbox.demo.outlook import news
from sandbox.demo.planner import next_change
from sandbox.demo.story import Outside, Week, week_of
from sandbox.oracle import WINDOW, Calendars, expect

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize("days", range(7))
@pytest.mark.parametrize("hour", [0, 12, 23])
def test_the_whole_week_is_in_the_future_and_within_the_window(days: int, hour: int) -> None:
    now = datetime(2026, 3, 23, hour, 30, tzinfo=UTC) + timedelta(days=days)
    week = Week.after(now)
    assert week.monday.weekday() == 0
    assert week.at(0, 0, 0)[0] > now
    assert week.at(5, 0, 0)[1] < now + WINDOW


async def test_each_step_and_each_random_change_shows_in_a_calendar_unless_it_gives_a_reason() -> None:
    schedule = Schedule(lambda: datetime.now(UTC))
    async with (
        TestServer(build(schedule, token="")) as server,
        CoreControl(str(server.make_url(""))) as core,
        GraphControl("http://127.0.0.1:9") as graph,
    ):
        outside = Outside(core, graph)
        for site in SITES:
            await core.put_site(site)
        for worker in WORKERS:
            await core.put_worker(worker)
        for step in week_of(NOW):
            if step.swept:
                continue  # Core does not change: a person edits an event in Outlook
            before = _shown(schedule)
            await step.act(outside)
            assert (_shown(schedule) == before) is bool(step.still), step.what
        random = Random(1)
        for _ in range(300):
            before = _shown(schedule)
            step = next_change(await core.schedule(), NOW, random)
            await step.act(outside)
            assert _shown(schedule) != before, step.what
        assert 4 <= len(schedule.jobs) <= 60


def _shown(schedule: Schedule) -> dict[str, Any]:
    expected: Calendars = expect(schedule, NOW)
    return {
        address: {tag: event for tag, event in events.items() if event.required}
        for address, events in expected.mailboxes.items()
        if events and address not in PARKED
    }


def _event(event_id: str, subject: str, hour: int, **other: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "subject": f"Core Job — {subject}",
        "start": f"2026-12-01T{hour:02}:00:00Z",
        "end": f"2026-12-01T{hour + 1:02}:00:00Z",
        "body_text": "Job: Survey",
        "changeKey": "1",
        "in_deleted_items": False,
        **other,
    }


def test_news_lists_added_removed_moved_and_changed_events_in_the_mailboxs_zone() -> None:
    before = {
        "ben@northwind.example": [
            _event("gone", "Adatum", 8),
            _event("binned", "Litware", 9),
            _event("moved", "Fabrikam", 10),
            _event("noted", "Contoso", 11),
            _event("same", "Woodgrove", 12),
        ]
    }
    after = {
        "ben@northwind.example": [
            _event("binned", "Litware", 9, in_deleted_items=True),
            _event("moved", "Fabrikam", 13, changeKey="2"),
            _event("noted", "Contoso", 11, changeKey="2", body_text="Job: Survey\r\nNotes: Ring twice."),
            _event("same", "Woodgrove", 12),
            _event("new", "Proseware", 14),
        ]
    }
    assert news(before, after) == [
        "ben: Adatum is gone",
        "ben: Litware is gone",
        "ben: Fabrikam is now Tue 14:00–15:00",
        "ben: Contoso has a new line “Notes: Ring twice.”",
        "ben: Proseware, Tue 15:00–16:00",
    ]
