"""A sandbox on a real loopback socket, with one tenant, app and mailbox, and a client that has a token."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from sandbox.control import GraphControl, Secret
from sandbox.graph.app import build
from sandbox.graph.world import TAG, World

TENANT, APP, SECRET = "11111111-2222-4333-8444-555555555555", "aaaaaaaa-0000-4000-8000-000000000001", "s3cret"
ANN = "ann@acme.example"
SCOPE = "https://graph.microsoft.com/.default"


class Outlook:
    """A client of Graph, with access to the sandbox's world."""

    def __init__(self, url: str, world: World) -> None:
        self.url, self.world = url, world
        self.control = GraphControl(url)
        self.http = httpx.AsyncClient(base_url=url, timeout=10, verify=False)
        self.token = ""

    async def close(self):
        await self.http.aclose()
        await self.control.close()

    async def log_in(self, tenant=TENANT, app=APP, secret=SECRET, scope=SCOPE):
        form = {
            "client_id": app,
            "client_secret": secret,
            "grant_type": "client_credentials",
            "scope": scope,
        }
        answer = await self.http.post(f"/{tenant}/oauth2/v2.0/token", data=form)
        self.token = answer.json().get("access_token", "")
        return answer

    async def ask(self, method, path, body=None, *, prefer=(), mailbox=ANN, headers=None, params=None):
        """Sends a request. `path` starts after the mailbox. Each item of `prefer` is one Prefer line."""
        lines = [("Authorization", f"Bearer {self.token}"), *(headers or {}).items()]
        lines += [("Prefer", each) for each in ([prefer] if isinstance(prefer, str) else prefer)]
        return await self.http.request(method, f"/v1.0/users/{mailbox}{path}", json=body, headers=lines, params=params)

    async def create(self, body=None, **options):
        return await self.ask("POST", "/events", event() if body is None else body, **options)

    async def view(self, start="2026-10-01T00:00:00Z", end="2026-10-31T00:00:00Z", **options):
        params = {"startDateTime": start, "endDateTime": end, **options.pop("params", {})}
        return await self.ask("GET", "/calendarView", params=params, **options)

    async def batch(self, *requests):
        return await self.http.post(
            "/v1.0/$batch",
            json={"requests": requests},
            headers={"Authorization": f"Bearer {self.token}"},
        )


def event(**changes: Any) -> dict[str, Any]:
    """Returns a request body as the service sends it."""
    return {
        "subject": "Core Job — Northwind (Plant 4)",
        "body": {"contentType": "html", "content": "Job: Boiler<br>Notes: it&#x27;s <b>hot</b>"},
        "start": {"dateTime": "2026-10-12T09:00:00", "timeZone": "GMT Standard Time"},
        "end": {"dateTime": "2026-10-12T10:00:00", "timeZone": "GMT Standard Time"},
        "location": {"displayName": "1 High Street"},
        "isAllDay": False,
        "showAs": "busy",
        "isReminderOn": True,
        "reminderMinutesBeforeStart": 15,
        "sensitivity": "normal",
        "importance": "normal",
        **changes,
    }


def tagged(tag: str, **changes: Any) -> dict[str, Any]:
    return event(singleValueExtendedProperties=[{"id": TAG, "value": tag}], **changes)


@pytest.fixture
async def outlook() -> AsyncIterator[Outlook]:
    world = World()
    runner = web.AppRunner(build(world), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    outlook = Outlook(f"http://127.0.0.1:{runner.addresses[0][1]}", world)
    await outlook.control.add_app(TENANT, APP, [Secret(SECRET)])
    await outlook.control.add_mailboxes(TENANT, [ANN, "bob@acme.example"])
    await outlook.log_in()
    yield outlook
    await outlook.close()
    await runner.cleanup()


@pytest.fixture
def make_event():
    return event


@pytest.fixture
def make_tagged():
    return tagged
