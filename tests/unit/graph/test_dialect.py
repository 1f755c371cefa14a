"""Events to Graph's JSON and back."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.event import TAG_ID, Event, tag
from consumer.domain.job import Job
from consumer.domain.render import render
from consumer.domain.timezones import UTC_ZONE, zone_for
from consumer.graph.dialect import (
    READ,
    UNREADABLE,
    created,
    event_path,
    find_query,
    from_json,
    summary,
    to_json,
    user,
)

START = datetime(2026, 12, 1, 9, tzinfo=UTC)
JOB = Job("J-1", "acme", 1, "scheduled", subject="Lift & hoist", client_name="Northwind", address="1 High St")
TEXTS = st.none() | st.text()


def event(zone: str = "Eastern Standard Time") -> Event:
    return render(JOB, START, START + timedelta(hours=1), zone_for(zone, "UTC"))


def shown(**changes: Any) -> dict[str, Any]:
    """The event as Graph returns it: times in UTC with seven digits, a wrapped body, the tag expanded."""
    return {
        "@odata.etag": 'W/"abc=="',
        "id": "AAMk=",
        "subject": event().subject,
        "body": {"contentType": "html", "content": f"<html>\r\n<body>\r\n{event().body}\r\n</body>\r\n</html>\r\n"},
        "location": {"displayName": "1 High St", "locationType": "default"},
        "start": {"dateTime": "2026-12-01T09:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-12-01T10:00:00.0000000", "timeZone": "UTC"},
        "isAllDay": False,
        "showAs": "busy",
        "isReminderOn": True,
        "reminderMinutesBeforeStart": 15,
        "sensitivity": "normal",
        "importance": "normal",
        "type": "singleInstance",
        "singleValueExtendedProperties": [{"id": TAG_ID, "value": "acme/J-1"}],
    } | changes


def test_all_owned_fields_are_sent_always_and_attendees_never() -> None:
    assert to_json(event()) == {
        "subject": "Core Job — Northwind",
        "body": {"contentType": "html", "content": "Job: Lift &amp; hoist<br>Address: 1 High St"},
        "start": {"dateTime": "2026-12-01T04:00:00.000000", "timeZone": "Eastern Standard Time"},
        "end": {"dateTime": "2026-12-01T05:00:00.000000", "timeZone": "Eastern Standard Time"},
        "location": {"displayName": "1 High St"},
        "isAllDay": False,
        "showAs": "busy",
        "isReminderOn": True,
        "reminderMinutesBeforeStart": 15,
        "sensitivity": "normal",
        "importance": "normal",
    }


def test_a_create_carries_the_tag_and_the_transaction_id_and_an_update_does_not() -> None:
    assert created(event(), "acme/J-1", "t1") == to_json(event()) | {
        "transactionId": "t1",
        "singleValueExtendedProperties": [
            {"id": "String {7d0c3f5e-52a4-4c1b-9d55-0b1f5c2e9a60} Name CoreJob", "value": "acme/J-1"}
        ],
    }


def test_an_event_that_graph_returns_is_read_as_it_was_written() -> None:
    seen = from_json(shown())
    assert (seen.event_id, seen.etag, seen.tag) == ("AAMk=", 'W/"abc=="', "acme/J-1")
    assert (seen.start, seen.end) == (START, START + timedelta(hours=1))
    assert seen.reads_as(event())


@given(
    st.builds(Job, st.just("J"), st.just("acme"), st.just(1), st.just("x"), TEXTS, TEXTS, TEXTS, notes=TEXTS),
    st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_times_sent_in_utc_read_back_unchanged(job: Job, start: datetime) -> None:
    wanted = render(job, start, start + timedelta(hours=1), UTC_ZONE)
    sent = to_json(wanted)
    times = {name: {"dateTime": sent[name]["dateTime"] + "0", "timeZone": "UTC"} for name in ("start", "end")}
    assert from_json({"id": "1", **sent, **times}).reads_as(wanted)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-10-06T01:00:00.0000000", datetime(2026, 10, 6, 1, tzinfo=UTC)),
        ("2026-10-06T01:00:00.1234567", datetime(2026, 10, 6, 1, 0, 0, 123456, tzinfo=UTC)),
        ("2026-10-06T01:00:00", datetime(2026, 10, 6, 1, tzinfo=UTC)),
    ],
)
def test_times_have_seven_digits_and_are_utc(text: str, moment: datetime) -> None:
    seen = from_json(shown(start={"dateTime": text, "timeZone": "UTC"}))
    assert seen.start == moment
    assert seen.start.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [None, {}, "2026-10-06", {"dateTime": None, "timeZone": "UTC"}, {"dateTime": "soon", "timeZone": "UTC"}]
    + [{"dateTime": "2026-12-01", "timeZone": "UTC"}, {"dateTime": "2026-12-01T09:00:00"}]
    + [
        {"dateTime": "2026-12-01T04:00:00.0000000", "timeZone": zone}
        for zone in ("Middle-earth Standard Time", "Customized Time Zone", "../UTC", "Europe", "", None, 5)
    ],
)
def test_a_time_in_an_unknown_zone_or_without_one_equals_no_wanted_time(value: Any) -> None:
    seen = from_json(shown(start=value))
    assert seen.start is None
    assert not seen.reads_as(event())


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2026-12-01T09:00:00.0000000", "UTC"),
        ("2026-12-01T09:00:00.0000000", "Etc/UTC"),
        ("2026-12-01T09:00:00.0000000", "tzone://Microsoft/Utc"),
        ("2026-12-01T09:00:00.0000000", "GMT Standard Time"),
        ("2026-12-01T09:00:00.0000000", "Europe/London"),
        ("2026-12-01T04:00:00.0000000", "Eastern Standard Time"),
        ("2026-12-01T04:00:00.0000000", "eastern standard time"),
        ("2026-12-01T04:00:00", "America/New_York"),
        ("2026-12-01T14:30:00.0000000", "India Standard Time"),
        ("2026-12-01T22:45:00.0000000", "Pacific/Chatham"),
        ("2026-12-01T09:00:00.0000000Z", "UTC"),
        ("2026-12-01T10:00:00.0000000+01:00", "UTC"),
        ("2026-12-01T10:00:00+01:00", "Eastern Standard Time"),
    ],
)
def test_a_time_is_read_in_the_zone_it_names(text: str, zone: str) -> None:
    seen = from_json(shown(start={"dateTime": text, "timeZone": zone}))
    assert seen.start == START
    assert seen.start.tzinfo is UTC
    assert seen.reads_as(event())


@pytest.mark.parametrize("zone", ["GMT Standard Time", "Europe/London"])
@pytest.mark.parametrize("hour", [0, 1])
def test_in_the_repeated_hour_an_answer_is_read_as_what_was_written(zone: str, hour: int) -> None:
    """On 25 October 2026 in London, 01:30 is both 00:30 UTC and 01:30 UTC."""
    start = datetime(2026, 10, 25, hour, 30, tzinfo=UTC)
    end = start + timedelta(minutes=20)
    wanted = render(JOB, start, end, zone_for(zone, "UTC"))
    assert wanted.zone == "UTC"
    times = {"start": {"dateTime": "2026-10-25T01:30:00.0000000", "timeZone": zone}}
    times |= {"end": {"dateTime": "2026-10-25T01:50:00.0000000", "timeZone": zone}}
    answered = from_json(shown(**times), wanted)
    assert (answered.start, answered.end) == (start, end)
    assert from_json(shown(**times)).start == datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "else the first of the two"


def test_an_answer_that_cannot_be_what_was_written_is_read_as_it_is() -> None:
    times = {"start": {"dateTime": "2026-12-01T05:00:00.0000000", "timeZone": "Eastern Standard Time"}}
    assert from_json(shown(**times), event()).start == START + timedelta(hours=1)


@pytest.mark.parametrize("wrong", [{}, {"id": None}, {"id": ""}, {"id": 5}, [], None, "event"])
def test_an_answer_without_an_id_is_not_an_event(wrong: Any) -> None:
    for read in (from_json, summary):
        with pytest.raises((KeyError, TypeError, AttributeError, ValueError)):
            read(wrong)


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        (None, None),
        ([], None),
        ([{"id": TAG_ID.replace("7d0c3f5e", "7D0C3F5E"), "value": "acme/J-1"}], "acme/J-1"),
        ([{"id": "String {00000000-0000-0000-0000-000000000000} Name CoreJob", "value": "acme/J-1"}], None),
        ([{"id": "Integer 0x1", "value": "1"}, {"id": TAG_ID, "value": "acme/J-1"}], "acme/J-1"),
    ],
)
def test_the_tag_is_found_with_its_guid_in_either_case(properties: Any, found: str | None) -> None:
    assert from_json(shown(singleValueExtendedProperties=properties)).tag == found


@pytest.mark.parametrize(
    ("kind", "single"), [("singleInstance", True), ("occurrence", False), ("exception", False), ("seriesMaster", False)]
)
def test_an_event_that_was_made_a_series_is_recognised(kind: str, *, single: bool) -> None:
    assert from_json(shown(type=kind)).single is single


@pytest.mark.parametrize("name", ["subject", "body", "location", "showAs", "reminderMinutesBeforeStart", "importance"])
def test_an_event_with_a_null_field_differs_from_the_wanted_one(name: str) -> None:
    assert not from_json(shown(**{name: None})).reads_as(event())


@given(st.text(min_size=1), st.text(min_size=1))
def test_paths_can_contain_any_address_and_any_id(address: str, event_id: str) -> None:
    parts = event_path(address, event_id).split("/")
    assert [unquote(part) for part in parts] == ["", "users", address, "events", event_id] or "/" in address
    assert user(address).isascii()


def test_ids_are_escaped_whole() -> None:
    assert event_path("o'neil@acme.example", "AA+/k=") == "/users/o%27neil@acme.example/events/AA%2B%2Fk%3D"


@given(st.text())
def test_the_tag_is_looked_up_as_one_quoted_value(job_id: str) -> None:
    query = parse_qs(find_query(tag("acme", job_id)), keep_blank_values=True)
    value = f"acme/{job_id}".replace("'", "''")
    assert query["$filter"] == [f"singleValueExtendedProperties/Any(ep: ep/id eq '{TAG_ID}' and ep/value eq '{value}')"]


def test_every_read_asks_for_the_tag_and_the_owned_fields() -> None:
    query = parse_qs(READ)
    assert query["$expand"] == [f"singleValueExtendedProperties($filter=id eq '{TAG_ID}')"]
    assert {*to_json(event()), "id", "type", "createdDateTime"} == set(query["$select"][0].split(","))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([float("inf"), float("nan"), 10**400, 1e308, "9" * 5000, "", "\ud83d", "UTC", TAG_ID])
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "value", "dateTime", "timeZone", "content", "displayName"]) | st.text(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
TIMES = st.fixed_dictionaries({"dateTime": JSON_VALUES | st.datetimes().map(str), "timeZone": JSON_VALUES})


@given(st.dictionaries(st.sampled_from([*shown(), "createdDateTime", "seriesMasterId"]), JSON_VALUES | TIMES))
def test_any_object_is_read_or_rejected_as_an_event(changes: dict[str, Any]) -> None:
    reads: list[Callable[[Any], object]] = [from_json, summary, lambda body: from_json(body, event())]
    for read in reads:
        with contextlib.suppress(*UNREADABLE):
            read(shown(**changes))


def deep(levels: int) -> Any:
    nested: Any = "x"
    for level in range(levels):
        nested = [nested] if level % 2 else {"a": nested}
    return nested


@pytest.mark.parametrize("name", [*shown(), "createdDateTime", "seriesMasterId"])
@pytest.mark.parametrize(
    "value",
    [float("inf"), float("nan"), -float("inf"), 10**400, 1e308, "9" * 5000, 5, True, [5], {"a": 5}, deep(2_000)],
)
def test_any_value_in_any_field_is_read_or_rejected(name: str, value: Any) -> None:
    reads: list[Callable[[Any], object]] = [from_json, summary]
    for read in reads:
        with contextlib.suppress(*UNREADABLE):
            read(shown(**{name: value}))


@pytest.mark.parametrize("minutes", [float("inf"), float("nan"), "9" * 5000, "x", [], {}, [15], True])
def test_an_event_whose_minutes_are_not_a_number_is_rejected(minutes: Any) -> None:
    with pytest.raises(UNREADABLE):
        from_json(shown(reminderMinutesBeforeStart=minutes))


@pytest.mark.parametrize("name", ["subject", "showAs", "sensitivity", "importance", "@odata.etag"])
@pytest.mark.parametrize("value", [5, True, ["x"], {"a": "x"}])
def test_an_event_whose_text_field_is_not_a_text_is_rejected(name: str, value: Any) -> None:
    with pytest.raises(UNREADABLE):
        from_json(shown(**{name: value}))


@pytest.mark.parametrize(
    "start",
    [
        {"dateTime": "0001-01-01T00:00:00.0000000", "timeZone": "Europe/Berlin"},
        {"dateTime": "0001-01-01T00:00:00+14:00", "timeZone": "UTC"},
        {"dateTime": "2026-13-45T09:00:00.0000000", "timeZone": "UTC"},
        {"dateTime": "tomorrow at nine o'clock", "timeZone": "UTC"},
    ],
)
def test_an_impossible_time_differs_from_the_wanted_one_and_raises_nothing(start: dict[str, str]) -> None:
    assert from_json(shown(start=start), wanted=event()).start is None
