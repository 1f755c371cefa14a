"""transactionId: identical and different requests with a used one."""

from typing import Any

import pytest

from tests.unit.sandbox.graph.client import MakeEvent, Outlook

ANN = "ann@acme.example"


async def count(outlook: Outlook) -> int:
    return len([each for each in (await outlook.control.events())[ANN] if not each["in_deleted_items"]])


async def test_an_identical_request_creates_no_second_event(outlook: Outlook, make_event: MakeEvent) -> None:
    first, second = [await outlook.create(make_event(transactionId="t1")) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert await count(outlook) == 1


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("annotated", [True, False])
async def test_another_event_with_the_same_transaction_id_is_refused(
    outlook: Outlook, make_event: MakeEvent, status: int, annotated: bool
) -> None:
    await outlook.control.set_switches(transaction_status=status, transaction_annotation=annotated)
    await outlook.create(make_event(transactionId="t1"))
    answer = await outlook.create(make_event(transactionId="t1", subject="another"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, "ErrorDuplicateTransactionId")
    [held] = (await outlook.control.events())[ANN]
    assert error.get("@event.existingEventId") == (held["id"] if annotated else None)


@pytest.mark.parametrize(("behaviour", "status", "events"), [("new", 201, 1), ("same", 201, 0), ("error", 400, 0)])
@pytest.mark.parametrize("by_user", [True, False])
async def test_a_transaction_id_whose_event_was_deleted(
    outlook: Outlook, make_event: MakeEvent, behaviour: str, status: int, events: int, by_user: bool
) -> None:
    await outlook.control.set_switches(transaction_after_delete=behaviour)
    made = (await outlook.create(make_event(transactionId="t1"))).json()
    if by_user:
        await outlook.control.user_delete(ANN, event_id=made["id"])
    else:
        await outlook.ask("DELETE", f"/events/{made['id']}")
    assert (await outlook.create(make_event(transactionId="t1"))).status_code == status
    assert await count(outlook) == events


@pytest.mark.parametrize(("behaviour", "status"), [("same", 201), ("error", 400)])
async def test_a_transaction_id_whose_event_was_edited(
    outlook: Outlook, make_event: MakeEvent, behaviour: str, status: int
) -> None:
    await outlook.control.set_switches(transaction_after_edit=behaviour)
    made = (await outlook.create(make_event(transactionId="t1"))).json()
    await outlook.control.user_edit(ANN, {"subject": "mine"}, event_id=made["id"])
    answer = await outlook.create(make_event(transactionId="t1"))
    assert answer.status_code == status
    if status == 201:
        assert (answer.json()["id"], answer.json()["subject"]) == (made["id"], "mine")
    assert await count(outlook) == 1


@pytest.mark.parametrize(
    ("same", "change", "status"),
    [
        ("whole", {"showAs": "free"}, 400),
        ("times", {"showAs": "free"}, 201),
        ("times", {"subject": "another"}, 400),
        ("nothing", {"subject": "another"}, 201),
    ],
)
async def test_what_must_be_repeated_is_a_switch(
    outlook: Outlook, make_event: MakeEvent, same: str, change: dict[str, Any], status: int
) -> None:
    await outlook.control.set_switches(transaction_same=same)
    made = (await outlook.create(make_event(transactionId="t1"))).json()
    answer = await outlook.create(make_event(transactionId="t1", **change))
    assert answer.status_code == status
    if status == 201:
        assert answer.json() == made, "the event as it was created, with any body"
    assert await count(outlook) == 1


async def test_a_forgotten_transaction_id_creates_another_event(outlook: Outlook, make_event: MakeEvent) -> None:
    await outlook.control.set_switches(transaction_memory_seconds=0)
    first, second = [await outlook.create(make_event(transactionId="t1")) for _ in range(2)]
    assert first.json()["id"] != second.json()["id"]
