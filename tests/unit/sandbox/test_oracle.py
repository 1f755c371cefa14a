"""The oracle: what it expects from Core's schedule, and that it finds every kind of difference."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import pytest

from sandbox.core.rows import Job, Site, Worker
from sandbox.core.schedule import Schedule
from sandbox.oracle import Calendars, Event, compare, expect

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
ANN, BOB = "ann@acme.example", "bob@acme.example"

Dump = dict[str, list[dict[str, Any]]]


@pytest.fixture
def schedule() -> Schedule:
    schedule = Schedule(lambda: NOW)
    schedule.put_site(Site("acme", "Acme", "Europe/London"))
    for worker_id, email in (("ann", " Ann@acme.example"), ("bob", BOB), ("cat", None), ("bob2", "BOB@acme.example")):
        schedule.put_worker(Worker(worker_id, "acme", email))
    return schedule


def job(start: float = 1, hours: float = 2, job_id: str = "J", **columns: Any) -> Job:
    starts_at = NOW + start * HOUR
    return Job(job_id=job_id, site_id="acme", starts_at=starts_at, ends_at=starts_at + hours * HOUR, **columns)


def only(calendars: Calendars, address: str = ANN) -> Event:
    (event,) = calendars.mailboxes[address].values()
    return event


def html(lines: tuple[str, ...]) -> str:
    return "<html><head><style>p {}</style></head><body>\r\n" + "<br>\r\n".join(map(escape, lines)) + "</body></html>"


def outlook(calendars: Calendars) -> Dump:
    """Returns a dump of calendars that show exactly what is expected."""
    return {
        address: [
            {
                "id": f"{address}-{event.tag}",
                "tag": event.tag,
                "subject": event.subject,
                "location": event.location,
                "body": html(event.lines),
                "start": event.start.isoformat(),
                "end": event.end.isoformat(),
                "isAllDay": False,
                "showAs": "busy",
                "isReminderOn": True,
                "reminderMinutesBeforeStart": 15,
                "sensitivity": "normal",
                "importance": "normal",
                "in_deleted_items": False,
                "calendar": "Calendar",
            }
            for event in events.values()
        ]
        for address, events in calendars.mailboxes.items()
    }


def test_an_event_shows_what_the_guide_says(schedule: Schedule) -> None:
    row = job(
        subject="Annual inspection",
        client_name="Northwind",
        site_name="Plant 4",
        customer_reference="PO-1",
        contact_name="Sam  O'Neill",
        contact_mobile="07700 900123",
        contact_phone="",
        contact_email="sam@northwind.example",
        address="14 Mill Lane\r\nLeeds\n\nLS1 4AB",
        notes="Hats & <vests>.\r\n\r\nBell 🔔",
    )
    schedule.add_job(row, ["ann"])

    event = only(expect(schedule, NOW))

    assert event.tag == "acme/J"
    assert event.subject == "Core Job — Northwind (Plant 4)"
    assert event.location == "14 Mill Lane, Leeds, LS1 4AB"
    assert event.lines == (
        "Job: Annual inspection",
        "Customer reference: PO-1",
        "Contact: Sam O'Neill",
        "Mobile: 07700 900123",
        "Email: sam@northwind.example",
        "Address: 14 Mill Lane, Leeds, LS1 4AB",
        "Notes: Hats & <vests>.",
        "Bell 🔔",
    )
    assert (event.start, event.end) == (NOW + HOUR, NOW + 3 * HOUR)


def test_empty_fields_are_left_out(schedule: Schedule) -> None:
    schedule.add_job(job(notes=" \n"), ["ann"])

    event = only(expect(schedule, NOW))

    assert (event.subject, event.location, event.lines) == ("Core Job", "", ())
    assert compare(expect(schedule, NOW), outlook(expect(schedule, NOW))) == []


def test_subject_and_location_are_cut_to_255_utf16_units(schedule: Schedule) -> None:
    schedule.add_job(job(client_name="🔔" * 300, address="x" * 256), ["ann"])

    event = only(expect(schedule, NOW))

    assert len(event.location) == 255
    assert event.location.endswith("x…")
    assert event.subject.endswith("🔔…")
    assert len(event.subject.encode("utf-16-le")) // 2 == 254, "a surrogate pair is not split"


def test_each_assignment_has_one_event(schedule: Schedule) -> None:
    schedule.add_job(job(), ["ann", "bob", "bob2", "cat"])

    mailboxes = expect(schedule, NOW).mailboxes

    assert {address: list(events) for address, events in mailboxes.items()} == {ANN: ["acme/J"], BOB: ["acme/J"]}


@pytest.mark.parametrize(
    ("start", "hours", "rule"),
    [
        (-2, 2, "free"),
        (-2, 3, "required"),
        (0, 0, "required"),
        (-1, 0, "free"),
        (21 * 24 - 1, 2, "required"),
        (21 * 24, 2, "optional"),
        (21 * 24, 0, "optional"),
        (1, -1, "free"),
    ],
)
def test_events_are_required_only_in_the_window(schedule: Schedule, start: float, hours: float, rule: str) -> None:
    schedule.add_job(job(start, hours), ["ann"])

    calendars = expect(schedule, NOW)

    events = calendars.mailboxes[ANN]
    found = "free" if "acme/J" in calendars.free else "required" if events["acme/J"].required else "optional"
    assert found == rule


def test_a_job_that_has_just_entered_the_window_may_wait_for_the_sweep(schedule: Schedule) -> None:
    schedule.add_job(job(21 * 24 - 0.05), ["ann"])

    assert only(expect(schedule, NOW)).required
    assert not only(expect(schedule, NOW, entered_within=timedelta(minutes=6))).required


def test_cancelled_unscheduled_and_deleted_jobs_must_have_no_event(schedule: Schedule) -> None:
    for job_id in ("cancelled", "unscheduled", "deleted", "unassigned"):
        schedule.add_job(job(job_id=job_id), ["ann"])
    before = outlook(expect(schedule, NOW))
    schedule.cancel("cancelled")
    schedule.reschedule("unscheduled", None, None)
    schedule.delete("deleted")
    schedule.unassign("unassigned", "ann")

    differences = compare(expect(schedule, NOW), before)

    assert [line.split(": ")[1] for line in differences] == [
        "acme/cancelled",
        "acme/deleted",
        "acme/unassigned",
        "acme/unscheduled",
    ]
    assert all(": surplus: " in line for line in differences)
    later = compare(expect(schedule, NOW + timedelta(days=1)), before)
    assert later == [], "an event that has ended is not checked"


def test_past_jobs_are_not_checked(schedule: Schedule) -> None:
    schedule.add_job(job(-5), ["ann"])
    history = {"tag": "acme/J", "subject": "as it was", "end": "2026-11-20T09:00:00Z", "id": "1"}

    assert compare(expect(schedule, NOW), {}) == []
    assert compare(expect(schedule, NOW), {ANN: [history, history], BOB: [history]}) == []


def test_beyond_the_window_an_event_may_be_missing_but_not_wrong(schedule: Schedule) -> None:
    schedule.add_job(job(22 * 24), ["ann"])
    calendars = expect(schedule, NOW)
    right, wrong = outlook(calendars), outlook(calendars)
    wrong[ANN][0]["subject"] = "Dentist"

    assert compare(calendars, {}) == []
    assert compare(calendars, right) == []
    assert [": subject differs" in line for line in compare(calendars, wrong)] == [True]


def break_field(name: str, value: Any) -> Callable[[Dump], None]:
    return lambda dump: dump[ANN][0].update({name: value})


@pytest.mark.parametrize(
    ("damage", "reported"),
    [
        (lambda dump: dump[ANN].clear(), "missing"),
        (lambda dump: dump[ANN].append({**dump[ANN][0], "id": "copy"}), "duplicate"),
        (lambda dump: dump[BOB].append(dump[ANN][0]), "surplus"),
        (break_field("in_deleted_items", True), "missing"),
        (break_field("tag", None), "missing"),
        (break_field("subject", "Core Job – Northwind"), "subject differs"),
        (break_field("location", ""), "location differs"),
        (break_field("body", "<p>Job: Lift</p><p>Notes: one</p>"), "body differs"),
        (break_field("start", "2026-11-23T08:30:00Z"), "start differs"),
        (break_field("end", "2026-11-23T12:00:00Z"), "end differs"),
        (break_field("isAllDay", True), "isAllDay differs"),
        (break_field("showAs", "free"), "showAs differs"),
        (break_field("isReminderOn", False), "isReminderOn differs"),
        (break_field("reminderMinutesBeforeStart", 30), "reminderMinutesBeforeStart differs"),
        (break_field("sensitivity", "private"), "sensitivity differs"),
        (break_field("importance", "high"), "importance differs"),
        (break_field("series", {"pattern": "daily"}), "series differs"),
    ],
)
def test_every_kind_of_difference_is_reported(
    schedule: Schedule, damage: Callable[[Dump], None], reported: str
) -> None:
    schedule.add_job(job(client_name="Northwind", subject="Lift", notes="one\ntwo", address="1 Mill Lane"), ["ann"])
    calendars = expect(schedule, NOW)
    dump = outlook(calendars)
    assert compare(calendars, dump) == []

    damage(dump)

    (difference,) = compare(calendars, dump)
    assert f"acme/J: {reported}" in difference
    assert difference.startswith(BOB if reported == "surplus" else ANN)


@pytest.mark.parametrize(
    "body",
    [
        "<div>Job: A &lt;b&gt; &amp; c</div><div>Notes: one&nbsp; two</div><div><br></div><div>three</div>",
        "<div class='x'><span>Job: A &lt;b&gt; &amp;\r\n c</span></div><p>Notes: one two<br/>three</p>",
        "<title>x</title><!-- c -->Job: A &#60;b> &amp; c<br>Notes: one two<br>\r\n\r\n<br>three",
    ],
)
def test_the_body_is_compared_as_a_reader_sees_it(schedule: Schedule, body: str) -> None:
    schedule.add_job(job(subject="A <b> & c", notes="one two\n\nthree"), ["ann"])
    calendars = expect(schedule, NOW)
    dump = outlook(calendars)
    dump[ANN][0]["body"] = body

    assert compare(calendars, dump) == []


def test_times_are_compared_as_instants_not_as_texts(schedule: Schedule) -> None:
    schedule.add_job(job(), ["ann"])
    calendars = expect(schedule, NOW)
    dump = outlook(calendars)
    dump[ANN][0].update(start="2026-11-23T10:00:00+01:00", end="2026-11-23T11:00:00.0000000")

    assert compare(calendars, dump) == []


@pytest.mark.parametrize(
    ("notes", "fine"),
    [
        ("x" * 40_000, False),
        ("x" * 31_900 + "…", True),
        ("x" * 31_992 + "…", True),
        ("x" * 31_993 + "…", False),
        ("x" * 20_000 + "…", False),
        ("x" * 31_900, False),
    ],
)
def test_a_body_that_is_too_long_must_be_cut_at_its_limit(schedule: Schedule, notes: str, fine: bool) -> None:
    schedule.add_job(job(notes="x" * 40_000), ["ann"])
    calendars = expect(schedule, NOW)
    dump = outlook(calendars)
    dump[ANN][0]["body"] = f"<p>Notes: {notes}</p>"

    assert (compare(calendars, dump) == []) is fine


def test_a_subject_may_be_cut_a_character_early_but_not_late(schedule: Schedule) -> None:
    schedule.add_job(job(client_name="x" * 400), ["ann"])
    calendars = expect(schedule, NOW)
    dump = outlook(calendars)
    full = dump[ANN][0]["subject"]

    for subject, fine in ((full[:-3] + "…", True), (full[:100] + "…", False), (full[:-1] + "x…", False)):
        dump[ANN][0]["subject"] = subject
        assert (compare(calendars, dump) == []) is fine


def test_other_peoples_events_and_other_sites_are_left_alone(schedule: Schedule) -> None:
    own = {"id": "1", "tag": None, "subject": "Dentist", "end": "2026-12-01T09:00:00Z"}
    other = {"id": "2", "tag": "elsewhere/J", "subject": "Core Job", "end": "2026-12-01T09:00:00Z"}

    assert compare(expect(schedule, NOW), {ANN: [own, other], "stranger@acme.example": [own]}) == []


def test_exempt_mailboxes_are_not_checked(schedule: Schedule) -> None:
    schedule.add_job(job(), ["ann", "bob"])

    differences = compare(expect(schedule, NOW), {}, exempt=["ANN@acme.example"])

    assert [line.partition(":")[0] for line in differences] == [BOB]
