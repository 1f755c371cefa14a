"""The differences that a sweep finds in one mailbox between Core's list, the calendar's view and the links."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumer.domain.compare import ENTERED, NEWER_RANK_SECONDS, Difference, MailboxSnapshot, compare
from consumer.domain.event import RENDERING, EventSummary
from consumer.domain.job import CANCELLED, Job, rank
from consumer.domain.link import Link, Memory, Pending, Tombstone
from consumer.domain.timezones import UTC_ZONE, zone_for
from consumer.domain.window import Window

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
WINDOW = Window.of(NOW, 21)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
READ_BEGAN = 1_000_000.0


def job(start: datetime = NOW + DAY, revision: int = 5, **changes: object) -> Job:
    stated = Job("J1", "acme", revision, "scheduled", starts_at=start, ends_at=start + HOUR)
    return replace(stated, **changes)  # type: ignore[arg-type]


def link(start: datetime = NOW + DAY, **changes: object) -> Link:
    made = Link("E1", "etag-1", b"f" * 16, rank(5), start, start + HOUR, RENDERING, zone_mark=UTC_ZONE.mark)
    return replace(made, written_at=READ_BEGAN - 3600, **changes)  # type: ignore[arg-type]


def summary(start: datetime = NOW + DAY, **changes: Any) -> EventSummary:
    return EventSummary("E1", "etag-1", "acme/J1", single=True, end=start + HOUR)._replace(**changes)


def found(
    wanted: Job | None, memory: Memory | None, *summaries: EventSummary, unusable: tuple[str, ...] = ()
) -> list[Difference]:
    links = {} if memory is None else {"J1": memory}
    jobs = {} if wanted is None else {"J1": wanted}
    snapshot = MailboxSnapshot(UTC_ZONE, links, summaries)
    return compare("acme", jobs, unusable, snapshot, WINDOW, read_began=READ_BEGAN)


def test_an_event_that_is_as_it_was_written_does_not_differ() -> None:
    assert found(job(), link(), summary()) == []


@pytest.mark.parametrize(
    "seen",
    [{"etag": "etag-2"}, {"event_id": "E2"}, {"single": False}],
)
def test_an_event_that_changed_in_outlook_differs(seen: dict[str, Any]) -> None:
    event = summary(**seen)
    assert found(job(), link(), event) == [Difference("J1", job(), "edited", link(), (event.event_id,))]


@pytest.mark.parametrize(
    "memory",
    [
        link(rank=rank(4)),
        link(rank=rank(4, deleted=True)),
        link(rendering=RENDERING - 1),
        link(zone_mark=zone_for("Europe/London", "").mark),
        Pending("t1", rank(5)),
        Tombstone(rank(4)),
        None,
    ],
)
def test_an_event_that_was_written_from_another_state_differs(memory: Memory | None) -> None:
    assert found(job(), memory, summary()) == [Difference("J1", job(), "edited", memory, ("E1",))]


def test_an_event_that_a_newer_version_rendered_does_not_differ() -> None:
    assert found(job(), link(rendering=RENDERING + 1), summary()) == []


def test_every_event_with_the_tag_is_named_when_there_are_several() -> None:
    copy = summary(event_id="E2")
    assert found(job(), link(), summary(), copy) == [Difference("J1", job(), "copied", link(), ("E1", "E2"))]
    assert found(job(), None, copy, summary()) == [Difference("J1", job(), "copied", None, ("E2", "E1"))]


@pytest.mark.parametrize("tag", ["globex/J1", "acme", "acme/", "acme-2/J1", "acmeJ1", "/J1", "globex/acme/J1"])
def test_an_event_with_another_sites_tag_is_not_seen(tag: str) -> None:
    foreign = summary(tag=tag, etag="changed")
    assert found(None, None, foreign) == []
    assert found(job(), None, foreign) == [Difference("J1", job(), "missed", None, ())]
    assert found(job(), link(), foreign) == [Difference("J1", job(), "deleted", link(), ())]


def test_a_job_id_with_a_slash_is_read_whole() -> None:
    event = summary(tag="acme/J/1")
    assert found(None, None, event) == [Difference("J/1", None, "orphaned", None, ("E1",))]


def test_a_linked_event_that_the_view_does_not_show_was_deleted_and_another_was_missed() -> None:
    assert found(job(), link()) == [Difference("J1", job(), "deleted", link(), ())]
    for memory in (None, Pending("t1", rank(5)), Tombstone(rank(4))):
        assert found(job(), memory) == [Difference("J1", job(), "missed", memory, ())]


def test_a_job_that_just_came_into_the_window_entered_it() -> None:
    entered = job(WINDOW.end - ENTERED)
    assert found(entered, None) == [Difference("J1", entered, "entered", None, ())]
    earlier = job(WINDOW.end - ENTERED - timedelta(seconds=1))
    assert found(earlier, None) == [Difference("J1", earlier, "missed", None, ())]


@pytest.mark.parametrize(
    "outside",
    [
        job(WINDOW.end),
        job(NOW - HOUR),
        job(NOW - DAY),
        job(ends_at=None),
        job(status=CANCELLED),
    ],
)
def test_a_job_outside_the_window_or_without_times_does_not_differ(outside: Job) -> None:
    assert found(outside, None) == []


@pytest.mark.parametrize("inside", [job(WINDOW.end - timedelta(seconds=1)), job(NOW - timedelta(minutes=59))])
def test_a_job_that_overlaps_an_edge_of_the_window_is_in_it(inside: Job) -> None:
    [difference] = found(inside, None)
    assert difference.job == inside


def test_a_link_newer_than_cores_answer_is_left_alone_for_a_quarter_of_an_hour() -> None:
    for memory in (link(rank=rank(6)), Pending("t1", rank(6)), Tombstone(rank(5, deleted=True))):
        recent = replace(memory, written_at=READ_BEGAN - NEWER_RANK_SECONDS + 1)
        assert found(job(), recent) == []
        old = replace(memory, written_at=READ_BEGAN - NEWER_RANK_SECONDS)
        assert [difference.basis for difference in found(job(), old)] == [old]


def test_a_job_that_core_does_not_list_is_orphaned() -> None:
    assert found(None, link(), summary()) == [Difference("J1", None, "orphaned", link(), ("E1",))]
    assert found(None, None, summary()) == [Difference("J1", None, "orphaned", None, ("E1",))]
    assert found(None, link()) == [Difference("J1", None, "orphaned", link(), None)]
    assert found(None, Pending("t1", rank(5))) == [Difference("J1", None, "orphaned", Pending("t1", rank(5)), None)]


def test_a_link_written_after_core_was_read_is_not_orphaned() -> None:
    assert found(None, replace(link(), written_at=READ_BEGAN), summary()) == []
    assert found(None, replace(link(), written_at=READ_BEGAN - 0.001), summary()) != []


def test_a_job_with_an_unusable_row_is_left_out() -> None:
    assert found(None, link(), summary(etag="changed"), unusable=("J1",)) == []


def test_a_past_event_of_an_unlisted_job_is_history() -> None:
    over = NOW - 2 * HOUR
    assert found(None, link(over), summary(over)) == []
    assert found(None, None, summary(over)) == []
    assert found(None, link(over), summary()) == []  # a person moved it
    assert found(None, None, summary(NOW - HOUR)) != []  # it ends now
    assert found(None, None, summary(end=None)) != []  # when it ends is not known


def test_an_event_beyond_the_window_is_left_unless_it_came_into_view() -> None:
    beyond = WINDOW.end + HOUR
    assert found(None, link(beyond)) == []
    assert found(None, link(beyond), summary(beyond)) == []
    assert found(None, link(beyond), summary(etag="dragged")) == [
        Difference("J1", None, "orphaned", link(beyond), ("E1",))
    ]
