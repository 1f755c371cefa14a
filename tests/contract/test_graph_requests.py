"""The service's requests to Entra and Graph, checked against our own rules and against Microsoft's description.

The service's own client makes every kind of request once here. tests/company.py checks the requests of the integration
tests against the same rules.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiohttp.test_utils import TestServer

from consumer.domain.errors import CalsyncError
from consumer.domain.event import tag
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.domain.render import render
from consumer.domain.site import Site
from consumer.domain.timezones import zone_for
from consumer.graph.calendars import GraphCalendar, GraphCalendars
from consumer.sync.lease import Lease
from sandbox.control import GraphControl, Secret
from sandbox.graph.app import build
from sandbox.graph.world import World
from tests.company import keeps_the_contract
from tests.contract.graph_description import VARIABLE, Description, description
from tests.contract.graph_rules import TAG, breaches, calls

ANN = "ann@acme.example"
ODD = "o'hara+jobs~zoë@acme.example"
"""An address with many characters that must be encoded."""
START = datetime(2026, 11, 30, 9, tzinfo=UTC)


class Meter:
    def request(self, operation: str, status: str) -> None: ...

    def exchange(self, operation: str, seconds: float) -> None: ...

    def throttled(self) -> None: ...


@dataclass
class Outlook:
    """Two mailboxes in the sandbox, and the service's own client."""

    control: GraphControl
    calendars: GraphCalendars
    site: Site

    def open(self, address: str) -> GraphCalendar:
        lease = Lease(self.site.app, Mailbox("acme", address), "token", time.monotonic())
        return self.calendars.open(self.site, lease)

    async def recorded(self) -> list[dict[str, Any]]:
        recorded = await self.control.recording()
        assert recorded
        return recorded


@pytest.fixture
async def outlook() -> AsyncIterator[Outlook]:
    async with TestServer(build(World())) as server, GraphControl(str(server.make_url("")).rstrip("/")) as control:
        await control.add_app("tenant", "app", [Secret("secret")])
        await control.add_mailboxes("tenant", [ANN, ODD])
        await control.record(on=True)
        calendars = GraphCalendars(f"{control.url}/v1.0", control.url, None, Meter())
        yield Outlook(control, calendars, Site("acme", "Acme", "Europe/London", "tenant", "app", "secret"))
        await calendars.close()


async def everything(outlook: Outlook, address: str, zone: str) -> None:
    """Each kind of request, with the longest and strangest texts that Core may send."""
    job = Job(
        "J'1/2 ü",
        "acme",
        7,
        "scheduled",
        subject="Boiler\nand more",
        client_name="N" * 300,
        address="1 High Street\r\nLeeds 😀",
        notes="<b>&\x00" * 9000,
        starts_at=START,
        ends_at=START + timedelta(hours=1),
    )
    event = render(job, START, START + timedelta(hours=1), zone_for(None, zone))
    calendar = outlook.open(address)
    await calendar.time_zone()
    made = await calendar.create(event, tag("acme", "J'1/2 ü"), "transaction")
    await calendar.update(made.event_id, event.in_utc())
    await calendar.get(made.event_id)
    [found] = await calendar.find(tag("acme", "J'1/2 ü"))
    assert found.event_id == made.event_id
    assert await calendar.view(START - timedelta(days=1), START + timedelta(days=20))
    await calendar.delete(made.event_id)


async def test_every_kind_of_request_keeps_the_rules_alone_and_in_batches(outlook: Outlook) -> None:
    await everything(outlook, ODD, "Europe/London")
    await asyncio.gather(*(everything(outlook, address, "Australia/Lord_Howe") for address in (ANN, ODD)))
    recorded = await outlook.recorded()
    assert {"/$batch", "/tenant/oauth2/v2.0/token"} < {each["path"] for each in recorded}
    methods = sorted(call["method"] for each in recorded for call in calls(each))
    assert methods == sorted(["GET", "POST", "PATCH", "GET", "GET", "GET", "DELETE"] * 3)
    assert breaches(recorded) == []


async def test_requests_after_pages_and_refusals_keep_the_rules(outlook: Outlook) -> None:
    await outlook.control.set_switches(page_cap=2)
    for number in range(5):
        body = {"subject": f"{number}", **times("2026-11-30T10:00:00")}
        await outlook.control.user_create(ANN, body)
    await outlook.open(ANN).view(START, START + timedelta(days=1))
    await outlook.control.set_fault(401, times=1)
    await outlook.open(ANN).time_zone()
    await outlook.control.add_app("tenant", "app", [Secret("another")])
    await outlook.control.revoke_tokens()
    with pytest.raises(CalsyncError):
        await outlook.open(ANN).time_zone()
    recorded = await outlook.recorded()
    assert len([each for each in recorded if "$skip=" in each["query"]]) == 2
    assert "/common/discovery/instance" not in {each["path"] for each in recorded}, "its answer is kept for a day"
    assert breaches(recorded) == []


async def test_a_company_does_not_close_over_a_request_that_breaks_the_rules(outlook: Outlook) -> None:
    await everything(outlook, ANN, "Europe/London")
    await keeps_the_contract(outlook.control)
    async with httpx.AsyncClient() as client:
        await client.delete(f"{outlook.control.url}/v1.0/users/{ANN}/events/A", headers={"Authorization": "Bearer x"})
    with pytest.raises(AssertionError, match="ImmutableId"):
        await keeps_the_contract(outlook.control)


@pytest.fixture
def described() -> Description:
    found = description()
    if found is None:
        pytest.skip(f"Microsoft's description of Graph is not at hand: {VARIABLE} would name it")
    return found


async def test_every_kind_of_request_is_as_microsoft_describes_it(outlook: Outlook, described: Description) -> None:
    await everything(outlook, ODD, "Europe/London")
    sent = [call for each in await outlook.recorded() for call in calls(each)]
    assert len(sent) == 7
    assert described.breaches(sent) == []


def times(start: str, zone: str = "GMT Standard Time") -> dict[str, Any]:
    return {name: {"dateTime": start, "timeZone": zone} for name in ("start", "end")}


def event(**changes: Any) -> dict[str, Any]:
    return {
        "subject": "Core Job — Northwind",
        "body": {"contentType": "html", "content": "Job: Boiler"},
        **times("2026-11-30T09:00:00"),
        "location": {"displayName": "1 High Street"},
        "isAllDay": False,
        "showAs": "busy",
        "isReminderOn": True,
        "reminderMinutesBeforeStart": 15,
        "sensitivity": "normal",
        "importance": "normal",
        **changes,
    }


def creation(**changes: Any) -> dict[str, Any]:
    tagged = {"transactionId": "t", "singleValueExtendedProperties": [{"id": TAG, "value": "acme/J1"}]}
    return event(**tagged | changes)


PREFER = {"prefer": 'IdType="ImmutableId"'}
JSON = {"content-type": "application/json"}


def request(method: str, path: str, body: Any = None, query: str = "", **headers: str) -> dict[str, Any]:
    """A request as the sandbox records it, with the headers it should have unless others are named."""
    given = {"authorization": "Bearer", **PREFER, **(JSON if body is not None else {}), **headers}
    return {"service": "graph", "method": method, "path": path, "query": query, "headers": given, "body": body}


def create(body: Any = None, path: str = f"/users/{ANN}/events", **headers: str) -> dict[str, Any]:
    return request("POST", path, creation() if body is None else body, **headers)


def update(body: Any) -> dict[str, Any]:
    return request("PATCH", f"/users/{ANN}/events/AAMk-x_1%3D", body)


def view(**changes: str) -> dict[str, Any]:
    asked = {"startDateTime": "2026-11-30T00:00:00Z", "endDateTime": "2026-12-21T00:00:00Z", **VIEW_OPTIONS, **changes}
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    return request("GET", f"/users/{ANN}/calendarView", query=query)


EXPAND = f"singleValueExtendedProperties($filter=id eq '{TAG}')".replace(" ", "%20").replace("{", "%7B")
VIEW_OPTIONS = {"$top": "250", "$select": "id,end", "$expand": EXPAND.replace("}", "%7D")}


def find(condition: str) -> dict[str, Any]:
    encoded = condition.replace(" ", "%20").replace("{", "%7B").replace("}", "%7D")
    query = f"$filter={encoded}&$select=id&$expand={VIEW_OPTIONS['$expand']}"
    return request("GET", f"/users/{ANN}/events", query=query)


def batch(*inner: Any, **headers: str) -> dict[str, Any]:
    return request("POST", "/$batch", {"requests": list(inner)}, **headers)


def inner(number: str = "1", **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "method": "DELETE",
        "url": f"/users/{ANN}/events/AAMk",
        "headers": {"Prefer": 'IdType="ImmutableId"'},
        **changes,
    }


def login(**changes: Any) -> dict[str, Any]:
    form = {"client_id": "app", "client_secret": "…", "grant_type": "client_credentials"}
    form["scope"] = "https://graph.microsoft.com/.default"
    path = "/tenant/oauth2/v2.0/token"
    return {"service": "entra", "method": "POST", "path": path, "query": "", "headers": {}, "body": form} | changes


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


TAGGED = f"singleValueExtendedProperties/Any(ep: ep/id eq '{TAG}' and ep/value eq 'acme/J''1')"
GOOD = {
    "create": create(),
    "update": update(event()),
    "delete": request("DELETE", f"/users/{ANN}/events/AAMk"),
    "view": view(),
    "find": find(TAGGED),
    "time zone": request("GET", f"/users/{ANN}/mailboxSettings/timeZone"),
    "batch": batch(inner("1"), inner("2")),
    "token": login(),
}
WRONG = {
    "no immutable ids": (create(prefer=""), "Prefer"),
    "another preference beside": (create(prefer='outlook.timezone="UTC", IdType="ImmutableId"'), "Prefer"),
    "a body without a type": (create(**{"content-type": ""}), "Content-Type"),
    "a type without a body": (request("DELETE", f"/users/{ANN}/events/A", **JSON), "Content-Type"),
    "no token": (create(authorization=""), "bearer token"),
    "a cookie": (create(cookie="a=b"), "cookie"),
    "a DELETE with a body": (request("DELETE", f"/users/{ANN}/events/A", {}), "have a body"),
    "an address not encoded": (create(path="/users/a+b@acme.example/events"), "not encoded"),
    "an id not encoded": (request("DELETE", f"/users/{ANN}/events/AA+Mk"), "not encoded"),
    "an id as a path": (request("DELETE", f"/users/{ANN}/events/AA/Mk"), "not encoded"),
    "another path": (request("GET", f"/users/{ANN}/messages"), "no operation"),
    "another verb": (request("PUT", f"/users/{ANN}/events", event()), "no operation"),
    "a transactionId in a PATCH": (update(creation()), "immutable"),
    "a PATCH of some fields": (update({"subject": "x"}), "all that we own"),
    "no transactionId": (create(event()), "all that we own"),
    "an empty transactionId": (create(creation(transactionId="")), "transactionId"),
    "attendees": (create(creation(attendees=[])), "mail"),
    "categories": (update(event(categories=["Red"])), "nothing else"),
    "an offset": (update(event(**times("2026-11-30T09:00:00Z"))), "without an offset"),
    "a numeric offset": (update(event(**times("2026-11-30T09:00:00+00:00"))), "without an offset"),
    "an IANA name": (update(event(**times("2026-11-30T09:00:00", "Europe/London"))), "Windows name"),
    "no zone": (update(event(start={"dateTime": "2026-11-30T09:00:00"})), "one unit"),
    "two zones": (update(event(end={"dateTime": "2026-11-30T09:00:00", "timeZone": "UTC"})), "in one zone"),
    "an end before its start": (
        update(event(end={"dateTime": "2026-11-30T08:59:59", "timeZone": "GMT Standard Time"})),
        "after it starts",
    ),
    "an all-day event": (update(event(isAllDay=True)), "isAllDay"),
    "no reminder": (update(event(isReminderOn=False)), "isReminderOn"),
    "a text body": (update(event(body={"contentType": "text", "content": ""})), "html"),
    "a body too long": (update(event(body={"contentType": "html", "content": "x" * 32_001})), "32000"),
    "a subject of two lines": (update(event(subject="a\nb")), "subject is one line"),
    "a subject too long": (update(event(subject="😀" * 128)), "255"),
    "a location beside its name": (update(event(location={"displayName": "", "address": {}})), "display name"),
    "no tag": (create(without(creation(), "singleValueExtendedProperties")), "all that we own"),
    "another property": (create(creation(singleValueExtendedProperties=[{"id": "String 0x1", "value": ""}])), "tag"),
    "a tag without a site": (
        create(creation(singleValueExtendedProperties=[{"id": TAG, "value": "J1"}])),
        "{site}/{job}",
    ),
    "no $top": (request("GET", f"/users/{ANN}/calendarView", query="startDateTime=x"), "the query of a view"),
    "too many a page": (view(**{"$top": "1001"}), "$top"),
    "a window without an offset": (view(startDateTime="2026-11-30T00:00:00"), "offset"),
    "a window that ends before it starts": (view(endDateTime="2026-11-29T00:00:00Z"), "within five years"),
    "a window of six years": (view(endDateTime="2032-11-29T00:00:00Z"), "within five years"),
    "a plus not encoded": (view(endDateTime="2026-12-21T00:00:00+00:00"), "must be encoded"),
    "every field": (view(**{"$select": "id,attendees"}), "$select"),
    "another property expanded": (view(**{"$expand": "attachments"}), "$expand"),
    "a filter in a view": (view(**{"$filter": "x"}), "the query of a view"),
    "a filter by case": (find(TAGGED.replace("CoreJob", "corejob")), "$filter"),
    "a quote not doubled": (find(TAGGED.replace("''", "'")), "$filter"),
    "a query of settings": (request("GET", f"/users/{ANN}/mailboxSettings/timeZone", query="$select=x"), "nothing"),
    "an empty batch": (batch(), "1 to 20"),
    "twenty-one": (batch(*(inner(str(number)) for number in range(21))), "1 to 20"),
    "ids alike but for case": (batch(inner("a"), inner("A")), "unique"),
    "a number as id": (batch(inner(1)), "unique"),  # type: ignore[arg-type]
    "a whole address": (batch(inner(url="https://graph.microsoft.com/v1.0/users/x/events")), "relative"),
    "a batch in a batch": (batch(inner(url="/$batch")), "relative"),
    "no headers": (batch(without(inner(), "headers")), "nothing else but a body"),
    "a dependency": (batch(inner(dependsOn=["2"])), "nothing else but a body"),
    "a token inside": (batch(inner(headers={**PREFER, "Authorization": "x"})), "authorised by the batch"),
    "no preference inside": (batch(inner(headers={}), prefer='IdType="ImmutableId"'), "Prefer"),
    "a body without a type inside": (batch(inner(method="PATCH", body=event())), "Content-Type"),
    "a batch without a type": (batch(inner(), **{"content-type": "text/plain"}), "Content-Type"),
    "a token sent to Entra": (login(headers={"authorization": "Bearer"}), "to Entra"),
    "another scope": (login(body=login()["body"] | {"scope": "openid"}), ".default"),
    "another grant": (login(body=login()["body"] | {"grant_type": "password"}), "client credentials"),
    "anything else of Entra": (login(method="GET", path="/tenant/keys"), "something else"),
}


@pytest.mark.parametrize("good", [*GOOD.values()], ids=[*GOOD])
def test_the_rules_accept_correct_requests(good: dict[str, Any]) -> None:
    assert breaches([good]) == []


@pytest.mark.parametrize(("wrong", "words"), [*WRONG.values()], ids=[*WRONG])
def test_the_rules_refuse_wrong_requests(wrong: dict[str, Any], words: str) -> None:
    reported = breaches([GOOD["create"], wrong, wrong])
    assert [each for each in reported if words in each], reported
    assert len(set(reported)) == len(reported), "each breach is reported once"


@pytest.mark.parametrize("good", [name for name in GOOD if name != "token"])
def test_the_description_accepts_correct_requests(good: str, described: Description) -> None:
    assert described.breaches(calls(GOOD[good])) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (create(creation(showAs="away")), "'away' is not one of"),
        (create(creation(isAllDay="no")), "is not of type"),
        (create(creation(colour="red")), "'colour' was unexpected"),
        (create(creation(start="2026-11-30T09:00:00")), "is not of type 'object'"),
        (update(event(body={"contentType": "rtf", "content": ""})), "'rtf' is not one of"),
        (request("GET", f"/users/{ANN}/calendarView"), "startDateTime is required"),
        (view(**{"$colour": "red"}), "$colour is not described"),
        (view(**{"$select": "id,colour"}), "no colour to select"),
        (request("PUT", f"/users/{ANN}/events"), "not described"),
        (request("DELETE", f"/users/{ANN}/events/A", {}), "a body where none is described"),
    ],
)
def test_the_description_refuses_wrong_requests(wrong: dict[str, Any], words: str, described: Description) -> None:
    for _ in range(2):  # a wrong request is reported again when it is checked again
        reported = described.breaches([*calls(GOOD["create"]), *calls(deepcopy(wrong))])
        assert [each for each in reported if words in each], reported
