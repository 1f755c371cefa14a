"""The control endpoints under `/_sandbox/`: read and change the schedule, set faults, count requests.

A change answers `{"changes": [{"op", "job_id", "revision"}]}`, after the changes are on the topic if there is one.
A document that Core's database would refuse gets 400. An unknown id gets 404.

| request | what it does |
|---|---|
| `GET /_sandbox/schedule` | returns the whole database: `{"revision", "sites", "workers", "jobs"}` |
| `PUT /_sandbox/schedule` | replaces it with such a document, without change records (a restored database) |
| `PUT /_sandbox/sites/{site_id}` `{"name", "timezone"}` | adds or changes a site |
| `PUT /_sandbox/workers/{worker_id}` `{"site_id", "calendar_email"}` | adds a worker or changes the worker's address |
| `DELETE /_sandbox/workers/{worker_id}` | removes a worker |
| `POST /_sandbox/jobs` `{"job_id", "site_id", column…, "workers": [worker_id…]}` | adds a job |
| `PATCH /_sandbox/jobs/{job_id}` `{column…, "workers": [worker_id…]}` | changes a job in one change |
| `DELETE /_sandbox/jobs/{job_id}` | deletes a job |
| `POST /_sandbox/truncate` | empties the table |
| `POST /_sandbox/snapshot` `{"kind": "initial" or "incremental"}` | sends every row as a read event |
| `POST /_sandbox/generate` `{"sites", "workers", "jobs", "seed", "start", "days"}` | adds plausible data |
| `POST /_sandbox/random-changes` `{"count", "seed", "start", "days"}` | makes random changes, as planners do |
| `GET`, `POST`, `DELETE /_sandbox/faults` | lists, adds, clears faults (`faults.py`) |
| `/_sandbox/ingress` | controls the ingress in front of Core (`sandbox/ingress.py`) |
| `PUT /_sandbox/page-size` `{"workers"}` | sets the number of workers on a page |
| `GET`, `DELETE /_sandbox/requests` | returns or resets the requests by operation and status, and the most at once |
"""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import orjson
from aiohttp import web

from sandbox.core.api import Core, Handler
from sandbox.core.document import dump, load
from sandbox.core.generate import generate, random_change
from sandbox.core.rows import Change, Job, Site, Worker, instant, job_fields

Publish = Callable[[Sequence[Change]], Awaitable[None]]
"""Takes the changes of each operation, in order. Returns when they are on the topic."""


def build(core: Core, publish: Publish | None = None) -> web.Application:
    """Returns the control endpoints of a Core. Mount them at `/_sandbox/`."""
    app = web.Application(middlewares=[refusals])
    app.add_routes(Control(core, publish).routes())
    return app


class Control:
    """The control endpoints of one Core."""

    def __init__(self, core: Core, publish: Publish | None = None) -> None:
        self._core = core
        self._publish = publish

    def routes(self) -> list[web.RouteDef]:
        """Returns the routes of the table in the module's docstring."""
        return [
            web.get("/schedule", self.get_schedule),
            web.put("/schedule", self.put_schedule),
            web.put("/sites/{site_id}", self.put_site),
            web.put("/workers/{worker_id}", self.put_worker),
            web.delete("/workers/{worker_id}", self.delete_worker),
            web.post("/jobs", self.add_job),
            web.patch("/jobs/{job_id}", self.change_job),
            web.delete("/jobs/{job_id}", self.delete_job),
            web.post("/truncate", self.truncate),
            web.post("/snapshot", self.snapshot),
            web.post("/generate", self.generate),
            web.post("/random-changes", self.random_changes),
            web.get("/faults", self.get_faults),
            web.post("/faults", self.add_fault),
            web.delete("/faults", self.clear_faults),
            web.put("/page-size", self.put_page_size),
            web.get("/requests", self.get_requests),
            web.delete("/requests", self.forget_requests),
        ]

    async def get_schedule(self, _request: web.Request) -> web.Response:
        return _json(dump(self._core.schedule))

    async def put_schedule(self, request: web.Request) -> web.Response:
        load(self._core.schedule, await request.json())
        return _json({"changes": []})

    async def put_site(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._core.schedule.put_site(Site(request.match_info["site_id"], body["name"], body["timezone"]))
        return _json({"changes": []})

    async def put_worker(self, request: web.Request) -> web.Response:
        body = await request.json()
        email = body["calendar_email"]
        if not (email is None or isinstance(email, str)):
            raise ValueError(f"calendar_email must be a text or null, not {email!r}")
        worker = Worker(request.match_info["worker_id"], body["site_id"], email)
        return await self._done(self._core.schedule.put_worker(worker))

    async def delete_worker(self, request: web.Request) -> web.Response:
        return await self._done(self._core.schedule.remove_worker(request.match_info["worker_id"]))

    async def add_job(self, request: web.Request) -> web.Response:
        body = await request.json()
        return await self._done(self._core.schedule.add_job(Job(**job_fields(body)), body.get("workers", ())))

    async def change_job(self, request: web.Request) -> web.Response:
        body = await request.json()
        changes = self._core.schedule.change_job(
            request.match_info["job_id"], workers=body.get("workers"), **job_fields(body)
        )
        return await self._done(changes)

    async def delete_job(self, request: web.Request) -> web.Response:
        return await self._done(self._core.schedule.delete(request.match_info["job_id"]))

    async def truncate(self, _request: web.Request) -> web.Response:
        return await self._done(self._core.schedule.truncate())

    async def snapshot(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        return await self._done(self._core.schedule.snapshot(body.get("kind", "initial")))

    async def generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        changes = generate(
            self._core.schedule,
            Random(body.get("seed", 0)),
            site_count=body["sites"],
            workers=body["workers"],
            jobs=body["jobs"],
            start=instant(body["start"]),
            days=body.get("days", 21),
        )
        return await self._done(changes)

    async def random_changes(self, request: web.Request) -> web.Response:
        body = await request.json()
        rng, start, days = Random(body.get("seed", 0)), instant(body["start"]), body.get("days", 21)
        rounds = [random_change(self._core.schedule, rng, start=start, days=days) for _ in range(body.get("count", 1))]
        return await self._done([change for changes in rounds for change in changes])

    async def get_faults(self, _request: web.Request) -> web.Response:
        return _json(self._core.faults.list())

    async def add_fault(self, request: web.Request) -> web.Response:
        self._core.faults.add(await request.json())
        return _json(self._core.faults.list())

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._core.faults.clear()
        return _json([])

    async def put_page_size(self, request: web.Request) -> web.Response:
        workers = (await request.json())["workers"]
        if type(workers) is not int or workers < 1:
            raise ValueError("workers must be a whole number above 0")
        self._core.page_size = workers
        return _json({"workers": workers})

    async def get_requests(self, _request: web.Request) -> web.Response:
        return _json({"requests": dict(self._core.requests), "peak": dict(self._core.peak)})

    async def forget_requests(self, _request: web.Request) -> web.Response:
        self._core.requests.clear()
        self._core.peak.clear()
        return _json({"requests": {}, "peak": {}})

    async def _done(self, changes: list[Change]) -> web.Response:
        if self._publish is not None and changes:
            await self._publish(changes)
        rows = [
            {"op": c.op, "job_id": c.job_id, "revision": None if c.after is None else c.after.revision} for c in changes
        ]
        return _json({"changes": rows})


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns the database's errors into answers: 404 for an unknown id, 400 for an unusable document."""
    try:
        return await handler(request)
    except KeyError as error:
        return _json({"error": f"unknown or missing: {error}"}, status=404)
    except (ValueError, TypeError) as error:
        return _json({"error": str(error)}, status=400)


def _json(document: Any, status: int = 200) -> web.Response:
    body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
    return web.Response(status=status, body=body, content_type="application/json")
