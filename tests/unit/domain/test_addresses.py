"""Calendar emails: which mailbox each names, and which name none, in every place that reads them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.errors import InvalidRecordError
from consumer.domain.job import Deletion, Job, may_conceal
from consumer.domain.mailbox import Mailbox, is_usable, normalise
from consumer.domain.row import job_of
from consumer.json_reader import BrokenText
from sandbox.core.schedule import normal_address, sql_address
from tests.addresses import PASTED, Pasted

NOW = datetime(2026, 12, 1, tzinfo=UTC)
ROW: dict[str, Any] = {
    "job_id": "J",
    "site_id": "acme",
    "revision": 7,
    "status": "scheduled",
    "starts_at": NOW,
    "ends_at": NOW + timedelta(hours=1),
}


def every_address(test: Any) -> Any:
    return pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)(test)


@every_address
def test_a_pasted_address_names_its_mailbox_or_none(pasted: Pasted) -> None:
    assert normalise(pasted.email) == pasted.address
    if pasted.address is not None:
        assert is_usable(pasted.email) == pasted.usable
        assert is_usable(pasted.address) == (pasted.usable or type(pasted.email) is not str)


@every_address
def test_the_sandbox_compares_addresses_as_the_service_does(pasted: Pasted) -> None:
    assert normal_address(pasted.email) == (pasted.address or "")
    assert normal_address(sql_address(pasted.email)) == (pasted.address or "")


@every_address
@pytest.mark.parametrize("as_text", [True, False])
def test_only_the_worker_with_an_unusable_address_is_skipped(pasted: Pasted, as_text: bool) -> None:
    workers = [
        {"worker_id": "1", "calendar_email": "bob@acme.example"},
        {"worker_id": "2", "calendar_email": pasted.email},
        {"worker_id": "3", "calendar_email": None},
    ]
    job = job_of(ROW | {"workers": json.dumps(workers) if as_text and type(pasted.email) is str else workers})
    usable = {pasted.address} if pasted.usable and pasted.address else set()
    assert job.addresses == {"bob@acme.example", *usable}
    assert job.unusable_addresses == (not pasted.usable)


@pytest.mark.parametrize("name", ["job_id", "site_id", "status", "subject", "notes", "starts_at"])
def test_a_broken_text_makes_its_row_invalid_and_names_the_field(name: str) -> None:
    with pytest.raises(InvalidRecordError, match=name) as caught:
        job_of(ROW | {"workers": [], name: BrokenText("s3cret\\ud83d")})
    assert "s3cret" not in str(caught.value)


def test_a_broken_worker_id_is_accepted() -> None:
    workers = json.dumps([{"worker_id": "w\ud83d", "calendar_email": "ann@acme.example"}])
    assert job_of(ROW | {"workers": workers}).addresses == {"ann@acme.example"}


@pytest.mark.parametrize("job_id", ["J\x00", "J\n1", "\x1f", "J\x85"])
def test_a_job_id_holds_no_control_characters(job_id: str) -> None:
    with pytest.raises(InvalidRecordError, match="job_id"):
        job_of(ROW | {"workers": [], "job_id": job_id})


@pytest.mark.parametrize("job_id", ["J 1", "J\xa01", "Ж-1", "a/b", "😀", "J\u200b"])
def test_other_job_ids_are_taken_as_they_are(job_id: str) -> None:
    assert job_of(ROW | {"workers": [], "job_id": job_id}).job_id == job_id


@pytest.mark.parametrize(
    "time",
    [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
        "10000-01-01T00:00:00Z",
        "+294247-01-10T04:00:25.200Z",
        "-0044-03-15T00:00:00Z",
        "2026-12-01T24:00:00Z",
        "2026-12-01T23:60:00Z",
        "2026-12-01T23:59:60Z",
        "2026-02-30T00:00:00Z",
        "2026-12-01T09:00:00",
        "2026-12-01T09:00:00+25:00",
        "2026-12-01",
        "infinity",
        "1764579600",
        "",
        " ",
    ],
)
@pytest.mark.parametrize("name", ["starts_at", "ends_at"])
def test_an_impossible_time_makes_its_row_invalid(name: str, time: str) -> None:
    with pytest.raises(InvalidRecordError, match=name):
        job_of(ROW | {"workers": [], "starts_at": None, "ends_at": None, name: time})


@pytest.mark.parametrize("revision", [7.0, "7", True, None, -1, 2**62, float("inf"), [7]])
def test_a_revision_that_is_not_a_whole_number_makes_its_row_invalid(revision: Any) -> None:
    with pytest.raises(InvalidRecordError, match="revision"):
        job_of(ROW | {"workers": [], "revision": revision})


def job(**changes: Any) -> Job:
    return job_of(
        ROW
        | {
            "workers": [
                {"worker_id": "1", "calendar_email": "bob@acme.example"},
                {"worker_id": "2", "calendar_email": "\x07"},
            ]
        }
        | changes
    )


def test_the_event_of_an_unnamed_mailbox_is_left_while_an_address_is_unusable() -> None:
    ann, bob = Mailbox("acme", "ann@acme.example"), Mailbox("acme", "bob@acme.example")
    assert may_conceal(job(), ann)
    assert not may_conceal(job(), bob)
    assert not may_conceal(job(), Mailbox("beta", "ann@acme.example")), "the job is of another site now"
    assert not may_conceal(job(status="cancelled"), ann)
    assert not may_conceal(job(starts_at=None), ann)
    assert not may_conceal(job(workers=[]), ann)
    assert not may_conceal(Deletion("J", 15), ann)


@given(st.text())
def test_normalising_an_address_again_changes_nothing(email: str) -> None:
    address = normalise(email)
    if address is not None:
        assert normalise(address) == address
        assert is_usable(email) == is_usable(address)
