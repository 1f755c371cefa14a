"""Limits: four requests at a time, and numbers of requests and bytes in a window."""

import asyncio

from tests.unit.sandbox.graph.client import MakeEvent, Outlook

ANN = "ann@acme.example"


async def test_the_fifth_request_at_once_is_refused(outlook: Outlook) -> None:
    hold = await outlook.control.set_fault("hold", operation="list", times=4)
    held = [asyncio.create_task(outlook.ask("GET", "/events")) for _ in range(4)]
    await outlook.control.wait_for_fault(hold, hits=4)
    fifth = await outlook.ask("GET", "/events")
    assert fifth.status_code == 429
    assert fifth.json()["error"]["code"] == "ApplicationThrottled"
    assert fifth.headers["Retry-After"] == "1"
    assert (await outlook.ask("GET", "/events", mailbox="bob@acme.example")).status_code == 200
    await outlook.control.release(hold)
    assert {each.status_code for each in await asyncio.gather(*held)} == {200}
    stats = await outlook.control.stats()
    assert (stats["max_in_flight"], stats["throttled"]) == (5, 1)


async def test_batches_share_the_limit(outlook: Outlook) -> None:
    await outlook.control.set_switches(latency_ms=150, retry_after_seconds=0.25)
    requests = [{"id": str(n), "method": "GET", "url": f"/users/{ANN}/events"} for n in range(4)]
    answers = await asyncio.gather(outlook.batch(*requests), outlook.batch(*requests))
    inner = [each for answer in answers for each in answer.json()["responses"]]
    assert sorted(each["status"] for each in inner) == [200] * 4 + [429] * 4
    refused = next(each for each in inner if each["status"] == 429)
    assert refused["headers"]["Retry-After"] == "0.25"
    assert refused["body"]["error"]["message"] == "Application is over its MailboxConcurrency limit."


async def test_too_many_requests_in_the_window_are_refused(outlook: Outlook) -> None:
    await outlook.control.set_switches(request_limit=2)
    statuses = [(await outlook.ask("GET", "/events")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = await outlook.ask("GET", "/events")
    assert answer.json()["error"]["code"] == "TooManyRequests"
    assert 0 < float(answer.headers["Retry-After"]) <= 600


async def test_a_client_that_ignores_retry_after_is_counted(outlook: Outlook) -> None:
    await outlook.control.set_fault(429, retry_after=30, times=1)
    await outlook.ask("GET", "/events")
    assert (await outlook.control.stats())["early_retries"] == 0
    await outlook.ask("GET", "/events")
    stats = await outlook.control.stats()
    assert (stats["early_retries"], stats["early_retries_by_mailbox"]) == (1, {ANN: 1})


async def test_a_patch_that_another_write_overtook_conflicts(outlook: Outlook) -> None:
    made = (await outlook.create()).json()
    await outlook.control.set_switches(latency_ms=150)
    path = f"/events/{made['id']}"
    both = await asyncio.gather(*(outlook.ask("PATCH", path, {"subject": s}) for s in "ab"))
    assert sorted(each.status_code for each in both) == [200, 409]
    conflict = max(both, key=lambda each: each.status_code)
    assert conflict.json()["error"]["code"] == "ErrorIrresolvableConflict"


async def test_too_many_bytes_in_the_window_are_refused(outlook: Outlook, make_event: MakeEvent) -> None:
    long = make_event(body={"contentType": "html", "content": "x" * 1000})
    await outlook.control.set_switches(upload_limit_bytes=3000)
    request = {"method": "POST", "url": f"/users/{ANN}/events", "headers": {"Content-Type": "application/json"}}
    assert (await outlook.create(long)).status_code == 201
    [inner] = (await outlook.batch({"id": "1", **request, "body": long})).json()["responses"]
    assert inner["status"] == 201
    refused = await outlook.create(long)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TooManyRequests")
    assert 0 < float(refused.headers["Retry-After"]) <= 300
    assert (await outlook.ask("GET", "/events")).status_code == 200, "reads send no bytes"


async def test_too_many_requests_of_one_app_on_all_mailboxes_are_refused(outlook: Outlook) -> None:
    await outlook.control.set_switches(app_request_limit=2)
    statuses = [(await outlook.ask("GET", "/events", mailbox=each)).status_code for each in (ANN, "bob@acme.example")]
    assert statuses == [200, 200]
    refused = await outlook.ask("GET", "/events")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TooManyRequests")
    assert 0 < float(refused.headers["Retry-After"]) <= 10
