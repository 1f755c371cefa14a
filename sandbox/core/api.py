"""Core's API as described in `schemas/core-api.yaml`, over a `Schedule`, with faults that tests can set.

Everything under `/_sandbox/` controls the stand-in itself and is not part of Core (see `control.py`).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from sandbox.core.cursors import read_cursor, write_cursor
from sandbox.core.faults import Fault, Faults, Operation, broken, broken_bytes, spoil
from sandbox.core.rows import instant, row_json, worker_json
from sandbox.core.schedule import RosterKey, Schedule

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_JSON: Final = orjson.OPT_UTC_Z


@dataclass(slots=True)
class Core:
    """The state of the API: what it serves, and the requests that it has counted."""

    schedule: Schedule
    token: str
    page_size: int = 100
    """The number of workers on a page. It can be changed at any time."""
    faults: Faults = field(default_factory=Faults)
    requests: Counter[str] = field(default_factory=Counter)
    """The number of answered requests, by operation and status: `schedule 200`."""
    under_way: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    """The most requests of each operation that were in flight at once."""


CORE: Final = web.AppKey("core", Core)


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **members: str) -> web.Response:
    """Returns an error answer in the form of RFC 9457, with the given further members."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}
    return web.Response(
        status=status, body=orjson.dumps(body), content_type="application/problem+json", headers=headers
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns aiohttp's own errors, such as 404 for an unknown path, into problem documents."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return problem(error.status, error.text or error.reason)


def _accounted(operation: Operation) -> Callable[[Handler], Handler]:
    """Returns a decorator that checks the token and counts the operation's requests."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def accounted(request: web.Request) -> web.StreamResponse:
            core = request.app[CORE]
            core.under_way[operation] += 1
            core.peak[operation] = max(core.peak[operation], core.under_way[operation])
            try:
                if request.headers.get("Authorization") == f"Bearer {core.token}":
                    answer = await handler(request)
                else:
                    answer = problem(401, "The token is missing or not known", {"WWW-Authenticate": "Bearer"})
            except web.HTTPException as error:
                answer = problem(error.status, error.text or error.reason)
            finally:
                core.under_way[operation] -= 1
            core.requests[f"{operation} {answer.status}"] += 1
            return answer

        return accounted

    return decorate


@_accounted("schedule")
async def get_schedule(request: web.Request) -> web.StreamResponse:
    """Answers with one page of a site's schedule."""
    core = request.app[CORE]
    site_id = request.match_info["site_id"]
    cursor = request.query.get("cursor") or write_cursor(1, None)
    try:
        number, after = read_cursor(cursor)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"cursor: {error}") from None
    fault = core.faults.strike("schedule", site_id, page=number)
    if (answer := await _before(fault)) is not None:
        return answer
    start, end = _instant(request, "from"), _instant(request, "to")
    if end <= start:
        raise web.HTTPBadRequest(text="to: is not after from")
    if site_id not in core.schedule.sites:
        raise web.HTTPNotFound(text=f"There is no site {site_id}")
    page = _page(core, site_id, start, end, number, after)
    return await _answer(request, page if fault is None else spoil(fault, page, cursor), fault)


@_accounted("job")
async def get_job(request: web.Request) -> web.StreamResponse:
    """Answers with one job and its workers."""
    core = request.app[CORE]
    site_id, job_id = request.match_info["site_id"], request.match_info["job_id"]
    fault = core.faults.strike("job", site_id, job_id=job_id)
    if (answer := await _before(fault)) is not None:
        return answer
    job = core.schedule.jobs.get(job_id)
    if job is None or job.site_id != site_id:
        detail = f"There is no job {job_id} at site {site_id}"
        return problem(404, detail, code="job_not_found", job_id=job_id)
    row = row_json(job, workers=True)
    return await _answer(request, broken(row) if fault is not None and fault.kind == "half_pair" else row, fault)


ROUTES: Final = (
    web.get("/sites/{site_id}/schedule", get_schedule),
    web.get("/sites/{site_id}/jobs/{job_id}", get_job),
)


def _page(
    core: Core, site_id: str, start: datetime, end: datetime, number: int, after: RosterKey | None
) -> dict[str, Any]:
    found = core.schedule.roster(site_id, after, core.page_size + 1)
    shown = found[: core.page_size]
    workers = [
        {
            **worker_json(worker),
            "jobs": [
                row_json(job, workers=False)
                for job in core.schedule.jobs_of(worker.worker_id)
                if job.status != "cancelled" and job.overlaps(start, end)
            ],
        }
        for _, worker in shown
    ]
    more = len(found) > len(shown)
    return {"workers": workers, "next_cursor": write_cursor(number + 1, shown[-1][0]) if more else None}


async def _before(fault: Fault | None) -> web.Response | None:
    """Applies a fault that strikes before the request is read. Returns the fault's answer, if it has one."""
    if fault is not None and fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    if fault is None or fault.kind != "status":
        return None
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.location is not None:
        headers["Location"] = fault.location
    if fault.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(fault.status, "A fault of the sandbox", headers)


async def _answer(request: web.Request, document: Any, fault: Fault | None) -> web.StreamResponse:
    """Answers with the document as JSON, damaged by the fault if there is one."""
    body = broken_bytes(orjson.dumps(document, option=_JSON))
    if fault is not None and fault.kind == "bom":
        body = b"\xef\xbb\xbf" + body
    if fault is not None and fault.kind == "invalid_json":
        body = body[: len(body) // 2]
    if fault is None or fault.kind != "disconnect":
        return web.Response(body=body, content_type="application/json")
    answer = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await answer.prepare(request)
    await answer.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return answer


def _instant(request: web.Request, name: str) -> datetime:
    try:
        return instant(request.query[name])
    except KeyError:
        raise web.HTTPBadRequest(text=f"{name}: is missing") from None
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"{name}: {error}") from None
