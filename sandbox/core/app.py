"""Core as one web application: its API and the control endpoints."""

from aiohttp import web

from sandbox.core import api, control
from sandbox.core.schedule import Schedule
from sandbox.ingress import Ingress


def build(
    schedule: Schedule, *, token: str, page_size: int = 100, publish: control.Publish | None = None
) -> web.Application:
    """Returns the application. It calls `publish` with the changes that the control endpoints make."""
    core = api.Core(schedule, token, page_size)
    app = web.Application(middlewares=[Ingress().middleware, api.problems])
    app[api.CORE] = core
    app.add_routes(api.ROUTES)
    app.add_subapp("/_sandbox/", control.build(core, publish))
    return app
