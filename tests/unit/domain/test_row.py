"""Rows of Core: read tolerantly, refused with the name of the field and never with its content."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import InvalidRecordError
from consumer.domain.row import UNAVAILABLE, is_complete, job_of

SECRET = "s3cret-content"
ROW: dict[str, Any] = {
    "job_id": "J-1",
    "site_id": "acme",
    "revision": 7,
    "status": "scheduled",
    "subject": "Lift",
    "notes": None,
    "starts_at": "2026-12-01T09:00:00.123456Z",
    "ends_at": "2026-12-01T12:30:00+02:00",
    "workers": '[{"worker_id": "w1", "calendar_email": " Ann@Acme.example "}, {"worker_id": "w2"}]',
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TEXTS = (
    "subject",
    "client_name",
    "site_name",
    "customer_reference",
    "contact_name",
    "contact_mobile",
    "contact_phone",
    "contact_email",
    "address",
    "notes",
)


def test_a_row_states_a_job() -> None:
    job = job_of(ROW)
    assert (job.job_id, job.site_id, job.revision, job.status) == ("J-1", "acme", 7, "scheduled")
    assert (job.subject, job.notes, job.client_name) == ("Lift", None, None)
    assert job.starts_at == datetime(2026, 12, 1, 9, 0, 0, 123456, tzinfo=UTC)
    assert job.ends_at == datetime(2026, 12, 1, 10, 30, tzinfo=UTC)
    assert job.ends_at.tzinfo is UTC
    assert job.addresses == {"ann@acme.example"}


def test_unknown_fields_are_ignored_and_missing_texts_and_times_are_empty() -> None:
    job = job_of({"job_id": "J", "site_id": "s", "revision": 0, "status": "x", "workers": "[]", "colour": object()})
    assert job.scheduled is None
    assert job.subject is None
    assert job.addresses == frozenset()


def test_workers_may_be_a_list_and_equal_addresses_are_one() -> None:
    workers = [
        {"worker_id": str(n), "calendar_email": email} for n, email in enumerate(["A@x.example", "a@X.EXAMPLE", ""])
    ]
    assert job_of(ROW | {"workers": workers}).addresses == {"a@x.example"}
    assert job_of(ROW | {"workers": [{"worker_id": "w"}]}).addresses == frozenset()


def test_addresses_given_beside_the_row_replace_its_workers() -> None:
    row = {name: value for name, value in ROW.items() if name != "workers"}
    assert job_of(row, frozenset({"b@x.example"})).addresses == {"b@x.example"}


def test_times_may_be_aware_datetimes_of_any_offset() -> None:
    moment = datetime(2026, 12, 1, 9, tzinfo=timezone(timedelta(hours=-5)))
    job = job_of(ROW | {"starts_at": moment, "ends_at": moment})
    assert job.scheduled == (moment, moment)
    assert job.starts_at is not None
    assert job.starts_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("field", "values"),
    [
        *((name, [None, "", 5, [SECRET]]) for name in ("job_id", "site_id", "status")),
        ("revision", [None, SECRET, "7", 1.5, True, -1, 2**62]),
        *((name, [5, [SECRET], {SECRET: 1}, True]) for name in TEXTS),
        *(
            (name, [SECRET, "", 5, "2026-12-01T09:00:00", datetime(2026, 12, 1), "2026-13-01T00:00:00Z"])  # noqa: DTZ001
            for name in ("starts_at", "ends_at")
        ),
        ("starts_at", ["0001-01-01T00:00:00+14:00"]),
        ("ends_at", ["9999-12-31T23:59:59-14:00"]),
        (
            "workers",
            [
                None,
                SECRET,
                "",
                "{}",
                "null",
                5,
                {"worker_id": SECRET},
                [SECRET],
                [{"calendar_email": SECRET}],
                [{"worker_id": 5, "calendar_email": SECRET}],
                [{"worker_id": "w", "calendar_email": [SECRET]}],
                json.dumps([{"worker_id": "w", "calendar_email": 5}]),
            ],
        ),
    ],
)
def test_an_impossible_field_is_named_and_its_content_is_not(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(InvalidRecordError, match=field) as caught:
            job_of(ROW | {field: value})
        assert SECRET not in str(caught.value)


def test_an_end_before_its_start_is_impossible_and_one_at_its_start_is_not() -> None:
    with pytest.raises(InvalidRecordError, match="ends_at is before starts_at"):
        job_of(ROW | {"ends_at": "2026-12-01T09:00:00.123455Z"})
    assert job_of(ROW | {"ends_at": ROW["starts_at"]}).scheduled is not None


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, JSON)))
def test_any_row_is_a_job_or_an_invalid_record(fields: dict[str, Any]) -> None:
    try:
        job = job_of(ROW | fields)
    except InvalidRecordError as error:
        fault = str(error)
    else:
        assert job.starts_at is None or job.ends_at is None or job.starts_at <= job.ends_at
        return
    assert any(name in fault for name in fields)


def test_a_value_that_was_not_logged_makes_a_row_incomplete() -> None:
    assert is_complete(ROW)
    assert not is_complete(ROW | {"notes": UNAVAILABLE})
    assert not is_complete(ROW | {"workers": UNAVAILABLE})
    assert not is_complete(ROW | {"workers": [UNAVAILABLE]})
