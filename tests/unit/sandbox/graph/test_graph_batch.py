"""JSON batching."""

import time
from typing import Any

import httpx
import pytest

from tests.unit.sandbox.graph.client import MakeEvent, Outlook

ANN, BOB = "ann@acme.example", "bob@acme.example"
JSON = {"Content-Type": "application/json"}


def post(number: int, body: Any, mailbox: str = ANN, **more: Any) -> dict[str, Any]:
    headers = {**JSON, "Prefer": 'IdType="ImmutableId"'}
    return {
        "id": str(number),
        "method": "POST",
        "url": f"/users/{mailbox}/events",
        "headers": headers,
        "body": body,
        **more,
    }


def get(number: int | str, path: str = "/events", mailbox: str = ANN, **more: Any) -> dict[str, Any]:
    return {"id": str(number), "method": "GET", "url": f"/users/{mailbox}{path}", **more}


def by_id(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200
    return {each["id"]: each for each in answer.json()["responses"]}


async def test_each_request_has_its_own_answer(outlook: Outlook, make_event: MakeEvent) -> None:
    answers = by_id(
        await outlook.batch(
            post(1, make_event()),
            post(2, make_event(colour="red")),
            get(3, mailbox="nobody@acme.example"),
            get(4, mailbox=BOB),
        )
    )
    assert [answers[str(n)]["status"] for n in (1, 2, 3, 4)] == [201, 400, 404, 200]
    assert answers["1"]["body"]["id"] == (await outlook.control.events(ANN))[ANN][0]["id"]
    assert answers["1"]["headers"]["Content-Type"] == "application/json"
    assert answers["3"]["body"]["error"]["code"] == "ErrorInvalidUser"
    url, immutable = f"/users/{ANN}/events/{answers['1']['body']['id']}", {"Prefer": 'IdType="ImmutableId"'}
    delete = {"id": "d", "method": "DELETE", "url": url, "headers": immutable}
    [answer] = (await outlook.batch(delete)).json()["responses"]
    assert (answer["status"], "body" in answer) == (204, False)
    stats = await outlook.control.stats()
    assert stats["batches"] == {"count": 2, "sizes": {"1": 1, "4": 1}}


async def test_only_the_inner_prefer_counts(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.create(make_event())
    zone = 'outlook.timezone="Tokyo Standard Time", outlook.body-content-type="text"'
    headers = {"Authorization": f"Bearer {outlook.token}", "Prefer": zone}
    requests = [get(1), get(2, headers={"prefer": zone})]
    answer = await outlook.http.post("/v1.0/$batch", json={"requests": requests}, headers=headers)
    answers = by_id(answer)
    assert "Preference-Applied" not in answers["1"]["headers"]
    assert answers["1"]["body"]["value"][0]["start"]["timeZone"] == "UTC"
    assert answers["2"]["headers"]["Preference-Applied"] == zone
    assert answers["2"]["body"]["value"][0]["start"]["timeZone"] == "Tokyo Standard Time"


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [get(number) for number in range(21)],
        [get("a"), get("A")],
        [{"id": "1", "method": "POST", "url": f"/users/{ANN}/events", "body": {}}],
        [{"id": "1", "method": "GET", "url": "https://graph.microsoft.com/v1.0/users/x/events"}],
        [{"id": "1", "method": "POST", "url": "/$batch", "headers": JSON, "body": {"requests": []}}],
        [{"method": "GET", "url": "/users/x/events"}],
        [{"id": "1", "method": "FETCH", "url": "/users/x/events"}],
        [get(1, dependsOn=["2"])],
        [get(1, dependsOn=["2"]), get(2, dependsOn=["1"])],
    ],
)
async def test_a_wrong_batch_is_refused_whole(outlook: Outlook, requests: list[Any] | list[dict[str, Any]]) -> None:
    answer = await outlook.batch(*requests)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"]


async def test_twenty_run_four_at_a_time(outlook: Outlook) -> None:
    await outlook.control.set_switches(latency_ms=20)
    began = time.perf_counter()
    answers = by_id(await outlook.batch(*(get(number) for number in range(20))))
    taken = time.perf_counter() - began
    assert {each["status"] for each in answers.values()} == {200}
    assert taken >= 0.1
    assert (await outlook.control.stats())["max_in_flight"] == 4


async def test_a_failure_fails_its_dependants(outlook: Outlook, make_event: MakeEvent) -> None:
    answers = by_id(
        await outlook.batch(
            get(3, dependsOn=["2"]),
            post(1, make_event(colour="red")),
            post(2, make_event(), dependsOn=["1"]),
            post(4, make_event()),
        )
    )
    assert {key: each["status"] for key, each in answers.items()} == {"1": 400, "2": 424, "3": 424, "4": 201}
    assert len((await outlook.control.events(ANN))[ANN]) == 1


async def test_dependent_requests_run_one_at_a_time(outlook: Outlook) -> None:
    await outlook.control.set_switches(latency_ms=5)
    requests = [get(number, dependsOn=[str(number - 1)] if number else []) for number in range(4)]
    by_id(await outlook.batch(*requests))
    assert (await outlook.control.stats())["max_in_flight"] == 1


async def test_faults_strike_inside_a_batch(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.control.set_fault(503, mailbox=ANN, operation="create", retry_after=7, times=1)
    fault = await outlook.control.set_fault("empty-503", mailbox=BOB, when="after", times=1)
    answers = by_id(await outlook.batch(post(1, make_event(), BOB), post(2, make_event()), post(3, make_event())))
    assert {key: each["status"] for key, each in answers.items()} == {"1": 503, "2": 503, "3": 201}
    assert "body" not in answers["1"]
    assert answers["2"]["headers"]["Retry-After"] == "7"
    held = await outlook.control.events()
    assert (len(held[ANN]), len(held[BOB])) == (1, 1)
    await outlook.control.wait_for_fault(fault)


async def test_faults_strike_whole_batches(outlook: Outlook, make_event: MakeEvent) -> None:
    for when, made in (("before", 0), ("after", 1)):
        await outlook.control.set_fault(504, operation="batch", when=when, times=1)
        assert (await outlook.batch(post(1, make_event()))).status_code == 504
        assert len((await outlook.control.events(ANN))[ANN]) == made
    headers = {"Authorization": "Bearer nonsense"}
    answer = await outlook.http.post("/v1.0/$batch", json={"requests": [get(1)]}, headers=headers)
    assert answer.status_code == 401


async def test_responses_come_in_any_order(outlook: Outlook) -> None:
    requests = [get(number) for number in range(20)]
    asked = [each["id"] for each in requests]
    assert [each["id"] for each in (await outlook.batch(*requests)).json()["responses"]] != asked
    await outlook.control.set_switches(batch_order="asked")
    assert [each["id"] for each in (await outlook.batch(*requests)).json()["responses"]] == asked


@pytest.mark.parametrize("status", [200, 424])
async def test_the_status_of_a_batch_with_a_throttled_request_is_a_switch(
    outlook: Outlook, make_event: MakeEvent, status: int
) -> None:
    await outlook.control.set_switches(throttled_batch_status=status)
    await outlook.control.set_fault(429, mailbox=ANN, times=1)
    answer = await outlook.batch(post(1, make_event()), post(2, make_event(), BOB))
    assert answer.status_code == status
    assert {each["id"]: each["status"] for each in answer.json()["responses"]} == {"1": 429, "2": 201}
    assert (await outlook.batch(post(1, make_event()))).status_code == 200


async def test_only_the_first_preference_may_count(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.create(make_event())
    preferred = {"Prefer": 'outlook.timezone="Tokyo Standard Time", outlook.body-content-type="text"'}
    for switch, kind in (("all", "text"), ("first", "html")):
        await outlook.control.set_switches(batch_prefer=switch)
        [event] = by_id(await outlook.batch(get(1, headers=preferred)))["1"]["body"]["value"]
        assert (event["start"]["timeZone"], event["body"]["contentType"]) == ("Tokyo Standard Time", kind)
