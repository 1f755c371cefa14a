"""Core's API as the service reads it, from the sandbox's Core, which other tests check against the OpenAPI file."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiohttp.test_utils import TestServer

from consumer.core.api import CoreApi
from consumer.domain.errors import CoreUnavailableError, InvalidRecordError
from consumer.domain.window import Window
from consumer.foreign import ForeignAnswers
from consumer.http import Http
from sandbox.control import CoreControl, IngressControl
from sandbox.core.app import build
from sandbox.core.rows import Job, Site, Worker
from sandbox.core.schedule import Schedule

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
WINDOW = Window.of(NOW, 21)


class Core:
    """A Core of a few workers, and the service's client of it."""

    def __init__(self, url: str, schedule: Schedule, api: CoreApi, ingress: IngressControl, seen: list[str]) -> None:
        self.url = url
        self.schedule = schedule
        self.api = api
        self.ingress = ingress
        self.foreign_answers = seen

    async def fault(self, **fault: Any) -> None:
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.url}/_sandbox/faults", json=fault)).raise_for_status()

    async def read(self) -> dict[str, set[str]]:
        return {roster.address: set(roster.jobs) async for roster in self.api.schedule("acme", WINDOW)}


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    schedule = Schedule(lambda: NOW)
    schedule.put_site(Site("acme", "Acme", "Europe/London"))
    for worker_id, email in (
        ("w1", "Ben@x.example"),
        ("w2", "anna@x.example "),
        ("w3", "ben@X.example"),
        ("w4", "zoë@x.example"),
    ):
        schedule.put_worker(Worker(worker_id, "acme", email))
    for number, worker_id in enumerate(("w1", "w2", "w3", "w1")):
        start = NOW + timedelta(days=number + 1)
        job = Job(job_id=f"J{number}", site_id="acme", starts_at=start, ends_at=start + timedelta(hours=1))
        schedule.add_job(job, [worker_id])
    http = Http(ca_file=None, timeout=5)
    seen: list[str] = []
    foreign = ForeignAnswers(seen.append, time.monotonic)
    async with TestServer(build(schedule, token="secret", page_size=1)) as server:
        url = str(server.make_url("")).rstrip("/")
        async with CoreControl(url) as control:
            yield Core(url, schedule, CoreApi(url, lambda: "secret", http, foreign), control.ingress, seen)
    await http.close()


async def test_each_mailbox_is_returned_once_with_the_jobs_of_all_its_workers(core: Core) -> None:
    assert await core.read() == {"anna@x.example": {"J1"}, "ben@x.example": {"J0", "J2", "J3"}, "zoë@x.example": set()}


async def test_a_site_without_workers_is_an_empty_schedule(core: Core) -> None:
    core.schedule.put_site(Site("new", "New", "UTC"))
    assert [roster async for roster in core.api.schedule("new", WINDOW)] == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500, "page": 3},
        {"kind": "status", "status": 404},
        {"kind": "invalid_json", "page": 2},
        {"kind": "disconnect", "page": 2},
        {"kind": "repeat", "page": 2},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_a_page_that_fails_fails_the_read(core: Core, fault: dict[str, Any]) -> None:
    await core.fault(**fault)
    with pytest.raises(CoreUnavailableError):
        await core.read()


async def test_a_step_backwards_fails_the_read(core: Core) -> None:
    async with httpx.AsyncClient() as client:
        await client.put(f"{core.url}/_sandbox/page-size", json={"workers": 4})
    await core.fault(kind="step_back")
    with pytest.raises(CoreUnavailableError, match="backwards"):
        await core.read()


async def test_one_unusable_row_is_reported_and_fails_nothing(core: Core) -> None:
    await core.fault(kind="unusable_row", page=1)
    [anna, *_] = [roster async for roster in core.api.schedule("acme", WINDOW)]
    assert anna.jobs == {}
    assert anna.unusable == {"J1": "ends_at is before starts_at"}


@pytest.mark.parametrize(
    ("kind", "jobs", "unusable", "nameless"),
    [
        ("half_pair", set(), {"J1": "subject holds broken characters"}, 0),
        ("nameless_row", set(), {}, 1),
        ("bom", {"J1"}, {}, 0),
    ],
)
async def test_a_broken_text_fails_its_row_and_a_byte_order_mark_is_accepted(
    core: Core, kind: str, jobs: set[str], unusable: dict[str, str], nameless: int
) -> None:
    await core.fault(kind=kind, page=1)
    [anna, *others] = [roster async for roster in core.api.schedule("acme", WINDOW)]
    assert (set(anna.jobs), anna.unusable, anna.nameless) == (jobs, unusable, nameless)
    assert {roster.address: set(roster.jobs) for roster in others} == {
        "ben@x.example": {"J0", "J2", "J3"},
        "zoë@x.example": set(),
    }


async def test_a_worker_that_is_null_is_skipped(core: Core) -> None:
    await core.fault(kind="no_worker", page=1)
    assert set(await core.read()) == {"ben@x.example", "zoë@x.example"}


@pytest.mark.parametrize("email", ["\tben@x.example", "\xa0ben@x.example", "\u3000ann@x.example", "zoë@x.example\t"])
async def test_white_space_that_sql_does_not_trim_fails_no_sweep(core: Core, email: str) -> None:
    core.schedule.put_worker(Worker("w9", "acme", email))
    start = NOW + timedelta(days=1)
    core.schedule.add_job(Job(job_id="J9", site_id="acme", starts_at=start, ends_at=start), ["w9"])
    read: dict[str, set[str]] = {}
    async for roster in core.api.schedule("acme", WINDOW):
        read.setdefault(roster.address, set()).update(roster.jobs)
    assert "J9" in read[email.strip()]
    assert {"J0", "J2", "J3"} <= read["ben@x.example"]


async def test_a_job_by_id_with_a_broken_text_is_invalid_and_names_the_field(core: Core) -> None:
    await core.fault(kind="half_pair", operation="job", times=1)
    with pytest.raises(InvalidRecordError, match="subject holds broken characters"):
        await core.api.job("acme", "J0")
    await core.fault(kind="bom", operation="job", times=1)
    assert await core.api.job("acme", "J0") is not None


async def test_the_token_is_read_for_each_request(core: Core) -> None:
    tokens = iter(["wrong", "wrong", "secret"])  # after a 401 it is asked for again
    http = Http(ca_file=None, timeout=5)
    api = CoreApi(core.url, lambda: next(tokens), http)
    with pytest.raises(CoreUnavailableError, match="401"):
        await api.job("acme", "J0")
    assert await api.job("acme", "J0") is not None
    await http.close()


async def test_a_job_by_id_has_its_workers_mailboxes(core: Core) -> None:
    job = await core.api.job("acme", "J0")
    assert job is not None
    assert job.addresses == {"ben@x.example"}
    assert await core.api.job("acme", "J99") is None


async def test_a_failed_read_of_a_job_is_not_a_missing_job(core: Core) -> None:
    await core.fault(kind="status", operation="job", status=503)
    with pytest.raises(CoreUnavailableError):
        await core.api.job("acme", "J0")
    await core.fault(kind="invalid_json", operation="job")
    with pytest.raises((CoreUnavailableError, InvalidRecordError)):
        await core.api.job("acme", "J0")


async def test_a_wrong_token_is_a_failed_read(core: Core) -> None:
    http = Http(ca_file=None, timeout=5)
    with pytest.raises(CoreUnavailableError, match="401"):
        await CoreApi(core.url, lambda: "wrong", http).job("acme", "J0")
    await http.close()


async def test_the_token_is_read_again_after_a_401(core: Core) -> None:
    tokens = iter(["old", "secret"])
    http = Http(ca_file=None, timeout=5)
    assert await CoreApi(core.url, lambda: next(tokens), http).job("acme", "J0") is not None
    await http.close()


async def test_a_token_that_did_not_change_is_tried_once(core: Core) -> None:
    http = Http(ca_file=None, timeout=5)
    async with CoreControl(core.url) as control:
        with pytest.raises(CoreUnavailableError, match="CALSYNC_CORE_API_TOKEN"):
            await CoreApi(core.url, lambda: "wrong", http).job("acme", "J0")
        assert await control.requests() == {"job 401": 1}
    await http.close()


async def test_each_request_carries_the_present_token(core: Core) -> None:
    now = {"token": "old"}
    http = Http(ca_file=None, timeout=5)
    api = CoreApi(core.url, lambda: now["token"], http)
    with pytest.raises(CoreUnavailableError):
        await api.job("acme", "J0")
    now["token"] = "secret"
    assert await api.job("acme", "J0") is not None
    await http.close()


PROBLEM = "application/problem+json"
NOT_FOUND = {"title": "Not Found", "status": 404, "code": "job_not_found", "job_id": "J9"}


async def test_only_cores_own_problem_code_means_that_a_job_is_gone(core: Core) -> None:
    await core.ingress.answer(content_type=f"{PROBLEM}; charset=utf-8", body=json.dumps(NOT_FOUND), times=1)
    assert await core.api.job("acme", "J9") is None
    assert await core.api.job("acme", "J9") is None, "and the stand-in says the same"
    assert core.foreign_answers == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", "default backend - 404"),
        ("text/html", "<html><h1>404</h1></html>"),
        ("", ""),
        (PROBLEM, ""),
        (PROBLEM, "[]"),
        (PROBLEM, json.dumps({"title": "Not Found", "status": 404})),
        (PROBLEM, json.dumps({"type": "about:blank", "title": "Not Found", "status": 404, "detail": "No route"})),
        (PROBLEM, json.dumps(NOT_FOUND | {"code": "not_found"})),
        (PROBLEM, json.dumps(NOT_FOUND | {"code": "site_not_found"})),
        (PROBLEM, json.dumps(NOT_FOUND | {"job_id": "J8"})),
        (PROBLEM, json.dumps({name: value for name, value in NOT_FOUND.items() if name != "job_id"})),
        (PROBLEM, json.dumps(NOT_FOUND)[:-1]),
        ("application/json", json.dumps(NOT_FOUND)),
        ("text/html", json.dumps(NOT_FOUND)),
    ],
)
async def test_any_other_404_is_a_failed_read(core: Core, content_type: str, body: str) -> None:
    await core.ingress.answer(content_type=content_type, body=body)
    with pytest.raises(CoreUnavailableError) as failed:
        await core.api.job("acme", "J9")
    assert failed.value.foreign
    assert core.foreign_answers == ["core"]


async def test_an_error_of_core_itself_is_not_foreign(core: Core) -> None:
    await core.fault(kind="status", operation="job", status=503, retry_after=7)
    with pytest.raises(CoreUnavailableError) as failed:
        await core.api.job("acme", "J0")
    assert (failed.value.foreign, failed.value.retry_after) == (False, 7)
    assert core.foreign_answers == []


@pytest.mark.parametrize("status", [404, 429, 503])
async def test_only_core_itself_may_ask_for_more_than_a_minute(core: Core, status: int) -> None:
    wait = {"Retry-After": "1800"}
    await core.ingress.answer("/sites/", status=status, content_type="text/html", body="<html>", headers=wait)
    with pytest.raises(CoreUnavailableError) as failed:
        await core.api.job("acme", "J0")
    assert failed.value.retry_after == 60
    await core.ingress.clear()
    await core.fault(kind="status", operation="job", status=503, retry_after=1800)
    with pytest.raises(CoreUnavailableError) as failed:
        await core.api.job("acme", "J0")
    assert failed.value.retry_after == 1800


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 405, 413, 429, 500, 502, 503, 504])
async def test_a_page_of_an_ingress_is_a_failed_read_at_any_status(core: Core, status: int) -> None:
    await core.ingress.answer(status=status, content_type="text/html", body="<html></html>")
    with pytest.raises(CoreUnavailableError) as failed:
        await core.api.job("acme", "J0")
    assert failed.value.foreign
    with pytest.raises(CoreUnavailableError):
        await core.read()
    assert set(core.foreign_answers) == {"core"}


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 206])
@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>Please sign in</html>",
        "null",
        "[]",
        "{}",
        '{"ok": true}',
        '{"job_id": "J0", "site_id": "acme"}',
        '{"job_id": "J0", "site_id": "acme", "revision": 3, "status": "scheduled"}',
        '{"job_id": "J0", "site_id": "acme", "revision": 3, "status": "scheduled", "workers": []}',
        '{"job_id": "J1", "site_id": "acme", "revision": 3, "status": "x", "workers": 0,"starts_at": 0, "ends_at": 0}',
    ],
)
async def test_a_success_that_is_not_the_whole_job_is_a_failed_read(core: Core, status: int, body: str) -> None:
    await core.ingress.answer("/sites/acme/jobs/", status=status, content_type="application/json", body=body)
    with pytest.raises(CoreUnavailableError):
        await core.api.job("acme", "J0")


@pytest.mark.parametrize("status", [201, 202, 203, 206])
async def test_a_job_with_another_status_than_200_is_a_failed_read(core: Core, status: int) -> None:
    body = json.dumps(
        {"job_id": "J0", "site_id": "acme", "revision": 3, "status": "x", "workers": []}
        | {"starts_at": None, "ends_at": None}
    )
    await core.ingress.answer("/sites/acme/jobs/", status=status, content_type="application/json", body=body)
    with pytest.raises(CoreUnavailableError):
        await core.api.job("acme", "J0")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html></html>",
        "null",
        "[]",
        "{}",
        '{"workers": []}',
        '{"workers": null, "next_cursor": null}',
        '{"workers": [], "next_cursor": 0}',
        '{"value": []}',
    ],
)
async def test_a_success_without_a_page_fails_the_schedule(core: Core, body: str) -> None:
    await core.ingress.answer("/sites/acme/schedule", status=200, content_type="application/json", body=body, skip=1)
    with pytest.raises(CoreUnavailableError):
        await core.read()


async def test_half_a_character_in_one_row_does_not_fail_the_page(core: Core) -> None:
    async with httpx.AsyncClient() as client:
        shown = await client.get(f"{core.url}/sites/acme/jobs/J0", headers={"Authorization": "Bearer secret"})
    row = {name: value for name, value in shown.json().items() if name != "workers"}
    page = {"workers": [{"worker_id": "w", "calendar_email": "a@x.example", "jobs": [row | {"job_id": "J0"}]}]}
    body = "\ufeff" + json.dumps(page | {"next_cursor": None}).replace(
        '"status"', '"notes": "call \\ud83d", "status"', 1
    )
    await core.ingress.answer("/sites/acme/schedule", status=200, content_type="application/json", body=body)
    assert await core.read() in ({"a@x.example": {"J0"}}, {"a@x.example": set()})
