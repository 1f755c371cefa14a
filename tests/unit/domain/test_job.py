"""Jobs and mailboxes: which state is newer, where a job must be, which addresses are the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.job import CANCELLED, Deletion, Job, rank
from consumer.domain.mailbox import Mailbox, normalise

START = datetime(2026, 12, 1, 9, tzinfo=UTC)
JOB = Job(
    "J-1",
    "acme",
    7,
    "scheduled",
    starts_at=START,
    ends_at=START + timedelta(hours=1),
    addresses=frozenset({"ann@acme.example", "ben@acme.example"}),
)
REVISIONS = st.integers(0, 2**62 - 1)


@given(REVISIONS, REVISIONS, st.booleans(), st.booleans())
def test_ranks_order_by_revision_and_a_deletion_after_the_state_it_removed(
    one: int, other: int, one_deleted: bool, other_deleted: bool
) -> None:
    ranks = rank(one, deleted=one_deleted), rank(other, deleted=other_deleted)
    assert (ranks[0] < ranks[1]) == ((one, one_deleted) < (other, other_deleted))
    assert ranks[0] < 2**64


def test_a_deletion_outranks_its_own_state_and_not_the_next() -> None:
    deletion = Deletion("J-1", rank(7, deleted=True))
    assert JOB.rank < deletion.rank < replace(JOB, revision=8).rank


def test_a_scheduled_job_is_in_the_mailboxes_of_its_workers() -> None:
    assert JOB.mailboxes == {Mailbox("acme", "ann@acme.example"), Mailbox("acme", "ben@acme.example")}


@pytest.mark.parametrize(
    "job", [replace(JOB, status=CANCELLED), replace(JOB, starts_at=None), replace(JOB, ends_at=None)]
)
def test_a_job_that_is_cancelled_or_without_both_times_is_in_no_mailbox(job: Job) -> None:
    assert job.scheduled is None
    assert job.mailboxes == set()


@pytest.mark.parametrize("status", ["scheduled", "completed", "Cancelled", "", "on hold"])
def test_every_status_but_cancelled_keeps_the_events(status: str) -> None:
    assert len(replace(JOB, status=status).mailboxes) == 2


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        (None, None),
        ("", None),
        (" \t", None),
        (" Ann.Lee@ACME.Example\n", "ann.lee@acme.example"),
        ("ZOË@Straße.Example", "zoË@straße.example"),
        ("\u212aelvin@acme.example", "\u212aelvin@acme.example"),
        ("İ@acme.example", "İ@acme.example"),
    ],
)
def test_addresses_are_trimmed_and_only_their_ascii_letters_are_folded(address: str | None, normal: str | None) -> None:
    assert normalise(address) == normal


@given(st.text())
def test_a_normal_address_stays_as_it_is(address: str) -> None:
    normal = normalise(address)
    assert normalise(normal) == normal
    assert normal != ""
    if normal is not None:
        assert normal.encode() == address.strip().encode().lower(), "bytes fold in ASCII alone"


@given(st.from_regex(r"[a-z0-9][a-z0-9-]*", fullmatch=True), st.text())
def test_a_mailbox_is_read_back_from_its_name(site: str, address: str) -> None:
    assert Mailbox.parse(str(Mailbox(site, address))) == Mailbox(site, address)
