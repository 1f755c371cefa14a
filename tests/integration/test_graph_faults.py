"""Failures of Graph, through the real service: the calendars are exact, and no event ever existed twice."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from sandbox.core.rows import Change, Job, Worker
from tests.company import Company, now


async def asked(company: Company) -> dict[str, int]:
    """The number of Graph requests by operation, without token requests."""
    requests = (await company.graph.stats())["requests"]
    return {
        operation: sum(statuses.values())
        for operation, statuses in requests.items()
        if operation not in ("token", "openid", "discovery")
    }


async def test_a_single_change_is_one_request_and_a_burst_travels_in_batches(company: Company) -> None:
    company.generate(workers=0, jobs=0)
    staff = [Worker(f"w{number}", "site-1", f"worker{number}@site-1.example") for number in range(100)]
    for worker in staff:
        company.schedule.put_worker(worker)
    await company.open_mailboxes()

    def job(number: int) -> list[Change]:
        start = now() + timedelta(days=1 + number % 19)
        row = Job(job_id=f"J{number}", site_id="site-1", starts_at=start, ends_at=start + timedelta(hours=1))
        return company.schedule.add_job(row, [staff[number % len(staff)].worker_id])

    company.publish(job(0))
    await company.start()
    await company.equal()
    # One request for both the mailbox's setting and its events.
    assert await asked(company) == {"create": 1, "timezone": 1, "list": 1, "batch": 1}
    await company.graph.reset_stats()
    company.publish(job(100))
    await company.equal()
    assert await asked(company) == {"create": 1}

    company.publish(change for number in range(1, 100) for change in job(number))
    await company.equal()
    await company.graph.reset_stats()
    # As slow as Graph, so that changes gather in batches.
    await company.graph.set_switches(latency_ms=30.0)
    company.publish(change for number in range(101, 1101) for change in job(number))
    await company.equal()
    stats = await company.graph.stats()
    assert stats["requests"]["create"] == {"201": 1000}
    assert stats["batches"]["count"] > 0
    assert max(map(int, stats["batches"]["sizes"])) <= 20
    assert stats["max_in_flight"] <= 4
    await company.judge()


TRANSIENT: list[tuple[str | int, str]] = [
    ("service-unavailable", "before"),
    ("server-busy", "before"),
    ("store-unavailable", "after"),
    ("move-in-progress", "before"),
    ("mailbox-info-stale", "before"),
    ("concurrent-save-503", "after"),
    ("untagged", "after"),
    ("gateway-timeout", "after"),
    ("internal-error", "after"),
    ("transient-error", "before"),
    ("bandwidth", "before"),
    ("failed-dependency", "before"),
    ("conflict", "before"),
    ("concurrent-save", "after"),
    ("precondition-failed", "before"),
    ("empty-503", "after"),
    ("proxy-page", "before"),
    ("cut", "after"),
    (408, "before"),
    (408, "after"),
    (599, "after"),
    ("empty", "before"),
    ("empty", "after"),
    ("page", "before"),
    ("page", "after"),
    ("omitted", "before"),
    ("omitted", "after"),
    # An answer, of any status, that does not show the event's state: it does not mean "gone", "full" or "malformed".
    ("gone", "before"),
    ("gone", "after"),
    (418, "after"),
    (507, "after"),
]


class Staff:
    """A worker with a mailbox for each fault, and jobs for all of them."""

    def __init__(self, company: Company, count: int) -> None:
        self.company = company
        company.generate(workers=0, jobs=0)
        self.workers = [Worker(f"w{number}", "site-1", f"w{number}@site-1.example") for number in range(count)]
        self.addresses = [str(worker.calendar_email) for worker in self.workers]

    async def open(self) -> None:
        for worker in self.workers:
            self.company.schedule.put_worker(worker)
        await self.company.open_mailboxes()

    def plan(self, name: str) -> list[Change]:
        """A job for each of them."""
        changes: list[Change] = []
        for number, worker in enumerate(self.workers):
            start = now() + timedelta(days=1 + number % 19)
            job = Job(job_id=f"{name}{number}", site_id="site-1", starts_at=start, ends_at=start + timedelta(hours=1))
            changes += self.company.schedule.add_job(job, [worker.worker_id])
        return changes

    def change(self, name: str) -> list[Change]:
        return [
            change
            for number in range(len(self.workers))
            for change in self.company.schedule.change_job(f"{name}{number}", notes="Bring a ladder.")
        ]

    def delete(self, name: str) -> list[Change]:
        return [
            change for number in range(len(self.workers)) for change in self.company.schedule.cancel(f"{name}{number}")
        ]


async def test_creates_updates_deletes_and_zone_reads_are_retried_after_every_transient_error(company: Company) -> None:
    staff = Staff(company, len(TRANSIENT))
    await staff.open()
    faults = []
    for (kind, when), address in zip(TRANSIENT, staff.addresses, strict=True):
        for operation in ("create", "update", "delete", "timezone"):
            if kind != "untagged" or operation == "create":
                fault = await company.graph.set_fault(kind, when=when, operation=operation, mailbox=address, times=2)
                faults.append(fault)
    company.publish(staff.plan("J"))
    await company.start()
    await company.consumed()
    company.publish([*staff.change("J"), *staff.plan("K")])
    await company.consumed()
    company.publish(staff.delete("K"))
    await company.consumed()
    struck = {fault["id"]: fault["hits"] for fault in await company.graph.faults()}
    assert [fault for fault in faults if struck[fault] != 2] == []
    await company.give_core_the_schedule()
    assert (await company.sweep()).status == 0
    await company.judge()
    live = [event for events in (await company.graph.events()).values() for event in events]
    assert live
    assert [event for event in live if not event["tag"]] == []


OF_BATCHES: list[tuple[str | int, str]] = [
    (503, "before"),
    (503, "after"),
    ("empty-503", "after"),
    (504, "after"),
    (429, "before"),
    (424, "after"),
    ("cut", "after"),
    ("proxy-page", "after"),
    ("empty", "after"),
    ("page", "after"),
    (408, "after"),
    (400, "before"),
    (401, "before"),
]


async def test_a_batch_that_fails_as_a_whole_is_neither_lost_nor_done_twice(company: Company) -> None:
    staff = Staff(company, 40)
    await staff.open()
    company.publish(staff.plan("warm"))
    await company.start()
    await company.consumed()
    await company.graph.set_switches(latency_ms=20.0)
    for number, (kind, when) in enumerate(OF_BATCHES):
        fault = await company.graph.set_fault(kind, when=when, operation="batch", times=2)
        company.publish(staff.plan(f"J{number}-"))
        await company.graph.wait_for_fault(fault, hits=2)
        await company.consumed()
    await company.judge()
    assert (await company.graph.stats())["max_in_flight"] <= 4


PARKED = {
    "mailbox-not-enabled": ("MailboxNotEnabledForRESTAPI", False),
    "invalid-user": ("ErrorInvalidUser", False),
    "resource-not-found": ("ResourceNotFound", False),
    "user-not-found": ("Request_ResourceNotFound", False),
    "quota-exceeded": ("ErrorQuotaExceeded", True),
}


async def test_a_mailbox_that_cannot_be_served_is_parked_with_its_reason_and_affects_no_other(company: Company) -> None:
    staff = Staff(company, len(PARKED) + 2)
    await staff.open()
    sick = dict(zip(PARKED, staff.addresses, strict=False))
    for kind, address in sick.items():
        await company.graph.set_fault(kind, operation="create", mailbox=address)
    company.publish(staff.plan("J"))
    await company.give_core_the_schedule()
    await company.start()
    await company.consumed()
    company.parked = set(sick.values())
    await company.judge()
    listed = json.loads((await company.command("mailbox", "list", "--json")).stdout)["parked"]
    found = {parked["mailbox"]: (parked["code"], parked["hourly"]) for parked in listed}
    assert found == {sick[kind]: reported for kind, reported in PARKED.items()}
    await company.graph.clear_faults()
    for address in sick.values():
        assert (await company.command("mailbox", "enable", address)).returncode == 0
    company.parked.clear()
    await company.judge()


async def test_an_event_that_is_gone_when_it_is_updated_is_created_again(company: Company) -> None:
    kinds = ("item-not-found", "malformed-id")
    staff = Staff(company, len(kinds) + 1)
    await staff.open()
    company.publish(staff.plan("J"))
    await company.start()
    await company.consumed()
    for kind, address in zip(kinds, staff.addresses, strict=False):
        await company.graph.set_fault(kind, operation="update", mailbox=address)
        [event] = (await company.graph.events(address))[address]
        await company.graph.act("purge", address, id=event["id"])
    company.publish(staff.change("J"))
    await company.consumed()
    await company.judge()


async def test_a_request_that_graph_calls_malformed_is_dead_lettered_and_reported_and_affects_no_other(
    company: Company,
) -> None:
    kinds = ("invalid-request", "validation-failure")
    staff = Staff(company, len(kinds) + 1)
    await staff.open()
    for kind, address in zip(kinds, staff.addresses, strict=False):
        await company.graph.set_fault(kind, operation="create", mailbox=address)
    company.publish(staff.plan("J"))
    service = await company.start()
    await company.consumed()
    company.parked = set(staff.addresses[: len(kinds)])
    await company.judge()
    letters = await asyncio.to_thread(company.dead_letters)
    reasons = sorted(dict(letter.headers())["calsync.reason"].decode() for letter in letters)
    assert reasons == [
        "refused: Graph refused the request: 400 ErrorInvalidRequest",
        "refused: Graph refused the request: 400 ErrorPropertyValidationFailure",
    ]
    assert service.process.log.read_text().count("event refused by Graph") == len(kinds)


async def test_a_zone_that_graph_does_not_know_is_written_in_utc_and_read_again(company: Company) -> None:
    staff = Staff(company, 2)
    await staff.open()
    fault = await company.graph.set_fault("unknown-zone", operation="create", mailbox=staff.addresses[0], times=1)
    company.publish(staff.plan("J"))
    await company.start()
    await company.consumed()
    await company.graph.wait_for_fault(fault)
    await company.judge()
    zones = {address: event["start_zone"] for address, event in await company.ours()}
    assert zones == {staff.addresses[0]: "UTC", staff.addresses[1]: "GMT Standard Time"}
    assert (await asked(company))["timezone"] == 3


@pytest.mark.parametrize("status", [400, 409])
async def test_a_transaction_id_reported_as_used_is_looked_up_whether_or_not_its_event_exists(
    company: Company, status: int
) -> None:
    staff = Staff(company, 3)
    await staff.open()
    made, unmade, _ = staff.addresses
    match: dict[str, Any] = {"operation": "create", "times": 1, "status": status}
    await company.graph.set_fault("duplicate-transaction", when="after", mailbox=made, **match)
    await company.graph.set_fault("duplicate-transaction", when="before", mailbox=unmade, **match)
    company.publish(staff.plan("J"))
    await company.start()
    await company.consumed()
    await company.judge()
    assert [fault["hits"] for fault in await company.graph.faults()] == [1, 1]


async def test_refused_expired_and_revoked_tokens_lose_no_change(company: Company) -> None:
    changes = company.generate(workers=20, jobs=10)
    await company.open_mailboxes()
    # The tokens claim to be valid for an hour, and are refused after a second.
    await company.graph.set_switches(latency_ms=10.0, token_valid_seconds=1.0)
    refused = await company.graph.set_fault("token-expired", probability=0.02)
    company.publish(changes[:100])
    await company.start()
    for first in range(100, len(changes), 100):
        await company.graph.revoke_tokens()
        company.publish(changes[first : first + 100])
        await company.consumed()
    await company.graph.wait_for_fault(refused)
    await company.judge()
    tokens = (await company.graph.stats())["requests"]["token"]
    assert tokens.keys() == {"200"}
    assert tokens["200"] > len(company.sites)
