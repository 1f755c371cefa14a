"""Core's API over Core's real database: each answer shows what is committed when the request arrives."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import orjson
from aiohttp import web

from sandbox.core import api
from sandbox.core.database import CoreDatabase
from sandbox.core.document import dump
from sandbox.ingress import Ingress
from sandbox.servers.process import ServerFailedError

_UNAVAILABLE: Final = "Core's database does not answer"


def build(
    database: CoreDatabase, clock: Callable[[], datetime], *, token: str, page_size: int = 100
) -> web.Application:
    """Returns the API without control endpoints, except `GET /_sandbox/schedule`. Only SQL changes the schedule.

    While the database is unavailable, every answer is 503.
    """

    @web.middleware
    async def read(request: web.Request, handler: api.Handler) -> web.StreamResponse:
        try:
            # (Nothing is awaited between this assignment and the answer: no other request can replace the schedule.)
            core.schedule = await asyncio.to_thread(database.schedule, clock)
        except ServerFailedError:
            return api.problem(503, _UNAVAILABLE)
        return await handler(request)

    core = api.Core(database.schedule(clock), token, page_size)
    app = web.Application(middlewares=[Ingress().middleware, api.problems, read])
    app[api.CORE] = core
    app.add_routes(api.ROUTES)
    app.router.add_get("/_sandbox/schedule", _show)
    return app


async def _show(request: web.Request) -> web.Response:
    body = orjson.dumps(dump(request.app[api.CORE].schedule), option=orjson.OPT_UTC_Z)
    return web.Response(body=body, content_type="application/json")
