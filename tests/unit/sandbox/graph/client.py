"""A client of the sandbox's Graph, and the requests it sends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from sandbox.control import GraphControl
from sandbox.graph.world import TAG, World

MakeEvent = Callable[..., dict[str, Any]]

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

    async def close(self) -> None:
        await self.http.aclose()
        await self.control.close()

    async def log_in(
        self, tenant: str = TENANT, app: str = APP, secret: str = SECRET, scope: str = SCOPE
    ) -> httpx.Response:
        form = {
            "client_id": app,
            "client_secret": secret,
            "grant_type": "client_credentials",
            "scope": scope,
        }
        answer = await self.http.post(f"/{tenant}/oauth2/v2.0/token", data=form)
        self.token = answer.json().get("access_token", "")
        return answer

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        prefer: str | Sequence[str] = (),
        mailbox: str = ANN,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Sends a request. `path` starts after the mailbox. Each item of `prefer` is one Prefer line."""
        lines = [("Authorization", f"Bearer {self.token}"), *(headers or {}).items()]
        lines += [("Prefer", each) for each in ([prefer] if isinstance(prefer, str) else prefer)]
        return await self.http.request(method, f"/v1.0/users/{mailbox}{path}", json=body, headers=lines, params=params)

    async def create(self, body: Any = None, **options: Any) -> httpx.Response:
        return await self.ask("POST", "/events", event() if body is None else body, **options)

    async def view(
        self, start: str = "2026-10-01T00:00:00Z", end: str = "2026-10-31T00:00:00Z", **options: Any
    ) -> httpx.Response:
        params = {"startDateTime": start, "endDateTime": end, **options.pop("params", {})}
        return await self.ask("GET", "/calendarView", params=params, **options)

    async def batch(self, *requests: dict[str, Any]) -> httpx.Response:
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
