"""Faults that are set over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest

from sandbox.graph.fault_kinds import SPOKEN
from tests.unit.sandbox.graph.client import MakeEvent, Outlook

ANN, BOB = "ann@acme.example", "bob@acme.example"


async def held(outlook: Outlook, mailbox: str = ANN) -> int:
    return len((await outlook.control.events(mailbox))[mailbox])


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (429, 429, "ApplicationThrottled"),
        ("too-many-requests", 429, "TooManyRequests"),
        (503, 503, "ServiceUnavailable"),
        (504, 504, "UnknownError"),
        (502, 502, "UnknownError"),
        (500, 500, "ErrorInternalServerError"),
        (401, 401, "InvalidAuthenticationToken"),
        ("access-policy", 403, "ErrorAccessDenied"),
        ("conflict", 409, "ErrorIrresolvableConflict"),
        (412, 412, "ErrorIrresolvableConflict"),
        ("move-in-progress", 503, "ErrorMailboxMoveInProgress"),
        ("mailbox-not-enabled", 404, "MailboxNotEnabledForRESTAPI"),
        ("concurrent-save-503", 503, "ConcurrentItemSave"),
        ("gone", 410, "SyncStateNotFound"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_fault_has_its_error_and_may_apply_the_write(
    outlook: Outlook, fault: int | str, status: int, code: str, when: str
) -> None:
    await outlook.control.set_fault(fault, operation="create", when=when)
    answer = await outlook.create()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) is (status == 429)
    assert await held(outlook) == (when == "after")


async def test_an_empty_503(outlook: Outlook) -> None:
    await outlook.control.set_fault("empty-503", when="after", retry_after=3)
    answer = await outlook.create()
    assert (answer.status_code, answer.content) == (503, b"")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Retry-After"] == "3"
    assert await held(outlook) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cut_connection(outlook: Outlook, when: str) -> None:
    await outlook.control.set_fault("cut", when=when, times=1)
    with pytest.raises(httpx.TransportError):
        await outlook.create()
    assert await held(outlook) == (when == "after")
    assert (await outlook.control.stats())["requests"]["create"] == {"lost": 1}
    assert (await outlook.create()).status_code == 201


async def test_a_hanging_answer_is_cut_and_frees_its_place(outlook: Outlook) -> None:
    await outlook.control.set_fault("timeout", when="after", times=1, hold_seconds=0.05)
    with pytest.raises(httpx.TransportError):
        await outlook.create()
    stats = await outlook.control.stats()
    assert [each["now"] for each in stats["in_flight_by_mailbox"]] == [0]
    assert await held(outlook) == 1


async def test_a_held_answer(outlook: Outlook) -> None:
    fault = await outlook.control.set_fault("hold", operation="create")
    task = asyncio.create_task(outlook.create())
    await outlook.control.wait_for_fault(fault)
    assert await held(outlook) == 1
    assert not task.done()
    assert await outlook.control.release(fault) == 1
    assert (await task).status_code == 201


async def test_a_late_write(outlook: Outlook) -> None:
    late = await outlook.control.set_fault("late", operation="create", times=1)
    answer = await outlook.create()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "UnknownError")
    assert await held(outlook) == 0
    assert await outlook.control.release(late) == 1
    assert await held(outlook) == 1


async def test_a_slow_answer(outlook: Outlook) -> None:
    slow = await outlook.control.set_fault("slow", operation="create")
    task = asyncio.create_task(outlook.create())
    await outlook.control.wait_for_fault(slow)
    assert await held(outlook) == 0
    await outlook.control.remove_fault(slow)
    assert (await task).status_code == 201


async def test_a_fault_strikes_only_matching_requests(outlook: Outlook) -> None:
    await outlook.control.set_fault(503, mailbox=BOB.upper(), operation="create", skip=1, times=1)
    statuses = [(await outlook.create(mailbox=BOB)).status_code for _ in range(3)]
    assert statuses == [201, 503, 201]
    assert (await outlook.create()).status_code == 201
    [fault] = await outlook.control.faults()
    assert (fault["hits"], fault["times"]) == (1, 0)
    await outlook.control.clear_faults()
    await outlook.control.set_fault(503, tenant="another")
    assert (await outlook.create()).status_code == 201


async def test_random_faults_repeat_with_the_seed(outlook: Outlook) -> None:
    await outlook.control.set_fault(500, operation="list", probability=0.5)

    async def run() -> list[int]:
        await outlook.control.seed(7)
        return [(await outlook.ask("GET", "/events")).status_code for _ in range(12)]

    first = await run()
    assert set(first) == {200, 500}
    assert await run() == first


@pytest.mark.parametrize(
    "document",
    [
        {"fault": "nonsense"},
        {"fault": 200},
        {"fault": 503, "match": {"colour": "red"}},
        {"fault": 503, "match": {"operation": "dance"}},
        {"fault": "AADSTS7000215", "match": {"operation": "create"}},
        {"fault": 503, "when": "never"},
        {"fault": 503, "probability": "often"},
        {"fault": 302},
        {"fault": 503, "location": "https://elsewhere.example"},
        {"fault": 503, "status": 200},
        {"fault": "cut", "status": 500},
        {"fault": 503, "retry_after": -1},
        {"fault": "untagged"},
    ],
)
async def test_invalid_faults_are_refused(outlook: Outlook, document: dict[str, Any]) -> None:
    answer = await outlook.http.post("/_sandbox/faults", json=document)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(("wait", "header"), [("", None), ("Wed, 21 Oct 2026 07:28:00 GMT",) * 2, (2.128, "2.128")])
async def test_retry_after_is_sent_or_left_out(outlook: Outlook, wait: float | str, header: str | None) -> None:
    await outlook.control.set_fault(429, retry_after=wait)
    assert (await outlook.create()).headers.get("Retry-After") == header
    [inner] = (await outlook.batch({"id": "1", "method": "GET", "url": f"/users/{ANN}/events"})).json()["responses"]
    assert inner["headers"].get("Retry-After") == header


async def test_a_code_with_another_status(outlook: Outlook) -> None:
    await outlook.control.set_fault("server-busy", status=500)
    answer = await outlook.create()
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "ErrorServerBusy")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect(outlook: Outlook, status: int, when: str) -> None:
    await outlook.control.set_fault(status, location="https://elsewhere.example/v1.0", when=when)
    answer = await outlook.create()
    assert (answer.status_code, answer.headers["Location"]) == (status, "https://elsewhere.example/v1.0")
    assert await held(outlook) == (when == "after")
    await outlook.control.set_fault(status, location="https://elsewhere.example", operation="token", when=when)
    answer = await outlook.http.post("/t/oauth2/v2.0/token")
    assert (answer.status_code, answer.headers["Location"]) == (status, "https://elsewhere.example")


@pytest.mark.parametrize("operation", ["create", "token"])
async def test_a_page_of_a_proxy(outlook: Outlook, operation: str) -> None:
    await outlook.control.set_fault("proxy-page", operation=operation)
    path = f"/v1.0/users/{ANN}/events" if operation == "create" else "/t/oauth2/v2.0/token"
    answer = await outlook.http.post(path, json={}, headers={"Authorization": f"Bearer {outlook.token}"})
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/html")


async def test_an_event_can_be_created_without_its_tag(outlook: Outlook, make_tagged: MakeEvent) -> None:
    await outlook.control.set_fault("untagged", operation="create", times=1)
    answer = await outlook.create(make_tagged("acme/1", transactionId="t1"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ConcurrentItemSave")
    again = await outlook.create(make_tagged("acme/1", transactionId="t1"))
    [event] = (await outlook.control.events(ANN))[ANN]
    assert (again.status_code, event["tag"]) == (201, None)


async def test_a_faulty_answer_can_be_delayed(outlook: Outlook) -> None:
    fault = await outlook.control.set_fault("empty-503", when="after", delay_seconds=60)
    task = asyncio.create_task(outlook.create())
    await outlook.control.wait_for_fault(fault)
    assert await held(outlook) == 1
    assert not task.done()
    await outlook.control.release(fault)
    assert (await task).status_code == 503


async def test_every_kind_strikes_before_and_after_the_write(outlook: Outlook) -> None:
    made = 0
    for kind in (kind for kind in SPOKEN if kind != "untagged"):
        for when in ("before", "after"):
            await outlook.control.set_fault(kind, operation="create", when=when, times=1)
            assert (await outlook.create()).status_code == SPOKEN[kind][0], kind
            made += when == "after"
            assert await held(outlook) == made, (kind, when)


@pytest.mark.parametrize(
    ("fault", "status", "status_sent", "body"),
    [
        ("empty", None, 400, b""),
        ("empty", 404, 404, b""),
        ("page", None, 404, b"<html>"),
        ("page", 405, 405, b"<html>"),
        (408, None, 408, b"{"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_answer_without_a_code(
    outlook: Outlook, fault: int | str, status: int | None, status_sent: int, body: bytes, when: str
) -> None:
    await outlook.control.set_fault(fault, operation="create", when=when, status=status)
    answer = await outlook.create()
    assert (answer.status_code, answer.content[: len(body)]) == (status_sent, body)
    assert await held(outlook) == (when == "after")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_batch_without_one_answer(outlook: Outlook, make_event: MakeEvent, when: str) -> None:
    await outlook.control.set_fault("omitted", operation="create", mailbox=BOB, when=when)
    requests = [
        {
            "id": str(number),
            "method": "POST",
            "url": f"/users/{mailbox}/events",
            "headers": {"Content-Type": "application/json"},
            "body": make_event(),
        }
        for number, mailbox in enumerate((ANN, BOB, ANN))
    ]
    answer = await outlook.batch(*requests)
    assert sorted((each["id"], each["status"]) for each in answer.json()["responses"]) == [("0", 201), ("2", 201)]
    assert await held(outlook, BOB) == (when == "after")
    with pytest.raises(httpx.TransportError):
        await outlook.create(mailbox=BOB)


async def test_a_page_inside_a_batch_is_a_text(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.control.set_fault("page", operation="get")
    answer = await outlook.batch({"id": "0", "method": "GET", "url": f"/users/{ANN}/events/x"})
    [reply] = answer.json()["responses"]
    assert (reply["status"], type(reply["body"])) == (404, str)
