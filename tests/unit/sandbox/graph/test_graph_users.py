"""User actions in Outlook, and what Graph then shows."""

from typing import Any

import pytest

from tests.unit.sandbox.graph.client import MakeEvent, Outlook

ANN = "ann@acme.example"
IMMUTABLE = 'IdType="ImmutableId"'


async def viewed(outlook: Outlook) -> Any:
    return (await outlook.view(prefer=IMMUTABLE)).json()["value"]


async def duplicates(outlook: Outlook) -> Any:
    return (await outlook.control.stats())["duplicates"]


async def test_an_edit(outlook: Outlook, make_tagged: MakeEvent) -> None:
    made = (await outlook.create(make_tagged("acme/1"))).json()
    edited = await outlook.control.user_edit(ANN, {"subject": "mine", "categories": ["Red"]}, tag="acme/1")
    [seen] = await viewed(outlook)
    assert (seen["subject"], seen["categories"], seen["id"]) == ("mine", ["Red"], edited["id"])
    assert seen["changeKey"] != made["changeKey"]
    with pytest.raises(Exception, match="RequestBodyRead"):
        await outlook.control.user_edit(ANN, {"colour": "red"}, tag="acme/1")
    with pytest.raises(Exception, match="404"):
        await outlook.control.user_edit(ANN, {}, tag="acme/2")


@pytest.mark.parametrize("carries", [True, False])
async def test_a_copy_carries_the_tag_and_does_not_count_as_a_duplicate(
    outlook: Outlook, make_tagged: MakeEvent, carries: bool
) -> None:
    await outlook.control.set_switches(copy_carries_tag=carries)
    made = (await outlook.create(make_tagged("acme/1", transactionId="t"), prefer=IMMUTABLE)).json()
    copy = await outlook.control.user_copy(ANN, tag="acme/1")
    assert copy["id"] != made["id"]
    assert (copy["tag"], copy["transactionId"]) == ("acme/1" if carries else None, None)
    assert len(await viewed(outlook)) == 2
    assert await duplicates(outlook) == []


async def test_two_events_with_one_tag_are_a_duplicate(outlook: Outlook, make_tagged: MakeEvent) -> None:
    await outlook.create(make_tagged("acme/1"))
    await outlook.control.user_delete(ANN, tag="acme/1")
    await outlook.create(make_tagged("acme/1"))
    assert await duplicates(outlook) == []
    await outlook.create(make_tagged("ACME/1"))
    [duplicate] = await duplicates(outlook)
    assert (duplicate["mailbox"], duplicate["tag"]) == (ANN, "ACME/1")
    await outlook.control.reset_stats()
    assert await duplicates(outlook) == []


@pytest.mark.parametrize("found", [True, False])
async def test_a_deleted_event_is_in_deleted_items(outlook: Outlook, make_tagged: MakeEvent, found: bool) -> None:
    await outlook.control.set_switches(deleted_items_by_id=found)
    made = (await outlook.create(make_tagged("acme/1"), prefer=IMMUTABLE)).json()
    deleted = await outlook.control.user_delete(ANN, tag="acme/1")
    assert (deleted["in_deleted_items"], deleted["id"]) == (True, made["id"])
    assert await viewed(outlook) == []
    path = f"/events/{made['id']}"
    assert (await outlook.ask("GET", path, prefer=IMMUTABLE)).status_code == (200 if found else 404)
    assert (await outlook.ask("DELETE", path, prefer=IMMUTABLE)).status_code == (204 if found else 404)
    if not found:
        await outlook.control.user_restore(ANN, tag="acme/1")
        assert len(await viewed(outlook)) == 1


async def test_an_event_can_be_made_all_day(outlook: Outlook, make_tagged: MakeEvent) -> None:
    await outlook.create(make_tagged("acme/1"))
    await outlook.control.user_make_all_day(ANN, tag="acme/1")
    [seen] = await viewed(outlook)
    assert seen["isAllDay"]
    assert seen["start"]["dateTime"] == "2026-10-12T00:00:00.0000000"
    assert seen["end"]["dateTime"] == "2026-10-13T00:00:00.0000000"
    back = make_tagged("acme/1")
    back.pop("singleValueExtendedProperties")
    answer = await outlook.ask("PATCH", f"/events/{seen['id']}", back, prefer=IMMUTABLE)
    assert (answer.json()["isAllDay"], answer.json()["start"]["dateTime"][11:16]) == (False, "08:00")


async def test_a_series_shows_occurrences_in_place_of_its_master(outlook: Outlook, make_tagged: MakeEvent) -> None:
    made = (await outlook.create(make_tagged("acme/1"), prefer=IMMUTABLE)).json()
    await outlook.control.user_make_series(ANN, tag="acme/1", pattern="weekly", count=4)
    seen = await viewed(outlook)
    assert [each["start"]["dateTime"] for each in seen] == [
        "2026-10-12T08:00:00.0000000",
        "2026-10-19T08:00:00.0000000",
        "2026-10-26T09:00:00.0000000",  # winter time
    ]
    assert {(each["type"], each["seriesMasterId"]) for each in seen} == {("occurrence", made["id"])}
    [master] = (await outlook.ask("GET", "/events", prefer=IMMUTABLE)).json()["value"]
    assert (master["id"], master["type"]) == (made["id"], "seriesMaster")
    tokyo = {"dateTime": "2026-10-12T09:00:00", "timeZone": "Tokyo Standard Time"}
    answer = await outlook.ask("PATCH", f"/events/{made['id']}", {"start": tokyo}, prefer=IMMUTABLE)
    assert answer.json()["error"]["code"] == "ErrorPropertyValidationFailure"
    exception = await outlook.ask("PATCH", f"/events/{seen[0]['id']}", {"subject": "x"}, prefer=IMMUTABLE)
    assert exception.json()["type"] == "exception"
    assert (await outlook.ask("DELETE", f"/events/{made['id']}", prefer=IMMUTABLE)).status_code == 204
    assert await viewed(outlook) == []
    assert await outlook.control.events(ANN) == {ANN: []}


async def test_recurrence_null_ends_a_series(outlook: Outlook, make_tagged: MakeEvent) -> None:
    made = (await outlook.create(make_tagged("acme/1"), prefer=IMMUTABLE)).json()
    await outlook.control.user_make_series(ANN, tag="acme/1", pattern="daily", count=3)
    answer = await outlook.ask("PATCH", f"/events/{made['id']}", {"recurrence": None}, prefer=IMMUTABLE)
    assert (answer.json()["type"], answer.json()["recurrence"]) == ("singleInstance", None)
    assert len(await viewed(outlook)) == 1


async def test_a_persons_own_events_are_in_the_dump(
    outlook: Outlook, make_event: MakeEvent, make_tagged: MakeEvent
) -> None:
    await outlook.control.user_create(ANN, make_event(subject="Dentist"))
    await outlook.create(make_tagged("acme/1", transactionId="t1"))
    own, ours = (await outlook.control.events(ANN))[ANN]
    assert (own["subject"], own["tag"]) == ("Dentist", None)
    expected = {
        "location": "1 High Street",
        "start": "2026-10-12T08:00:00Z",
        "end": "2026-10-12T09:00:00Z",
        "isAllDay": False,
        "showAs": "busy",
        "isReminderOn": True,
        "reminderMinutesBeforeStart": 15,
        "sensitivity": "normal",
        "importance": "normal",
        "categories": [],
        "tag": "acme/1",
        "transactionId": "t1",
        "calendar": "Calendar",
        "in_deleted_items": False,
        "series": None,
    }
    assert expected.items() <= ours.items()


async def test_attendees_would_be_mailed_and_are_counted(outlook: Outlook, make_event: MakeEvent) -> None:
    attendee = {"emailAddress": {"address": "x@y.example", "name": "X"}, "type": "required"}
    await outlook.create(make_event(attendees=[attendee]))
    assert (await outlook.control.stats())["invitations"] == 1


async def test_a_purged_event_is_in_no_folder(outlook: Outlook, make_tagged: MakeEvent) -> None:
    await outlook.create(make_tagged("acme/1"))
    await outlook.control.act("purge", ANN, tag="acme/1")
    assert await outlook.control.events(ANN) == {ANN: []}


async def test_an_imported_event_has_new_ids_and_keeps_its_tag(outlook: Outlook, make_tagged: MakeEvent) -> None:
    made = (await outlook.create(make_tagged("acme/1"), prefer=IMMUTABLE)).json()
    imported = await outlook.control.act("reimport", ANN, tag="acme/1")
    assert imported["id"] != made["id"]
    assert (await outlook.ask("GET", f"/events/{made['id']}", prefer=IMMUTABLE)).status_code == 404
    assert [each["id"] for each in await viewed(outlook)] == [imported["id"]]
    assert imported["tag"] == "acme/1"
    assert await duplicates(outlook) == []


async def test_a_custom_zone_of_desktop_outlook(outlook: Outlook, make_tagged: MakeEvent) -> None:
    made = (await outlook.create(make_tagged("acme/1"), prefer=IMMUTABLE)).json()
    await outlook.control.act("custom_zone", ANN, tag="acme/1")
    [seen] = await viewed(outlook)
    assert (seen["originalStartTimeZone"], seen["start"]) == ("tzone://Microsoft/Custom", made["start"])
    path = f"/events/{made['id']}"
    own = {"dateTime": "2026-10-12T11:00:00", "timeZone": "tzone://Microsoft/Custom"}
    answer = await outlook.ask("PATCH", path, {"end": own}, prefer=IMMUTABLE)
    assert answer.json()["error"]["code"] == "TimeZoneNotSupportedException"
    utc = {"dateTime": "2026-10-12T11:00:00", "timeZone": "UTC"}
    assert (await outlook.ask("PATCH", path, {"end": utc}, prefer=IMMUTABLE)).json()["start"] == made["start"]
