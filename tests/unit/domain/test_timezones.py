"""Mailbox settings to zones, and instants to local times that read back as the same instants."""

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tzlocal.windows_tz import win_tz

from consumer.domain.timezones import UTC_ZONE, Zone, is_iana, write_span, zone_for

SETTINGS = sorted({*win_tz, *available_timezones()} - {"localtime"})
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
HOUR = timedelta(hours=1)


def read(local: str, name: str, zone: Zone) -> datetime:
    """The instant that a calendar in `zone` shows for a local time without offset."""
    info = UTC if name == "UTC" or zone.info is None else zone.info
    return datetime.fromisoformat(local).replace(tzinfo=info).astimezone(UTC)


@pytest.mark.parametrize(
    ("setting", "windows"),
    [
        ("GMT Standard Time", "GMT Standard Time"),
        ("gmt standard time ", "GMT Standard Time"),
        ("Eastern Standard Time", "Eastern Standard Time"),
        ("UTC", "UTC"),
        ("Europe/London", "GMT Standard Time"),
        ("Europe/Amsterdam", "W. Europe Standard Time"),
        ("America/New_York", "Eastern Standard Time"),
        ("Asia/Calcutta", "India Standard Time"),
        ("Asia/Kolkata", "India Standard Time"),
        ("Australia/Lord_Howe", "Lord Howe Standard Time"),
        ("Pacific/Chatham", "Chatham Islands Standard Time"),
        ("Etc/UTC", "UTC"),
    ],
)
def test_a_mailboxs_own_setting_wins_in_either_family_of_names(setting: str, windows: str) -> None:
    assert zone_for(setting, "Pacific/Fiji").windows == windows


@pytest.mark.parametrize(
    "setting",
    [None, "", "  ", "Customized Time Zone", "tzone://Microsoft/Custom", "Nowhere/Never", "Europe", "../etc", "\x00"],
)
def test_a_setting_that_names_no_zone_falls_back_to_the_site_and_then_to_utc(setting: str | None) -> None:
    assert zone_for(setting, "Europe/London").windows == "GMT Standard Time"
    assert zone_for(setting, "Nowhere/Never") == UTC_ZONE


def test_a_zone_that_windows_has_no_name_for_is_written_in_utc() -> None:
    assert is_iana("Antarctica/Troll")
    assert zone_for("Antarctica/Troll", "Europe/London") == UTC_ZONE


@given(st.text())
def test_any_time_zone_setting_is_accepted(setting: str) -> None:
    assert zone_for(setting, setting).windows in {*win_tz, "UTC"}
    assert is_iana(setting) in {True, False}


@given(INSTANTS, st.timedeltas(timedelta(0), timedelta(days=3)), st.sampled_from(SETTINGS))
def test_for_any_zone_the_local_times_read_back_as_the_same_instants(
    start: datetime, length: timedelta, setting: str
) -> None:
    zone = zone_for(setting, "UTC")
    local_start, local_end, name = write_span(start, start + length, zone)
    assert name in {zone.windows, "UTC"}
    assert read(local_start, name, zone) == start
    assert read(local_end, name, zone) == start + length


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(SETTINGS))
@example(datetime.min.replace(tzinfo=UTC), "America/New_York")
@example(datetime.max.replace(tzinfo=UTC), "Pacific/Chatham")
def test_any_instant_can_be_written(moment: datetime, setting: str) -> None:
    zone = zone_for(setting, "UTC")
    local, _, name = write_span(moment, moment, zone)
    assert name in {zone.windows, "UTC"}
    if name == "UTC":
        assert datetime.fromisoformat(local).replace(tzinfo=UTC) == moment


@pytest.mark.parametrize(
    ("setting", "first", "last"),
    [
        # The instants between which local times exist twice, by the zone's rules.
        ("Europe/London", datetime(2026, 10, 25, 0, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, 5, tzinfo=UTC), datetime(2026, 11, 1, 7, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2027, 4, 3, 14, 30, tzinfo=UTC), datetime(2027, 4, 3, 15, 30, tzinfo=UTC)),
        ("Pacific/Chatham", datetime(2027, 4, 3, 13, tzinfo=UTC), datetime(2027, 4, 3, 15, tzinfo=UTC)),
    ],
)
def test_both_ends_go_in_utc_when_either_is_in_the_repeated_hour(setting: str, first: datetime, last: datetime) -> None:
    zone = zone_for(setting, "UTC")
    for doubtful in (first, first + (last - first) / 2, last - timedelta(seconds=1)):
        assert write_span(doubtful, doubtful + 5 * HOUR, zone)[2] == "UTC"
        assert write_span(doubtful - 5 * HOUR, doubtful, zone) == (
            (doubtful - 5 * HOUR).strftime("%Y-%m-%dT%H:%M:%S.%f"),
            doubtful.strftime("%Y-%m-%dT%H:%M:%S.%f"),
            "UTC",
        )
    around = write_span(first - timedelta(seconds=1), last, zone)
    assert around[2] == zone.windows, (
        "the instants of both ends decide, and a change of the clocks between them does not matter"
    )


@pytest.mark.parametrize(
    ("setting", "before", "local"),
    [
        ("Europe/London", datetime(2027, 3, 28, 0, 30, tzinfo=UTC), ("00:30", "02:30")),
        ("America/New_York", datetime(2027, 3, 14, 6, 30, tzinfo=UTC), ("01:30", "03:30")),
        ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 0, tzinfo=UTC), ("01:30", "03:00")),
        ("Pacific/Chatham", datetime(2026, 9, 26, 13, 30, tzinfo=UTC), ("02:15", "04:15")),
    ],
)
def test_times_around_the_skipped_hour_in_spring_read_back(
    setting: str, before: datetime, local: tuple[str, str]
) -> None:
    zone = zone_for(setting, "UTC")
    start, end, name = write_span(before, before + HOUR, zone)
    assert (start[11:16], end[11:16], name) == (*local, zone.windows)
