"""Core as one web application: its API, and the control endpoints beside it."""

from aiohttp import web

from sandbox.core import api, control
from sandbox.core.schedule import Schedule
from sandbox.ingress import Ingress


def build(
    schedule: Schedule, *, token: str, page_size: int = 100, publish: control.Publish | None = None
) -> web.Application:
    """Serves the schedule; `publish` is called with the changes that are made through the control endpoints."""
    core = api.Core(schedule, token, page_size)
    app = web.Application(middlewares=[Ingress().middleware, api.problems])
    app[api.CORE] = core
    app.add_routes(api.ROUTES)
    app.add_subapp("/_sandbox/", control.build(core, publish))
    return app
