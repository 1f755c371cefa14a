"""Core's API and its control endpoints, over a real socket. Each answer is checked against the OpenAPI file."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp.test_utils import TestServer
from openapi_schema_validator import OAS31Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

import schemas
from sandbox.core.app import build
from sandbox.core.rows import Change, Job, Site, Worker
from sandbox.core.schedule import Schedule

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOKEN = {"Authorization": "Bearer secret"}
API: dict[str, Any] = yaml.safe_load((schemas.FOLDER / "core-api.yaml").read_text(encoding="utf-8"))
REGISTRY: Registry[Any] = Registry().with_resource("api", DRAFT202012.create_resource(API))
RANGE = {"from": NOW.isoformat(), "to": (NOW + timedelta(days=21)).isoformat()}


def validate(operation: str, status: int, content_type: str, document: Any) -> None:
    """Checks an answer against the description of its operation."""
    path = next(path for path in API["paths"].values() if path["get"]["operationId"] == operation)
    answers = path["get"]["responses"]
    answer = answers.get(str(status)) or answers[f"{status // 100}XX"]
    if "$ref" in answer:
        answer = API["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    pointer = answer["content"][content_type]["schema"]["$ref"]
    checker = OAS31Validator.FORMAT_CHECKER
    OAS31Validator({"$ref": f"api{pointer}"}, registry=REGISTRY, format_checker=checker).validate(document)


@dataclass
class Client:
    """A client that asks Core as the service does, and validates each answer."""

    http: aiohttp.ClientSession
    published: list[Change]
    valid: bool = True

    async def ask(self, operation: str, path: str, query: dict[str, str] | None = None) -> tuple[int, Any]:
        async with self.http.get(path, params=query or {}, headers=TOKEN) as answer:
            document = await answer.json(content_type=None)
            if self.valid:
                validate(operation, answer.status, answer.content_type, document)
            return answer.status, document

    async def page(self, cursor: str = "", site: str = "acme") -> tuple[int, Any]:
        return await self.ask("getSchedule", f"/sites/{site}/schedule", {**RANGE, "cursor": cursor})

    async def pages(self) -> list[Any]:
        pages: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            status, page = await self.page(cursor)
            assert status == 200
            pages.append(page)
            cursor = page["next_cursor"]
        return pages

    async def job(self, job_id: str, site: str = "acme") -> tuple[int, Any]:
        return await self.ask("getJob", f"/sites/{site}/jobs/{job_id}")

    async def control(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        async with self.http.request(method, f"/_sandbox/{path}", json=body) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def fault(self, **fault: Any) -> None:
        self.valid = False
        await self.control("POST", "faults", fault)


@pytest.fixture
def schedule() -> Schedule:
    schedule = Schedule(lambda: NOW)
    schedule.put_site(Site("acme", "Acme", "Europe/London"))
    schedule.put_site(Site("bolt", "Bolt", "Europe/London"))
    for worker_id, email in (
        ("w1", "zed@acme.example"),
        ("w2", " Ann@acme.example "),
        ("w3", "ann-b@acme.example"),
        ("w4", "ANN@acme.example"),
        ("w5", None),
        ("w6", "Émile@acme.example"),
        ("w7", "_team@acme.example"),
        ("w8", "  "),
    ):
        schedule.put_worker(Worker(worker_id, "acme", email))

    def add(job_id: str, start: int, hours: int, workers: Sequence[str], **columns: Any) -> None:
        starts_at = NOW + start * HOUR
        row = Job(job_id=job_id, site_id="acme", starts_at=starts_at, ends_at=starts_at + hours * HOUR, **columns)
        schedule.add_job(row, workers)

    add("now", -1, 2, ["w1", "w5"], notes="a\nb")
    add("over", -2, 2, ["w1"])
    add("moment", 0, 0, ["w1"])
    add("last", 21 * 24 - 1, 2, ["w1"])
    add("beyond", 21 * 24, 2, ["w1"])
    add("cancelled", 1, 1, ["w1"], status="cancelled")
    schedule.add_job(Job(job_id="unscheduled", site_id="acme"), ["w1"])
    return schedule


@pytest.fixture
async def core(schedule: Schedule) -> AsyncIterator[Client]:
    published: list[Change] = []

    async def publish(changes: Sequence[Change]) -> None:
        published.extend(changes)

    async with (
        TestServer(build(schedule, token="secret", page_size=2, publish=publish)) as server,
        aiohttp.ClientSession(server.make_url("/")) as http,
    ):
        yield Client(http, published)


async def test_workers_are_ordered_by_the_bytes_of_their_addresses(core: Client) -> None:
    pages = await core.pages()

    assert [[worker["worker_id"] for worker in page["workers"]] for page in pages] == [
        ["w7", "w3"],  # "_" sorts before letters, and "-" before "@", unlike in any locale
        ["w2", "w4"],  # the same address, trimmed and lower-cased
        ["w1", "w6"],  # "É" is not lower-cased, and is beyond ASCII
    ]
    assert pages[1]["workers"][0]["calendar_email"] == " Ann@acme.example "


async def test_equal_addresses_may_be_on_two_pages(core: Client) -> None:
    await core.control("PUT", "page-size", {"workers": 3})

    pages = await core.pages()

    assert [[worker["worker_id"] for worker in page["workers"]] for page in pages] == [
        ["w7", "w3", "w2"],
        ["w4", "w1", "w6"],
    ]


async def test_jobs_that_overlap_the_range_are_shown_without_their_workers(core: Client) -> None:
    (zed,) = (w for page in await core.pages() for w in page["workers"] if w["worker_id"] == "w1")

    assert {job["job_id"] for job in zed["jobs"]} == {"now", "moment", "last"}
    assert all("workers" not in job for job in zed["jobs"])


async def test_adding_or_removing_a_worker_between_two_pages_shifts_nothing(core: Client) -> None:
    _, first = await core.page()
    await core.control("DELETE", "workers/w7")
    await core.control("PUT", "workers/new", {"site_id": "acme", "calendar_email": "a@acme.example"})

    _, second = await core.page(first["next_cursor"])

    assert [worker["worker_id"] for worker in second["workers"]] == ["w2", "w4"]


async def test_a_site_without_workers_is_an_empty_page(core: Client) -> None:
    assert await core.page(site="bolt") == (200, {"workers": [], "next_cursor": None})


async def test_a_job_is_shown_with_its_workers_in_every_state(core: Client) -> None:
    for job_id in ("now", "over", "beyond", "cancelled", "unscheduled"):
        status, job = await core.job(job_id)
        assert (status, job["job_id"]) == (200, job_id)
    _, job = await core.job("now")
    assert job["workers"] == [
        {"worker_id": "w1", "calendar_email": "zed@acme.example"},
        {"worker_id": "w5", "calendar_email": None},
    ]


async def test_an_unknown_site_or_job_is_a_404(core: Client) -> None:
    assert (await core.job("none"))[0] == 404
    assert (await core.job("now", site="bolt"))[0] == 404, "a job of another site"
    assert (await core.page(site="none"))[0] == 404
    async with core.http.get("/elsewhere") as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"from": "2026-11-23", "to": RANGE["to"]},
        {"from": RANGE["from"], "to": "soon"},
        {"from": RANGE["to"], "to": RANGE["from"]},
        {**RANGE, "cursor": "x"},
    ],
)
async def test_unreadable_parameters_are_refused(core: Client, query: dict[str, str]) -> None:
    assert (await core.ask("getSchedule", "/sites/acme/schedule", query))[0] == 400


async def test_the_token_is_required(core: Client) -> None:
    for headers in ({}, {"Authorization": "Bearer other"}):
        async with core.http.get("/sites/acme/jobs/now", headers=headers) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_fault_strikes_its_page_as_often_as_set(core: Client) -> None:
    await core.fault(kind="status", status=500, page=2, times=1)
    _, first = await core.page()

    assert (await core.page(first["next_cursor"]))[0] == 500
    assert (await core.page(first["next_cursor"]))[0] == 200


async def test_throttling_sends_retry_after(core: Client) -> None:
    await core.fault(kind="status", status=429, retry_after=7, operation="job", job_id="now")

    async with core.http.get("/sites/acme/jobs/now", headers=TOKEN) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert (await core.job("over"))[0] == 200


async def test_lists_can_be_empty_cut_repeated_or_out_of_order(core: Client) -> None:
    async def spoiled(**fault: Any) -> Any:
        await core.control("DELETE", "faults")
        await core.fault(**fault)
        status, page = await core.page()
        assert status == 200
        return page

    assert await spoiled(kind="empty") == {"workers": [], "next_cursor": None}
    cut = await spoiled(kind="cut")
    assert ([w["worker_id"] for w in cut["workers"]], cut["next_cursor"]) == (["w7"], None)
    repeated = await spoiled(kind="repeat")
    assert (await core.page(repeated["next_cursor"]))[1] == repeated
    begun_again = await spoiled(kind="rewind", page=1)
    again = (await core.page(begun_again["next_cursor"]))[1]
    assert again["workers"] == begun_again["workers"]
    assert again["next_cursor"] != begun_again["next_cursor"]
    assert [w["worker_id"] for w in (await spoiled(kind="step_back"))["workers"]] == ["w3", "w7"]


async def test_rows_can_be_missing_or_unusable(core: Client) -> None:
    await core.control("PUT", "page-size", {"workers": 9})
    await core.fault(kind="missing_rows", times=1)
    assert all(worker["jobs"] == [] for worker in (await core.page())[1]["workers"])

    await core.fault(kind="unusable_row", times=1)
    jobs = [job for worker in (await core.page())[1]["workers"] for job in worker["jobs"]]
    assert sum(job["ends_at"] < job["starts_at"] for job in jobs) == 1

    await core.fault(kind="nameless_row", times=1)
    jobs = [job for worker in (await core.page())[1]["workers"] for job in worker["jobs"]]
    assert sum("job_id" not in job for job in jobs) == 1

    await core.fault(kind="no_worker", times=1)
    assert (await core.page())[1]["workers"][0] is None


async def test_texts_can_be_broken_and_documents_begin_with_a_byte_order_mark(core: Client) -> None:
    await core.control("PUT", "page-size", {"workers": 9})
    for path in ("/sites/acme/schedule?from=2026-11-23T08:00:00Z&to=2026-12-14T08:00:00Z", "/sites/acme/jobs/now"):
        operation = "job" if "jobs" in path else "schedule"
        await core.fault(kind="half_pair", operation=operation, times=1)
        async with core.http.get(path, headers=TOKEN) as answer:
            assert (await answer.read()).count(b'"subject":"call \\ud83d"') == 1
        await core.fault(kind="bom", operation=operation, times=1)
        async with core.http.get(path, headers=TOKEN) as answer:
            assert (await answer.read()).startswith(b"\xef\xbb\xbf{")


async def test_answers_can_be_cut_off(core: Client) -> None:
    await core.fault(kind="invalid_json", times=1)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        await core.page()

    await core.fault(kind="disconnect", times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await core.page()


async def test_slow_answers_are_counted_while_in_flight(core: Client) -> None:
    await core.fault(kind="slow", operation="job", seconds=0.05)

    await asyncio.gather(*(core.job("now") for _ in range(3)))
    await core.page()

    assert await core.control("GET", "requests") == {
        "requests": {"job 200": 3, "schedule 200": 1},
        "peak": {"job": 3, "schedule": 1},
    }


async def test_changes_over_http_are_published_in_order(core: Client, schedule: Schedule) -> None:
    row = {"job_id": "J-9", "site_id": "acme", "starts_at": "2026-11-24T09:00:00+01:00", "workers": ["w1"]}
    added = await core.control("POST", "jobs", row)
    await core.control("PATCH", "jobs/J-9", {"notes": "Bell", "workers": ["w3"]})
    await core.control("PUT", "workers/w3", {"site_id": "acme", "calendar_email": "new@acme.example"})
    await core.control("DELETE", "jobs/J-9")

    assert added == {"changes": [{"op": "c", "job_id": "J-9", "revision": 8}]}
    assert [change.op for change in core.published] == ["c", "u", "u", "d"]
    assert core.published[0].after is not None
    assert core.published[0].after.starts_at == NOW + 24 * HOUR
    assert core.published[2].after is not None
    assert core.published[2].after.workers[0].calendar_email == "new@acme.example"
    assert "J-9" not in schedule.jobs


async def test_the_whole_database_can_be_read_and_restored(core: Client, schedule: Schedule) -> None:
    backup = await core.control("GET", "schedule")
    await core.control("POST", "truncate")
    assert (await core.job("now"))[0] == 404

    await core.control("PUT", "schedule", backup)

    assert (await core.job("now"))[0] == 200
    assert await core.control("GET", "schedule") == backup
    assert [change.op for change in core.published] == ["t"], "a restored database publishes nothing"


async def test_plausible_data_can_be_generated_and_changed(core: Client) -> None:
    body = {"sites": 1, "workers": 4, "jobs": 5, "seed": 1, "start": RANGE["from"]}
    assert len((await core.control("POST", "generate", body))["changes"]) == 20
    await core.control("PUT", "sites/crane", {"name": "Crane", "timezone": "Europe/Paris"})

    await core.control("POST", "random-changes", {"count": 10, "start": RANGE["from"]})
    snapshot = await core.control("POST", "snapshot", {"kind": "incremental"})

    assert {change["op"] for change in snapshot["changes"]} == {"r"}
    assert (await core.page(site="site-1"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "jobs", {"job_id": "now", "site_id": "acme"}, 400),
        ("POST", "jobs", {"job_id": "x", "site_id": "acme", "colour": "red"}, 400),
        ("PATCH", "jobs/now", {"starts_at": "2026-11-24T09:00:00"}, 400),
        ("PATCH", "jobs/now", {"notes": 7}, 400),
        ("PATCH", "jobs/none", {"notes": "x"}, 404),
        ("PUT", "workers/w9", {"site_id": "none", "calendar_email": None}, 404),
        ("PUT", "workers/w9", {"site_id": "acme", "calendar_email": 7}, 400),
        ("POST", "faults", {"kind": "gremlins"}, 400),
        ("PUT", "page-size", {"workers": 0}, 400),
    ],
)
async def test_a_refused_change_changes_nothing(core: Client, method: str, path: str, body: Any, status: int) -> None:
    assert "error" in await core.control(method, path, body, status)
    assert core.published == []
