"""Creating, reading, changing and deleting single events."""

import re
from typing import Any

import pytest

from tests.unit.sandbox.graph.client import MakeEvent, Outlook

TENANT = "11111111-2222-4333-8444-555555555555"
IMMUTABLE = 'IdType="ImmutableId"'
KEYS = {
    "@odata.context", "@odata.etag", "id", "createdDateTime", "lastModifiedDateTime", "changeKey", "categories",
    "transactionId", "originalStartTimeZone", "originalEndTimeZone", "iCalUId", "reminderMinutesBeforeStart",
    "isReminderOn", "hasAttachments", "subject", "bodyPreview", "importance", "sensitivity", "isAllDay",
    "isCancelled", "isDraft", "isOrganizer", "responseRequested", "seriesMasterId", "showAs", "type", "webLink",
    "onlineMeetingUrl", "isOnlineMeeting", "onlineMeetingProvider", "allowNewTimeProposals", "hideAttendees",
    "recurrence", "onlineMeeting", "responseStatus", "body", "start", "end", "location", "locations", "attendees",
    "organizer",
}  # fmt: skip


async def test_an_event_comes_back_whole(outlook: Outlook, make_event: MakeEvent) -> None:
    answer = await outlook.create(make_event(transactionId="t1"))
    assert answer.status_code == 201
    made = answer.json()
    assert made.keys() == KEYS
    assert made["@odata.etag"] == f'W/"{made["changeKey"]}"'
    assert made["start"] == {"dateTime": "2026-10-12T08:00:00.0000000", "timeZone": "UTC"}
    assert made["originalStartTimeZone"] == "GMT Standard Time"
    assert made["location"]["displayName"] == "1 High Street"
    assert [each["displayName"] for each in made["locations"]] == ["1 High Street"]
    assert (made["transactionId"], made["type"], made["isDraft"]) == ("t1", "singleInstance", False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", made["createdDateTime"])
    assert answer.headers["request-id"]


async def test_properties_that_are_left_out_get_defaults(outlook: Outlook) -> None:
    made = (
        await outlook.create(
            {
                "start": {"dateTime": "2026-10-12T09:00", "timeZone": "UTC"},
                "end": {"dateTime": "2026-10-12T09:00", "timeZone": "UTC"},
            }
        )
    ).json()
    assert (made["isReminderOn"], made["reminderMinutesBeforeStart"], made["showAs"]) == (True, 15, "busy")
    assert (made["importance"], made["sensitivity"], made["transactionId"]) == ("normal", "normal", None)


async def test_bodies_come_back_rewritten(outlook: Outlook) -> None:
    made = (await outlook.create()).json()
    assert made["body"]["contentType"] == "html"
    assert made["body"]["content"].startswith("<html>\r\n<head>\r\n<meta ")
    assert "Notes: it's <b>hot</b>" in made["body"]["content"]
    assert made["bodyPreview"] == "Job: Boiler\r\nNotes: it's hot"
    answer = await outlook.ask("GET", f"/events/{made['id']}", prefer='outlook.body-content-type="text"')
    assert answer.json()["body"] == {"contentType": "text", "content": "Job: Boiler\r\nNotes: it's hot"}
    assert answer.headers["Preference-Applied"] == 'outlook.body-content-type="text"'


async def test_a_text_body_is_echoed_by_the_write_and_html_afterwards(outlook: Outlook, make_event: MakeEvent) -> None:
    body = {"contentType": "text", "content": "a & b\nc"}
    made = (await outlook.create(make_event(body=body))).json()
    assert made["body"] == body
    read = (await outlook.ask("GET", f"/events/{made['id']}")).json()["body"]
    assert read["contentType"] == "html"
    assert "a &amp; b<br>\r\nc" in read["content"]


@pytest.mark.parametrize("style", ["exchange", "minimal", "converted-text", "strange", "none"])
async def test_every_style_keeps_the_text(outlook: Outlook, style: str) -> None:
    await outlook.control.set_switches(body_style=style)
    await outlook.create()
    [held] = (await outlook.control.events())["ann@acme.example"]
    assert held["body_text"] == "Job: Boiler\r\nNotes: it's hot"
    assert ('<div class="x"><span>Job: Boiler</span></div>' in held["body"]) is (style == "strange")


@pytest.mark.parametrize(
    ("style", "lines"),
    [
        ("banner", [r"CAUTION: .+", "Job: Boiler", "Notes: it's hot"]),
        ("stamped", ["Job: Boiler", "Notes: it's hot", r"Item \d+"]),
        ("joined", ["Job: Boiler Notes: it's hot"]),
    ],
)
async def test_a_style_can_change_what_a_reader_sees(outlook: Outlook, style: str, lines: list[str]) -> None:
    await outlook.control.set_switches(body_style=style)
    await outlook.create()
    [held] = (await outlook.control.events())["ann@acme.example"]
    assert re.fullmatch("\r\n".join(lines), held["body_text"])


async def test_a_patch_changes_what_it_names(outlook: Outlook) -> None:
    made = (await outlook.create()).json()
    answer = await outlook.ask("PATCH", f"/events/{made['id']}", {"location": {"displayName": "Elsewhere"}})
    assert answer.status_code == 200
    changed = answer.json()
    assert changed["location"]["displayName"] == "Elsewhere"
    assert [each["displayName"] for each in changed["locations"]] == ["Elsewhere"]
    assert (changed["subject"], changed["id"]) == (made["subject"], made["id"])
    assert changed["changeKey"] != made["changeKey"]


async def test_a_deleted_event_is_not_found(outlook: Outlook) -> None:
    made = (await outlook.create()).json()
    assert (await outlook.ask("DELETE", f"/events/{made['id']}")).status_code == 204
    for method in ("DELETE", "GET"):
        answer = await outlook.ask(method, f"/events/{made['id']}")
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert error["code"] == "ErrorItemNotFound"
        assert error["innerError"].keys() == {"date", "request-id", "client-request-id"}


async def test_a_stale_etag_is_refused(outlook: Outlook) -> None:
    made = (await outlook.create()).json()
    path, stale = f"/events/{made['id']}", {"If-Match": made["@odata.etag"]}
    assert (await outlook.ask("PATCH", path, {"subject": "x"}, headers=stale)).status_code == 200
    for method, body in (("PATCH", {"subject": "y"}), ("DELETE", None)):
        answer = await outlook.ask(method, path, body, headers=stale)
        assert (answer.status_code, answer.json()["error"]["code"]) == (412, "ErrorIrresolvableConflict")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"colour": "red"}, "RequestBodyRead"),
        ({"body": {"contentType": "rtf", "content": ""}}, "RequestBodyRead"),
        ({"body": {"contentType": "html", "text": ""}}, "RequestBodyRead"),
        ({"showAs": "away"}, "RequestBodyRead"),
        ({"isAllDay": "no"}, "UnableToDeserializePostBody"),
        ({"start": "2026-10-12T09:00:00"}, "UnableToDeserializePostBody"),
        (
            {"start": {"dateTime": "2026-10-12T09:00:00+01:00", "timeZone": "GMT Standard Time"}},
            "ErrorInvalidRequest",
        ),
        ({"start": {"dateTime": "2026-10-12T09:00:00Z", "timeZone": "UTC"}}, "ErrorInvalidRequest"),
        ({"start": {"dateTime": "2026-10-12T09:00:00"}}, "TimeZoneNotSupportedException"),
        ({"start": {"dateTime": "2026-10-12T09:00:00", "timeZone": ""}}, "TimeZoneNotSupportedException"),
        (
            {"start": {"dateTime": "2026-10-12T09:00:00", "timeZone": "Europe/Amsterdam"}},
            "TimeZoneNotSupportedException",
        ),
        (
            {"end": {"dateTime": "2026-10-12T08:59:00", "timeZone": "GMT Standard Time"}},
            "ErrorPropertyValidationFailure",
        ),
        ({"isAllDay": True}, "ErrorInvalidRequest"),
        ({"singleValueExtendedProperties": [{"id": "CoreJob", "value": "1"}]}, "ErrorInvalidProperty"),
    ],
)
async def test_payloads_that_graph_refuses(
    outlook: Outlook, make_event: MakeEvent, change: dict[str, Any], code: str
) -> None:
    answer = await outlook.create(make_event(**change))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert await outlook.control.events() == {"ann@acme.example": [], "bob@acme.example": []}


async def test_a_patch_is_refused_whole(outlook: Outlook) -> None:
    made = (await outlook.create()).json()
    for change, code in (
        ({"transactionId": "t"}, "ErrorInvalidRequest"),
        ({"subject": "new", "start": {"dateTime": "2026-10-12T09:00:00"}}, "TimeZoneNotSupportedException"),
    ):
        answer = await outlook.ask("PATCH", f"/events/{made['id']}", change)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert (await outlook.ask("GET", f"/events/{made['id']}")).json()["changeKey"] == made["changeKey"]


@pytest.mark.parametrize(
    ("local", "zone", "instant"),
    [
        ("2026-10-25T01:30:00", "GMT Standard Time", "2026-10-25T00:30:00Z"),  # repeated: the first
        ("2026-03-29T01:30:00", "GMT Standard Time", "2026-03-29T01:30:00Z"),  # skipped: shifted forward
        ("2026-07-01T12:00:00", "Tokyo Standard Time", "2026-07-01T03:00:00Z"),
        ("2026-07-01T12:00:00", "Europe/Berlin", "2026-07-01T10:00:00Z"),
        ("2026-07-01T12:00:00", "Asia/Toshkent (Tashkent)", "2026-07-01T07:00:00Z"),
    ],
)
async def test_local_times(outlook: Outlook, make_event: MakeEvent, local: str, zone: str, instant: str) -> None:
    time = {"dateTime": local, "timeZone": zone}
    assert (await outlook.create(make_event(start=time, end=time))).status_code == 201
    [held] = (await outlook.control.events())["ann@acme.example"]
    assert (held["start"], held["end"]) == (instant, instant)


async def test_which_iana_names_a_body_may_have_is_a_switch(outlook: Outlook, make_event: MakeEvent) -> None:
    async def status(zone: str) -> int:
        time = {"dateTime": "2026-07-01T12:00:00", "timeZone": zone}
        return (await outlook.create(make_event(start=time, end=time))).status_code

    assert await status("Europe/Zurich") == 400
    await outlook.control.set_switches(iana_in_bodies="all")
    assert await status("Europe/Zurich") == 201
    await outlook.control.set_switches(iana_in_bodies="none")
    assert await status("Europe/Berlin") == 400


async def test_prefer_on_several_lines_and_on_one(outlook: Outlook) -> None:
    made = (await outlook.create(prefer=IMMUTABLE)).json()
    zone = 'outlook.timezone="Tokyo Standard Time"'
    for prefer in ([zone, IMMUTABLE], f"{IMMUTABLE}, {zone}"):
        answer = await outlook.ask("GET", f"/events/{made['id']}", prefer=prefer)
        expected = {"dateTime": "2026-10-12T17:00:00.0000000", "timeZone": "Tokyo Standard Time"}
        assert answer.json()["start"] == expected
        assert answer.headers["Preference-Applied"] == zone
    answer = await outlook.ask("GET", f"/events/{made['id']}", prefer='outlook.timezone="Mars"')
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "TimeZoneNotSupportedException")
    assert "'Mars'" in answer.json()["error"]["message"]


async def test_ids_come_in_two_formats(outlook: Outlook) -> None:
    regular = (await outlook.create()).json()["id"]
    [held] = (await outlook.control.events())["ann@acme.example"]
    immutable = held["id"]
    assert regular != immutable
    assert (await outlook.ask("GET", f"/events/{immutable}", prefer=IMMUTABLE)).json()["id"] == immutable
    assert (await outlook.ask("GET", f"/events/{immutable.replace('=', '%3D')}")).status_code == 400
    for event_id, mailbox in ((immutable, "bob@acme.example"), ("nonsense", "ann@acme.example")):
        answer = await outlook.ask("GET", f"/events/{event_id}", prefer=IMMUTABLE, mailbox=mailbox)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ErrorInvalidIdMalformed")
    await outlook.control.user_move("ann@acme.example", "Private", event_id=immutable)
    assert (await outlook.ask("GET", f"/events/{regular}")).status_code == 404
    assert (await outlook.ask("GET", f"/events/{immutable}", prefer=IMMUTABLE)).status_code == 200


async def test_all_day_events_have_no_zone(outlook: Outlook, make_event: MakeEvent) -> None:
    day = {"start": {"dateTime": "2026-10-12T00:00:00", "timeZone": "Tokyo Standard Time"}}
    day["end"] = {"dateTime": "2026-10-13T00:00:00", "timeZone": "Tokyo Standard Time"}
    made = (await outlook.create(make_event(isAllDay=True, **day))).json()
    tokyo = 'outlook.timezone="Tokyo Standard Time"'
    for prefer in ((), tokyo):
        read = (await outlook.ask("GET", f"/events/{made['id']}", prefer=prefer)).json()
        assert read["start"]["dateTime"] == "2026-10-12T00:00:00.0000000"
    short = dict(day["start"], dateTime="2026-10-12T00:00:00")
    answer = await outlook.ask("PATCH", f"/events/{made['id']}", {"end": short})
    assert answer.json()["error"]["code"] == "ErrorPropertyValidationFailure"


async def test_a_background_write_bumps_the_change_key(outlook: Outlook) -> None:
    await outlook.control.set_switches(background_bumps=2)
    made = (await outlook.create()).json()
    read = (await outlook.ask("GET", f"/events/{made['id']}")).json()
    assert read["changeKey"] != made["changeKey"]
    ignored = {"@odata.etag", "changeKey", "lastModifiedDateTime"}
    assert {k: v for k, v in read.items() if k not in ignored} == {k: v for k, v in made.items() if k not in ignored}


async def test_addresses_ignore_case_and_may_be_encoded(outlook: Outlook) -> None:
    assert (await outlook.create(mailbox="ANN%40Acme.example")).status_code == 201
    guid = (await outlook.control.tenants())[TENANT]["mailboxes"]["ann@acme.example"]["guid"]
    assert len((await outlook.ask("GET", "/events", mailbox=guid)).json()["value"]) == 1


async def test_an_alias_leads_to_the_same_mailbox(outlook: Outlook) -> None:
    await outlook.control.set_mailbox(TENANT, "ann@acme.example", aliases=["Annie@acme.example"])
    made = (await outlook.create(mailbox="annie@ACME.example")).json()
    assert (await outlook.ask("GET", f"/events/{made['id']}")).status_code == 200
    assert list(await outlook.control.events()) == ["ann@acme.example", "bob@acme.example"]


async def test_a_body_must_be_json(outlook: Outlook) -> None:
    headers = {"Authorization": f"Bearer {outlook.token}"}
    url = "/v1.0/users/ann@acme.example/events"
    for kind, content in (("text/plain", b"{}"), ("application/json", b"{")):
        answer = await outlook.http.post(url, content=content, headers={**headers, "Content-Type": kind})
        assert answer.status_code == 400
    assert (await outlook.http.get("/v1.0/me/events", headers=headers)).status_code == 400
    assert (await outlook.http.get("/v1.0/groups/1/events", headers=headers)).status_code == 400
    assert (await outlook.ask("GET", "")).json()["error"]["code"] == "Authorization_RequestDenied"
    assert (await outlook.ask("PUT", "/events")).status_code == 405


async def test_zones_that_a_write_may_not_name(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.control.set_switches(zones_refused_in_bodies="Fiji Standard Time,GMT Standard Time")
    answer = await outlook.create(make_event())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "TimeZoneNotSupportedException")
    assert "'GMT Standard Time'" in answer.json()["error"]["message"]
    time = {"dateTime": "2026-07-01T12:00:00", "timeZone": "UTC"}
    assert (await outlook.create(make_event(start=time, end=time))).status_code == 201
    preferred = await outlook.ask("GET", "/events", prefer='outlook.timezone="GMT Standard Time"')
    assert preferred.status_code == 200


async def test_the_default_reminder_is_a_switch(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.control.set_switches(default_reminder_minutes=30)
    unset = make_event()
    unset.pop("reminderMinutesBeforeStart")
    assert (await outlook.create(unset)).json()["reminderMinutesBeforeStart"] == 30
    assert (await outlook.create()).json()["reminderMinutesBeforeStart"] == 15


@pytest.mark.parametrize(
    ("style", "code"), [("documented", "ErrorItemNotFound"), ("camel", "errorItemNotFound"), ("bare", "ItemNotFound")]
)
async def test_how_codes_are_spelt_is_a_switch(outlook: Outlook, style: str, code: str) -> None:
    made = (await outlook.create()).json()
    await outlook.ask("DELETE", f"/events/{made['id']}")
    await outlook.control.set_switches(code_style=style)
    assert (await outlook.ask("GET", f"/events/{made['id']}")).json()["error"]["code"] == code
    request = {"id": "1", "method": "GET", "url": f"/users/ann@acme.example/events/{made['id']}"}
    [inner] = (await outlook.batch(request)).json()["responses"]
    assert inner["body"]["error"]["code"] == code


@pytest.mark.parametrize(
    ("switch", "zone", "time"),
    [
        ("preferred", "UTC", "2026-10-12T08:00:00.0000000"),
        ("sent", "GMT Standard Time", "2026-10-12T09:00:00.0000000"),
        ("mailbox", "Tokyo Standard Time", "2026-10-12T17:00:00.0000000"),
    ],
)
async def test_the_zone_of_the_answer_to_a_write(outlook: Outlook, switch: str, zone: str, time: str) -> None:
    await outlook.control.set_mailbox(TENANT, "ann@acme.example", time_zone="Tokyo Standard Time")
    await outlook.control.set_switches(answer_zone=switch)
    made = (await outlook.create()).json()
    changed = (await outlook.ask("PATCH", f"/events/{made['id']}", {"subject": "x"})).json()
    for answer in (made, changed):
        assert answer["start"] == {"dateTime": time, "timeZone": zone}
    read = (await outlook.ask("GET", f"/events/{made['id']}")).json()
    assert read["start"] == {"dateTime": "2026-10-12T08:00:00.0000000", "timeZone": "UTC"}
