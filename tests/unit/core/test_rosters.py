"""A site's schedule: a worker's invalid data affects only that worker, and an invalid list fails the read."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.schedule import MOST_MALFORMED, MOST_MISPLACED, Page, Roster, rosters
from consumer.domain.errors import CoreUnavailableError
from consumer.json_reader import BrokenText
from sandbox.core.schedule import normal_address, sql_address
from tests.addresses import PASTED

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC).isoformat()


def row(job_id: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "job_id": job_id,
        "site_id": "acme",
        "revision": 1,
        "status": "scheduled",
        "starts_at": NOW,
        "ends_at": NOW,
    }
    return fields | changes


def worker(email: Any, *rows: Any, worker_id: Any = None) -> dict[str, Any]:
    return {"worker_id": worker_id or f"w-{email}", "calendar_email": email, "jobs": list(rows)}


class Reading:
    """The rosters of pages of workers, and what was found unusable."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def note(self, site_id: str, what: str, reason: str, /, **where: str | None) -> None:
        assert site_id == "acme"
        assert "s3cret" not in f"{reason} {where}"
        self.found[what] += 1

    async def read(self, *pages: list[Any]) -> list[Roster]:
        async def stream() -> AsyncIterator[Page]:
            for number, workers in enumerate(pages, 1):
                yield Page.of({"workers": workers, "next_cursor": str(number) if number < len(pages) else None})

        return [roster async for roster in rosters("acme", stream(), self.note)]


@pytest.fixture
def reading() -> Reading:
    return Reading()


def in_place(read: list[Roster]) -> list[str]:
    return [roster.address for roster in read if not roster.late]


def late(read: list[Roster]) -> list[str]:
    return [roster.address for roster in read if roster.late]


async def test_workers_of_one_address_are_one_roster_also_across_pages(reading: Reading) -> None:
    read = await reading.read(
        [worker("ann@x", row("1")), worker("ANN@x", row("2"))], [worker(" ann@x ", row("3"))], [worker("bob@x")]
    )
    assert [(roster.address, set(roster.jobs)) for roster in read] == [("ann@x", {"1", "2", "3"}), ("bob@x", set())]
    assert late(read) == []


@pytest.mark.parametrize("name", [name for name, pasted in PASTED.items() if pasted.address and pasted.usable])
async def test_a_pasted_address_is_swept_in_any_place_of_cores_order(reading: Reading, name: str) -> None:
    pasted = PASTED[name]
    others = [f"{letter}@other.example" for letter in "amz"]
    emails = sorted([*others, pasted.email], key=lambda email: sql_address(email).encode())
    read = await reading.read([worker(email, row(f"{number}")) for number, email in enumerate(emails)])
    assert sorted(roster.address for roster in read) == sorted([*others, str(pasted.address)])
    assert sorted(job for roster in read for job in roster.jobs) == ["0", "1", "2", "3"]
    assert not reading.found


@pytest.mark.parametrize("name", [name for name, pasted in PASTED.items() if not (pasted.address and pasted.usable)])
async def test_an_address_that_no_mailbox_can_have_is_skipped_and_counted(reading: Reading, name: str) -> None:
    emails = sorted(["ann@x", "zoe@x", PASTED[name].email], key=lambda email: email.encode(errors="replace"))
    read = await reading.read([worker(email, row("s3cret"), worker_id="w") for email in emails])
    assert [roster.address for roster in read] == ["ann@x", "zoe@x"]
    assert reading.found == {"address": 1}


async def test_an_untidy_address_in_order_stays_in_place_with_either_trimming_of_core(reading: Reading) -> None:
    read = await reading.read([worker(email) for email in ("ann@x", "\tbob@x", "\xa0cid@x", "dan@x\t", "eve@x")])
    assert in_place(read) == ["ann@x", "bob@x", "cid@x", "dan@x", "eve@x"]


async def test_many_untidy_addresses_in_order_need_no_memory(reading: Reading) -> None:
    emails = [f"\t{number:05}@x" for number in range(5 * MOST_MISPLACED)]
    read = await reading.read([worker(email) for email in emails])
    assert in_place(read) == [email.strip() for email in emails]


async def test_misplaced_addresses_come_last_in_order_and_united(reading: Reading) -> None:
    emails = ["\tzoe@x", "\tcid@x", "ann@x", "cid@x", "dan@x", "\xa0ann@x", "\u3000Zoe@x"]
    read = await reading.read([worker(email, row(f"{number}")) for number, email in enumerate(emails)])
    assert in_place(read) == ["ann@x", "cid@x", "dan@x", "zoe@x"]
    assert [(roster.address, sorted(roster.jobs)) for roster in read if roster.late] == [
        ("ann@x", ["5"]),
        ("cid@x", ["1"]),
        ("zoe@x", ["0"]),
    ]


async def test_more_than_a_hundred_misplaced_addresses_fail_the_read(reading: Reading) -> None:
    emails = ["mid@x", *(f"\xa0a{number:03}@x" for number in range(MOST_MISPLACED))]
    assert len(late(await reading.read([worker(email) for email in emails]))) == MOST_MISPLACED
    with pytest.raises(CoreUnavailableError, match="out of order"):
        await reading.read([worker(email) for email in [*emails, "\xa0last@x"]])


@pytest.mark.parametrize(
    "emails",
    [
        ["bob@x", "ann@x"],
        ["bob@x", "Ann@x"],
        ["bob@x", " ann@x"],
        ["bob@x", "\tbob@x", "ann@x"],
        ["ann@x", "cid@x", "\tann@x", "bob@x"],
        ["é@x", "z@x"],
    ],
)
async def test_any_other_step_backwards_fails_the_read(reading: Reading, emails: list[str]) -> None:
    with pytest.raises(CoreUnavailableError, match="backwards"):
        await reading.read([worker(email) for email in emails])


ADDRESSES = st.builds(
    lambda before, name, after: f"{before}{name}@x{after}",
    st.sampled_from(["", "", "", " ", "\t", "\xa0", "\u3000", "\x85"]),
    st.text("abAB", min_size=1, max_size=3),
    st.sampled_from(["", "", "", " ", "\t", "\n", "\xa0"]),
)


@settings(max_examples=300)
@given(
    st.lists(ADDRESSES, max_size=12),
    st.sampled_from([sql_address, normal_address, lambda email: email.strip("\t\n\r\f\v ").lower()]),
    st.integers(1, 4),
)
async def test_every_worker_is_read_once_with_either_trimming_of_core(
    emails: list[str], trimmed: Any, size: int
) -> None:
    workers = [worker(email, row(f"{number}"), worker_id=f"{number}") for number, email in enumerate(emails)]
    workers.sort(key=lambda each: trimmed(each["calendar_email"]).encode())
    pages = [workers[start : start + size] for start in range(0, len(workers), size)] or [[]]
    read = await Reading().read(*pages)
    assert sorted(job for roster in read for job in roster.jobs) == sorted(f"{n}" for n in range(len(emails)))
    for roster in read:
        assert {normal_address(emails[int(job)]) for job in roster.jobs} == {roster.address}
    for some in (in_place(read), late(read)):
        assert some == sorted(set(some))
    if trimmed is normal_address:
        assert late(read) == []


@pytest.mark.parametrize(
    "entry",
    [
        None,
        5,
        "ann@x",
        [],
        {},
        {"worker_id": "w", "jobs": []},
        {"worker_id": "w", "calendar_email": None, "jobs": []},
        {"worker_id": "w", "calendar_email": 5, "jobs": []},
        {"worker_id": "w", "calendar_email": ["s3cret"], "jobs": []},
    ],
)
async def test_an_entry_that_names_no_mailbox_is_skipped_and_counted(reading: Reading, entry: Any) -> None:
    read = await reading.read([worker("ann@x", row("1")), entry, worker("bob@x")])
    assert in_place(read) == ["ann@x", "bob@x"]
    assert reading.found == {"worker": 1}
    assert read[-1].unnamed_workers == 1
    assert (await reading.read([worker("ann@x")], [entry]))[-1].unnamed_workers == 1, "also if it comes last"
    assert (await reading.read([worker("bob@x"), worker("\xa0ann@x"), entry]))[-1].unnamed_workers == 1
    assert (await reading.read([worker("ann@x")]))[-1].unnamed_workers == 0


@pytest.mark.parametrize("entry", [None, {"id": 5, "email": "ann@x"}])
async def test_a_list_of_only_unusable_entries_is_a_failed_read_and_not_an_empty_schedule(
    reading: Reading, entry: Any
) -> None:
    with pytest.raises(CoreUnavailableError):
        await reading.read([entry])
    with pytest.raises(CoreUnavailableError):
        await reading.read([worker("ann@x")], [entry] * (MOST_MALFORMED + 1))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("J", site_id="beta"), "site_id is not the site that was asked for"),
        (row("J", site_id=None), "site_id is missing or no text"),
        (row("J", subject=BrokenText("s3cret\\ud83d")), "subject holds broken characters"),
        (row("J", notes=5), "notes is not text"),
        (row("J", revision=1.0), "revision is missing or no whole number"),
        (row("J", revision="1"), "revision is missing or no whole number"),
        (row("J", status=BrokenText("cancelled\\ud83d")), "status holds broken characters"),
        (row("J", starts_at="0000-01-01T00:00:00Z"), "starts_at is not an RFC 3339 time"),
        (row("J", ends_at="9999-12-31T23:59:59-12:00"), "ends_at is out of range"),
        (row("J", ends_at="2026-12-01T24:00:00Z"), "ends_at is not an RFC 3339 time"),
        (row("J", starts_at="2026-12-01T10:00:00Z"), "ends_at is before starts_at"),
    ],
)
async def test_an_unusable_row_affects_only_its_own_event(reading: Reading, bad: dict[str, Any], reason: str) -> None:
    [ann, bob] = await reading.read([worker("ann@x", row("1"), bad, row("2")), worker("bob@x", row("3"))])
    assert (set(ann.jobs), ann.unusable, ann.nameless) == ({"1", "2"}, {"J": reason}, 0)
    assert set(bob.jobs) == {"3"}
    assert reading.found == {"row": 1}


@pytest.mark.parametrize(
    "bad", [None, 5, "J", [], {}, row(""), row("J") | {"job_id": None}, row("J") | {"job_id": BrokenText("J\\ud83d")}]
)
async def test_a_row_that_names_no_job_is_counted_for_its_mailbox(reading: Reading, bad: Any) -> None:
    [ann, bob] = await reading.read([worker("ann@x", row("1"), bad), worker("bob@x")])
    assert (set(ann.jobs), ann.unusable, ann.nameless, bob.nameless) == ({"1"}, {}, 1, 0)
    assert reading.found == {"row": 1}


@pytest.mark.parametrize("rows", [None, {}, "[]", 5])
async def test_jobs_that_are_not_a_list_are_unknown_and_not_empty(reading: Reading, rows: Any) -> None:
    [ann] = await reading.read([worker("ann@x") | {"jobs": rows}])
    assert (ann.jobs, ann.nameless) == ({}, 1)


async def test_a_worker_twice_fails_the_read(reading: Reading) -> None:
    with pytest.raises(CoreUnavailableError, match="twice"):
        await reading.read([worker("ann@x", worker_id="w")], [worker("ann@x", worker_id="w")])


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"workers": None, "next_cursor": None},
        {"workers": {}, "next_cursor": None},
        {"workers": "[]", "next_cursor": None},
        {"workers": []},
        {"workers": [], "next_cursor": ""},
        {"workers": [], "next_cursor": 5},
        {"workers": [], "next_cursor": False},
        {"workers": [], "next_cursor": BrokenText("\\ud83d")},
    ],
)
def test_a_page_of_another_shape_is_a_failed_read(document: dict[str, Any]) -> None:
    with pytest.raises(CoreUnavailableError):
        Page.of(document)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_of_two_rows_of_one_job_the_newer_revision_counts_in_any_order(
    reading: Reading, order: tuple[int, int]
) -> None:
    rows = [row("1", revision=revision, subject=f"revision {revision}") for revision in order]
    [read] = await reading.read([worker("ann@x", rows[0], worker_id="w1"), worker("ann@x", rows[1], worker_id="w2")])
    assert [(job.revision, job.subject) for job in read.jobs.values()] == [(2, "revision 2")]
