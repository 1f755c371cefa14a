"""calendarView and /events: windows, pages, selected fields, tags."""

import pytest

from tests.unit.sandbox.graph.client import MakeEvent, Outlook

TAG = "String {7d0c3f5e-52a4-4c1b-9d55-0b1f5c2e9a60} Name CoreJob"
ANN = "ann@acme.example"


def at(start: str, end: str, zone: str = "UTC") -> dict[str, dict[str, str]]:
    return {
        "start": {"dateTime": start, "timeZone": zone},
        "end": {"dateTime": end, "timeZone": zone},
    }


@pytest.mark.parametrize(
    ("start", "end", "seen"),
    [
        ("2026-10-09T23:00:00", "2026-10-10T00:00:00", False),  # ends as the window starts
        ("2026-10-09T23:00:00", "2026-10-10T00:01:00", True),
        ("2026-10-10T00:00:00", "2026-10-10T00:00:00", True),
        ("2026-10-11T00:00:00", "2026-10-11T01:00:00", False),  # starts as the window ends
        ("2026-10-01T00:00:00", "2026-10-20T00:00:00", True),
    ],
)
async def test_a_view_shows_what_overlaps_the_window(
    outlook: Outlook, make_event: MakeEvent, start: str, end: str, seen: bool
) -> None:
    await outlook.create(make_event(**at(start, end)))
    for first, last in (
        ("2026-10-10T00:00:00Z", "2026-10-11T00:00:00Z"),
        ("2026-10-10T00:00:00", "2026-10-11T00:00:00"),
        ("2026-10-10T02:00:00+02:00", "2026-10-11T02:00:00+02:00"),
    ):
        value = (await outlook.view(first, last)).json()["value"]
        assert len(value) == seen


async def test_all_day_events_count_as_utc_midnights(outlook: Outlook, make_event: MakeEvent) -> None:
    day = at("2026-10-12T00:00:00", "2026-10-13T00:00:00", "Tokyo Standard Time")
    await outlook.create(make_event(isAllDay=True, **day))
    tokyo_day_before = ("2026-10-12T00:00:00+09:00", "2026-10-12T08:59:00+09:00")
    assert (await outlook.view(*tokyo_day_before)).json()["value"] == []
    assert len((await outlook.view("2026-10-12T23:00:00Z", "2026-10-12T23:30:00Z")).json()["value"]) == 1


async def test_windows_that_graph_refuses(outlook: Outlook) -> None:
    assert (await outlook.ask("GET", "/calendarView")).status_code == 400
    assert (await outlook.view(start="soon")).status_code == 400
    assert (await outlook.view("2026-10-02T00:00:00Z", "2026-10-01T00:00:00Z")).status_code == 400
    answer = await outlook.view("2026-01-01T00:00:00Z", "2030-12-31T00:00:01Z")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorInvalidRequest")
    assert "Maximum number of years: 5" in answer.json()["error"]["message"]
    assert (await outlook.view("2026-01-01T00:00:00Z", "2030-12-31T00:00:00Z")).status_code == 200


async def pages(outlook: Outlook, **params: str) -> list[list[str]]:
    answer, found = await outlook.view(params=params), []
    while True:
        page = answer.json()
        found.append([each["id"] for each in page["value"]])
        link = page.get("@odata.nextLink")
        if link is None:
            return found
        assert link.startswith(f"{outlook.url}/v1.0/users/{ANN}/calendarView?")
        answer = await outlook.http.get(link, headers={"Authorization": f"Bearer {outlook.token}"})


async def test_pages(outlook: Outlook, make_event: MakeEvent) -> None:
    for _ in range(23):
        await outlook.create(make_event())
    assert [len(page) for page in await pages(outlook)] == [10, 10, 3]
    assert [len(page) for page in await pages(outlook, **{"$top": "23"})] == [23]
    whole = {each for page in await pages(outlook, **{"$top": "7", "$select": "subject"}) for each in page}
    assert len(whole) == 23
    await outlook.control.set_switches(page_overlap=True)
    first, second, third = await pages(outlook)
    assert (first[-1], second[-1]) == (second[0], third[0])
    assert len({*first, *second, *third}) == 23


async def test_selected_fields(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.create(make_event())
    [item] = (await outlook.view(params={"$select": "subject,createdDateTime"})).json()["value"]
    assert item.keys() == {"@odata.etag", "id", "subject"}
    [item] = (await outlook.ask("GET", "/events", params={"$select": "createdDateTime"})).json()["value"]
    assert item.keys() == {"@odata.etag", "id", "createdDateTime"}
    for params in ({"$select": "colour"}, {"$expand": "attachments"}, {"$top": "0"}, {"$colour": "red"}):
        assert (await outlook.view(params=params)).status_code == 400


async def test_the_tag_is_returned_if_it_is_expanded_by_id(
    outlook: Outlook, make_event: MakeEvent, make_tagged: MakeEvent
) -> None:
    await outlook.create(make_event())
    made = (await outlook.create(make_tagged("acme/1"))).json()
    assert "singleValueExtendedProperties" not in made
    expand = {"$expand": f"singleValueExtendedProperties($filter=id eq '{TAG}')", "$select": "id"}
    untagged, item = (await outlook.view(params=expand)).json()["value"]
    assert untagged.keys() == {"@odata.etag", "id"}
    assert item["singleValueExtendedProperties"] == [{"id": TAG, "value": "acme/1"}]
    bare = {"$expand": "singleValueExtendedProperties"}
    assert all("singleValueExtendedProperties" not in e for e in (await outlook.view(params=bare)).json()["value"])
    one = await outlook.ask("GET", f"/events/{made['id']}", params=expand)
    assert one.json()["singleValueExtendedProperties"][0]["value"] == "acme/1"


@pytest.mark.parametrize(
    ("name", "test", "found"),
    [
        (TAG, "ep/value eq 'acme/O''Hara'", 1),
        (TAG, "ep/value eq 'ACME/o''hara'", 1),  # values ignore case
        (TAG.replace("CoreJob", "corejob"), "ep/value eq 'acme/O''Hara'", 0),  # names do not
        (TAG.replace("7d0c", "7D0C"), "ep/value eq 'acme/O''Hara'", 1),
        (TAG, "startswith(ep/value, 'acme/')", 1),
        (TAG, "contains(ep/value, 'x')", 0),
        (TAG, "ep/value ne 'acme/2'", 1),
    ],
)
async def test_events_are_found_by_their_tag(
    outlook: Outlook, make_event: MakeEvent, make_tagged: MakeEvent, name: str, test: str, found: int
) -> None:
    await outlook.create(make_event())
    await outlook.create(make_tagged("acme/O'Hara"))
    condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{name}' and {test})"
    answer = await outlook.ask("GET", "/events", params={"$filter": condition})
    assert answer.status_code == 200
    assert len(answer.json()["value"]) == found


async def test_filters_that_fail(outlook: Outlook) -> None:
    condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{TAG}' and ep/value eq '1')"
    answer = await outlook.view(params={"$filter": condition})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "ErrorInternalServerError")
    assert (await outlook.ask("GET", "/events", params={"$filter": "id eq 1"})).status_code == 400


async def test_the_view_shows_the_default_calendar_and_events_the_mailbox(
    outlook: Outlook, make_tagged: MakeEvent
) -> None:
    await outlook.create(make_tagged("acme/1"))
    moved = await outlook.control.user_move(ANN, "Private", tag="acme/1")
    assert (await outlook.view()).json()["value"] == []
    assert len((await outlook.ask("GET", "/events")).json()["value"]) == 1
    [private] = [
        key
        for key, name in outlook.world.tenants[next(iter(outlook.world.tenants))].mailboxes[ANN].calendars.items()
        if name == moved["calendar"]
    ]
    window = {"startDateTime": "2026-10-01", "endDateTime": "2026-10-31"}
    answer = await outlook.ask("GET", f"/calendars/{private}/calendarView", params=window)
    assert len(answer.json()["value"]) == 1
    assert (await outlook.ask("GET", "/calendar/events")).json()["value"] == []


async def test_order(outlook: Outlook, make_event: MakeEvent) -> None:
    for hour in (3, 1, 2):
        await outlook.create(make_event(**at(f"2026-10-12T0{hour}:00", f"2026-10-12T0{hour}:30")))
    value = (await outlook.view(params={"$orderby": "start/dateTime"})).json()["value"]
    assert [each["start"]["dateTime"][11:13] for each in value] == ["01", "02", "03"]


async def test_next_links_may_lead_to_another_origin_or_in_a_circle(outlook: Outlook, make_event: MakeEvent) -> None:
    for _ in range(3):
        await outlook.create(make_event())
    await outlook.control.set_switches(page_size=2, next_link_origin="https://graph.example")
    link = (await outlook.view()).json()["@odata.nextLink"]
    assert link.startswith(f"https://graph.example/v1.0/users/{ANN}/calendarView?")
    await outlook.control.set_switches(next_link_origin="", next_link_ring=True)
    headers = {"Authorization": f"Bearer {outlook.token}"}
    first = (await outlook.view()).json()
    second = (await outlook.http.get(first["@odata.nextLink"], headers=headers)).json()
    again = (await outlook.http.get(second["@odata.nextLink"], headers=headers)).json()
    assert (len(first["value"]), len(second["value"])) == (2, 1)
    assert again == first
