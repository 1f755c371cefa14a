"""The plan: each line of its table, and rules that hold for every plan."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.domain.event import RENDERING, Event, RemoteEvent
from consumer.domain.job import Job, rank
from consumer.domain.link import Link, Memory, Pending, Tombstone
from consumer.domain.plan import Adopt, Create, Delete, Leave, Plan, Remake, Situation, Update, plan
from consumer.domain.render import render
from consumer.domain.timezones import UTC_ZONE, mark, zone_for
from consumer.domain.window import Window

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
WINDOW = Window.of(NOW, 21)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def event(start: datetime = NOW + DAY, end: datetime | None = None, subject: str = "Lift") -> Event:
    return render(Job("J-1", "acme", 1, "scheduled", subject=subject), start, end or start + HOUR, UTC_ZONE)


def seen(shown: Event, event_id: str = "E1", subject: str | None = None, *, single: bool = True) -> RemoteEvent:
    return RemoteEvent(
        event_id=event_id,
        etag="etag",
        tag="acme/J-1",
        subject=shown.subject if subject is None else subject,
        location=shown.location,
        body=f"<html><body>{shown.body}</body></html>",
        start=shown.start,
        end=shown.end,
        is_all_day=False,
        show_as="busy",
        is_reminder_on=True,
        reminder_minutes=15,
        sensitivity="normal",
        importance="normal",
        single=single,
    )


def link(to: Event, event_id: str = "E1", at: int = rank(5), rendering: int = RENDERING) -> Link:
    return Link(event_id, "etag", to.fingerprint(), at, to.start, to.end, rendering, zone_mark=mark(to.zone))


def decide(
    wanted: Event | None, memory: Memory | None, found: tuple[RemoteEvent, ...] | None = None, at: int = rank(5)
) -> Plan:
    return plan(Situation(wanted, at, memory, found), WINDOW)


LIFT = event()
HOIST = event(subject="Hoist")
OVER = event(NOW - 2 * HOUR)
PENDING = Pending("t1", rank(5))
TOMBSTONE = Tombstone(rank(4))


def test_an_unwanted_assignment_without_an_event_is_left() -> None:
    for memory in (None, PENDING, TOMBSTONE):
        for found in (None, ()):
            assert decide(None, memory, found) == Plan(Leave())


def test_an_unwanted_linked_event_is_deleted() -> None:
    assert decide(None, link(LIFT)) == Plan(Delete(("E1",)))
    assert decide(None, link(LIFT), ()) == Plan(Delete(("E1",)))


def test_every_event_of_an_unwanted_assignment_is_deleted() -> None:
    found = (seen(LIFT, "E2"), seen(LIFT, "E1"), seen(HOIST, "E3"))
    assert decide(None, link(LIFT), found) == Plan(Delete(("E1", "E2", "E3")))
    assert decide(None, PENDING, found) == Plan(Delete(("E2", "E1", "E3")))


@pytest.mark.parametrize("memory", [None, PENDING, TOMBSTONE])
def test_an_event_that_shows_what_is_wanted_is_adopted(memory: Memory | None) -> None:
    assert decide(LIFT, memory, (seen(LIFT),)) == Plan(Adopt(seen(LIFT), LIFT))


@pytest.mark.parametrize("memory", [None, PENDING, TOMBSTONE, link(LIFT, "E1")])
def test_an_event_that_differs_is_updated(memory: Memory | None) -> None:
    assert decide(LIFT, memory, (seen(LIFT, subject="Mine"),)) == Plan(Update("E1", LIFT))


def test_of_several_events_the_linked_one_stays() -> None:
    found = (seen(LIFT, "A"), seen(HOIST, "E1"), seen(LIFT, "Z"))
    assert decide(LIFT, link(LIFT), found) == Plan(Update("E1", LIFT), ("A", "Z"))
    assert decide(HOIST, link(LIFT), found) == Plan(Adopt(found[1], HOIST), ("A", "Z"))


def test_of_several_unlinked_events_every_replica_keeps_the_same_one() -> None:
    found = (seen(LIFT, "B"), seen(LIFT, "A"))
    for memory in (None, PENDING):
        for order in (found, found[::-1]):
            assert decide(LIFT, memory, order) == Plan(Adopt(found[1], LIFT), ("B",))


def test_of_several_unlinked_events_the_oldest_stays() -> None:
    young, old = (
        replace(seen(LIFT, event_id, subject="Mine"), created=NOW - age)
        for event_id, age in (("A", DAY), ("B", 2 * DAY))
    )
    ageless = seen(LIFT, "0")
    for memory in (None, PENDING):
        for found in ((young, old, ageless), (ageless, old, young)):
            planned = decide(LIFT, memory, found)
            assert planned.step == Update("B", LIFT)
            assert set(planned.surplus) == {"A", "0"}
    assert decide(LIFT, link(LIFT, "A"), (young, old)) == Plan(Update("A", LIFT), ("B",))


def test_another_event_replaces_a_linked_one_that_is_gone() -> None:
    found = (seen(LIFT, "B"), seen(LIFT, "A"))
    assert decide(LIFT, link(LIFT, "gone"), found) == Plan(Adopt(found[1], LIFT), ("gone", "B"))


def test_an_event_written_in_another_zone_is_updated() -> None:
    london = zone_for("Europe/London", "")
    moved = render(Job("J-1", "acme", 1, "scheduled", subject="Lift"), LIFT.start, LIFT.end, london)
    assert decide(moved, link(LIFT), (seen(LIFT),)) == Plan(Update("E1", moved))
    assert decide(moved, link(moved), (seen(LIFT),)) == Plan(Adopt(seen(LIFT), moved))


def test_an_event_that_both_zones_write_in_utc_is_not_updated() -> None:
    in_either = replace(link(LIFT), zone_mark=zone_for("Europe/London", "").mark)
    assert decide(LIFT, in_either, (seen(LIFT),)) == Plan(Adopt(seen(LIFT), LIFT))


def test_a_series_is_never_kept() -> None:
    assert decide(LIFT, link(LIFT), (seen(LIFT, single=False),)) == Plan(Remake(("E1",)))
    assert decide(LIFT, None, (seen(LIFT, "S", single=False), seen(LIFT, "A"))) == Plan(
        Adopt(seen(LIFT, "A"), LIFT), ("S",)
    )


def test_an_event_that_graph_rewrites_is_not_repaired_again() -> None:
    strange = seen(LIFT, subject="As Graph likes it")
    settled = replace(link(LIFT), settled=strange.digest())
    assert decide(LIFT, settled, (strange,)) == Plan(Leave(unsettled=True))
    assert decide(HOIST, settled, (strange,)) == Plan(Update("E1", HOIST))
    assert decide(LIFT, settled, (seen(LIFT, subject="A person's"),)) == Plan(Update("E1", LIFT))


def test_the_links_fingerprint_decides_if_the_calendar_was_not_read() -> None:
    assert decide(LIFT, link(LIFT)) == Plan(Leave())
    assert decide(HOIST, link(LIFT)) == Plan(Update("E1", HOIST))
    assert decide(LIFT, link(LIFT).unsure()) == Plan(Update("E1", LIFT))


def test_a_linked_event_is_updated_outside_the_window_too() -> None:
    far = event(NOW + 100 * DAY)
    assert decide(far, link(LIFT)) == Plan(Update("E1", far))


def test_an_older_replica_does_not_rewrite_what_a_newer_one_rendered_of_the_same_state() -> None:
    newer = link(HOIST, rendering=RENDERING + 1)
    assert decide(LIFT, newer) == Plan(Leave())
    assert decide(LIFT, newer, at=rank(6)) == Plan(Update("E1", LIFT))


@pytest.mark.parametrize("memory", [None, PENDING, TOMBSTONE])
@pytest.mark.parametrize("found", [None, ()])
def test_an_event_is_created_only_in_the_window(memory: Memory | None, found: tuple[RemoteEvent, ...] | None) -> None:
    assert decide(LIFT, memory, found) == Plan(Create(LIFT))
    assert decide(event(NOW, NOW), memory, found).step == Create(event(NOW, NOW))
    for outside in (event(NOW + 21 * DAY), OVER, event(NOW - HOUR, NOW)):
        assert decide(outside, memory, found) == Plan(Leave())


def test_a_linked_event_that_is_gone_is_remade() -> None:
    assert decide(LIFT, link(LIFT), ()) == Plan(Remake(("E1",)))


def out_of_view(
    memory: Link, *found: RemoteEvent, wanted: Event | None = LIFT, disowned: bool = False, at: int = rank(5)
) -> Plan:
    return plan(Situation(wanted, at, memory, found, out_of_view=True, disowned=disowned), WINDOW)


DRAGGED = event(NOW + 60 * DAY)


def test_a_linked_event_out_of_view_is_updated() -> None:
    assert out_of_view(link(LIFT), seen(DRAGGED)) == Plan(Update("E1", LIFT))
    assert out_of_view(link(HOIST), seen(HOIST)) == Plan(Update("E1", LIFT))


def test_a_linked_event_out_of_view_that_shows_what_is_wanted_is_adopted() -> None:
    assert out_of_view(link(LIFT), seen(LIFT)) == Plan(Adopt(seen(LIFT), LIFT, is_shown=False))


def test_a_linked_event_out_of_view_that_is_gone_or_a_series_is_remade() -> None:
    assert out_of_view(link(LIFT)) == Plan(Remake(("E1",)))
    assert out_of_view(link(LIFT), seen(DRAGGED, single=False)) == Plan(Remake(("E1",)))


def test_another_event_with_the_tag_replaces_a_linked_one_out_of_view() -> None:
    old, young = (replace(seen(DRAGGED, name), created=NOW - age) for name, age in (("B", 2 * DAY), ("A", DAY)))
    assert out_of_view(link(LIFT), young, old) == Plan(Update("B", LIFT), ("E1", "A"))
    series = seen(DRAGGED, single=False)
    assert out_of_view(link(LIFT), series, seen(LIFT, "A")) == Plan(
        Adopt(seen(LIFT, "A"), LIFT, is_shown=False), ("E1",)
    )


def test_a_linked_event_without_our_tag_is_neither_changed_nor_deleted() -> None:
    assert out_of_view(link(LIFT), disowned=True) == Plan(Remake(()))
    assert out_of_view(link(LIFT), seen(DRAGGED, "A"), disowned=True) == Plan(Update("A", LIFT))
    assert out_of_view(link(LIFT), wanted=None, disowned=True) == Plan(Leave())


def test_an_event_out_of_view_outside_the_window_is_left() -> None:
    assert out_of_view(link(DRAGGED), seen(DRAGGED), wanted=DRAGGED) == Plan(Leave())
    assert out_of_view(link(OVER), seen(DRAGGED), wanted=OVER) == Plan(Leave())


def test_a_newer_state_makes_this_one_stale() -> None:
    for memory in (link(LIFT, at=rank(6)), Pending("t1", rank(6)), Tombstone(rank(6))):
        for wanted in (None, HOIST):
            assert decide(wanted, memory, (seen(LIFT),)) == Plan(Leave(stale=True))


def test_a_tombstone_stops_states_of_its_own_rank_and_a_link_does_not() -> None:
    assert decide(LIFT, Tombstone(rank(5))) == Plan(Leave(stale=True))
    assert decide(LIFT, Tombstone(rank(5, deleted=True))) == Plan(Leave(stale=True))
    assert decide(None, Tombstone(rank(5))) == Plan(Leave())
    assert decide(HOIST, link(LIFT, at=rank(5))) == Plan(Update("E1", HOIST))


def test_a_deletion_is_newer_than_the_state_it_removed() -> None:
    assert decide(None, link(LIFT, at=rank(5)), at=rank(5, deleted=True)) == Plan(Delete(("E1",)))


@pytest.mark.parametrize("found", [None, (), (seen(OVER), seen(OVER, "E2", subject="Mine"))])
@pytest.mark.parametrize("wanted", [None, OVER, event(NOW - 3 * HOUR, subject="Hoist")])
def test_a_past_event_stays_as_history(wanted: Event | None, found: tuple[RemoteEvent, ...] | None) -> None:
    assert decide(wanted, link(OVER), found) == Plan(Leave())


def test_a_past_event_that_core_moves_to_a_later_time_is_updated() -> None:
    assert decide(LIFT, link(OVER)) == Plan(Update("E1", LIFT))


def test_a_future_event_that_core_moves_into_the_past_is_updated() -> None:
    assert decide(OVER, link(LIFT)) == Plan(Update("E1", OVER))


@pytest.mark.parametrize(
    "edit",
    [
        {"subject": "Mine"},
        {"location": "Elsewhere"},
        {"body": "Mine"},
        {"start": NOW},
        {"end": None},
        {"is_all_day": True},
        {"show_as": "free"},
        {"is_reminder_on": False},
        {"reminder_minutes": 30},
        {"sensitivity": "private"},
        {"importance": "high"},
        {"single": False},
    ],
)
def test_an_edit_of_any_owned_field_is_seen(edit: dict[str, Any]) -> None:
    edited = replace(seen(LIFT), **edit)
    assert seen(LIFT).reads_as(LIFT)
    assert not edited.reads_as(LIFT)
    assert edited.digest() != seen(LIFT).digest()


def test_an_invisible_difference_does_not_count_as_an_edit() -> None:
    same = replace(seen(LIFT), etag="other", body=LIFT.body + "\r\n<br>", show_as="Busy", importance="Normal")
    assert same.reads_as(LIFT)
    assert same.digest() == seen(LIFT).digest()


TIMES = st.sampled_from([NOW - 3 * HOUR, NOW - HOUR, NOW, NOW + DAY, NOW + 20 * DAY, NOW + 30 * DAY])
EVENTS = st.builds(event, TIMES, subject=st.sampled_from(["Lift", "Hoist"]))
RANKS = st.integers(0, 6)
IDS = st.sampled_from(["A", "B", "C", "D"])
LINKS = st.builds(link, EVENTS, IDS, RANKS, st.sampled_from([RENDERING, RENDERING + 1]))
MEMORIES = st.none() | LINKS | st.builds(Pending, st.just("t1"), RANKS) | st.builds(Tombstone, RANKS)
FOUND = st.none() | st.lists(
    st.builds(seen, EVENTS, IDS, st.none() | st.just("Mine")), max_size=4, unique_by=lambda found: found.event_id
).map(tuple)
SITUATIONS = st.builds(
    Situation,
    st.none() | EVENTS,
    RANKS,
    MEMORIES,
    FOUND,
    out_of_view=st.booleans(),
    disowned=st.booleans(),
)


def test_a_dry_run_prints_what_a_plan_changes_in_outlook() -> None:
    assert Plan(Leave(stale=True)).word == Plan(Leave()).word == Plan(Adopt(seen(LIFT), LIFT)).word == ""
    assert Plan(Leave(unsettled=True), ("A",)).word == Plan(Adopt(seen(LIFT), LIFT), ("A",)).word == "delete the copy"
    assert Plan(Create(LIFT)).word == "create"
    assert Plan(Update("E1", LIFT), ("A",)).word == "update"
    assert Plan(Delete(("E1", "A"))).word == "delete"
    assert Plan(Remake(("E1",))).word == Plan(Adopt(seen(LIFT), LIFT, is_shown=False), ("A",)).word == "remake"


def touched(planned: Plan) -> set[str]:
    """The events that the plan writes to."""
    match planned.step:
        case Update(event_id, _):
            return {event_id, *planned.surplus}
        case Delete(event_ids) | Remake(event_ids):
            return {*event_ids, *planned.surplus}
    return set(planned.surplus)


def deleted(planned: Plan) -> list[str]:
    return [*(planned.step.event_ids if isinstance(planned.step, Delete) else ()), *planned.surplus]


@given(SITUATIONS)
def test_nothing_is_touched_that_was_neither_linked_nor_seen(situation: Situation) -> None:
    known = {found.event_id for found in situation.seen or ()}
    if isinstance(situation.memory, Link):
        known.add(situation.memory.event_id)
    assert touched(plan(situation, WINDOW)) <= known


@given(SITUATIONS)
def test_at_most_one_of_the_seen_events_is_kept_and_exactly_one_if_it_is_wanted(situation: Situation) -> None:
    planned = plan(situation, WINDOW)
    gone = deleted(planned)
    assert len(gone) == len(set(gone))
    if isinstance(planned.step, Leave):
        assert gone == []
        return
    kept = {found.event_id for found in situation.seen or ()} - set(gone)
    if isinstance(planned.step, Delete):
        assert kept == set()
    elif isinstance(planned.step, Create):
        assert not situation.seen
    elif situation.seen:
        assert isinstance(planned.step, Adopt | Update)
        assert kept == {planned.step.found.event_id if isinstance(planned.step, Adopt) else planned.step.event_id}


@given(SITUATIONS)
def test_a_stale_state_or_a_past_event_writes_nothing(situation: Situation) -> None:
    memory, wanted = situation.memory, situation.wanted
    stale = memory is not None and memory.rank > situation.rank
    past = isinstance(memory, Link) and memory.end < NOW and (wanted is None or wanted.end < NOW)
    if stale or past:
        planned = plan(situation, WINDOW)
        assert isinstance(planned.step, Leave)
        assert touched(planned) == set()


@given(SITUATIONS)
def test_nothing_is_created_for_a_job_that_is_over_or_beyond_the_window(situation: Situation) -> None:
    planned = plan(situation, WINDOW)
    if isinstance(planned.step, Create):
        assert WINDOW.holds(planned.step.event.start, planned.step.event.end)
    if isinstance(planned.step, Create | Update | Adopt):
        assert planned.step.event is situation.wanted


@given(SITUATIONS)
def test_a_second_plan_after_the_first_one_writes_nothing(situation: Situation) -> None:
    planned = plan(situation, WINDOW)
    memory: Memory | None = situation.memory
    found: tuple[RemoteEvent, ...] = ()
    match planned.step:
        case Leave() | Remake():
            return
        case Delete():
            memory = Tombstone(situation.rank)
        case Create(made):
            memory, found = link(made, "new", situation.rank), (seen(made, "new"),)
        case Update(event_id, made):
            memory, found = link(made, event_id, situation.rank), (seen(made, event_id),)
        case Adopt(kept, made):
            memory, found = link(made, kept.event_id, situation.rank), (kept,)
    for sweep_view in (None, found):
        again = plan(replace(situation, memory=memory, seen=sweep_view, out_of_view=False), WINDOW)
        assert isinstance(again.step, Leave | Adopt)
        assert touched(again) == set()


def test_a_forced_state_wins_over_a_newer_rank() -> None:
    for memory in (link(HOIST, at=rank(9)), Tombstone(rank(9)), Pending("t1", rank(9))):
        assert plan(Situation(LIFT, rank(5), memory), WINDOW) == Plan(Leave(stale=True))
        assert plan(Situation(LIFT, rank(5), memory, forced=True), WINDOW) != Plan(Leave(stale=True))
    assert plan(Situation(LIFT, rank(5), link(HOIST, at=rank(9)), forced=True), WINDOW) == Plan(Update("E1", LIFT))
    assert plan(Situation(None, rank(5), link(HOIST, at=rank(9)), forced=True), WINDOW) == Plan(Delete(("E1",)))
