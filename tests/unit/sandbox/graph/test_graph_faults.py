"""Faults set over HTTP."""

import asyncio

import httpx
import pytest

ANN, BOB = "ann@acme.example", "bob@acme.example"


async def held(outlook, mailbox=ANN):
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
async def test_what_is_told_and_whether_it_was_applied(outlook, fault, status, code, when):
    await outlook.control.set_fault(fault, operation="create", when=when)
    answer = await outlook.create()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) is (status == 429)
    assert await held(outlook) == (when == "after")


async def test_an_empty_503(outlook):
    await outlook.control.set_fault("empty-503", when="after", retry_after=3)
    answer = await outlook.create()
    assert (answer.status_code, answer.content) == (503, b"")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["Retry-After"] == "3"
    assert await held(outlook) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cut_connection(outlook, when):
    await outlook.control.set_fault("cut", when=when, times=1)
    with pytest.raises(httpx.TransportError):
        await outlook.create()
    assert await held(outlook) == (when == "after")
    assert (await outlook.control.stats())["requests"]["create"] == {"lost": 1}
    assert (await outlook.create()).status_code == 201


async def test_a_hanging_answer_is_cut_and_frees_its_place(outlook):
    await outlook.control.set_fault("timeout", when="after", times=1, hold_seconds=0.05)
    with pytest.raises(httpx.TransportError):
        await outlook.create()
    stats = await outlook.control.stats()
    assert [each["now"] for each in stats["in_flight_by_mailbox"]] == [0]
    assert await held(outlook) == 1


async def test_a_held_answer(outlook):
    fault = await outlook.control.set_fault("hold", operation="create")
    task = asyncio.create_task(outlook.create())
    await outlook.control.wait_for_fault(fault)
    assert await held(outlook) == 1
    assert not task.done()
    assert await outlook.control.release(fault) == 1
    assert (await task).status_code == 201


async def test_a_late_write(outlook):
    late = await outlook.control.set_fault("late", operation="create", times=1)
    answer = await outlook.create()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "UnknownError")
    assert await held(outlook) == 0
    assert await outlook.control.release(late) == 1
    assert await held(outlook) == 1


async def test_a_slow_answer(outlook):
    slow = await outlook.control.set_fault("slow", operation="create")
    task = asyncio.create_task(outlook.create())
    await outlook.control.wait_for_fault(slow)
    assert await held(outlook) == 0
    await outlook.control.remove_fault(slow)
    assert (await task).status_code == 201


async def test_whom_a_fault_strikes(outlook):
    await outlook.control.set_fault(503, mailbox=BOB.upper(), operation="create", skip=1, times=1)
    statuses = [(await outlook.create(mailbox=BOB)).status_code for _ in range(3)]
    assert statuses == [201, 503, 201]
    assert (await outlook.create()).status_code == 201
    [fault] = await outlook.control.faults()
    assert (fault["hits"], fault["times"]) == (1, 0)
    await outlook.control.clear_faults()
    await outlook.control.set_fault(503, tenant="another")
    assert (await outlook.create()).status_code == 201


async def test_chance_repeats_with_its_seed(outlook):
    await outlook.control.set_fault(500, operation="list", probability=0.5)

    async def run():
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
    ],
)
async def test_what_is_no_fault(outlook, document):
    answer = await outlook.http.post("/_sandbox/faults", json=document)
    assert answer.status_code == 400
    assert answer.json()["error"]
