"""The control endpoints under /_sandbox/, as docs/sandbox-graph.md lists them.

Wrong input gets 400, and an unknown name gets 404.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from sandbox.graph.faults import Faults
from sandbox.graph.users import act, mailbox_of, snapshot
from sandbox.graph.world import MAILBOX_STATES, App, Mailbox, Secret, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Document = dict[str, Any]


def build(world: World, faults: Faults) -> web.Application:
    """Returns the control endpoints of one world. Mount them at /_sandbox."""
    app = web.Application(middlewares=[_refusals], client_max_size=64 * 2**20)
    app.add_routes(_Settings(world).routes())
    app.add_routes(_Faults(world, faults).routes())
    app.add_routes(_Observation(world).routes())
    return app


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except LookupError as error:
        return _json({"error": str(error.args[0] if error.args else error)}, 404)
    except (ValueError, TypeError) as error:
        return _json({"error": str(error)}, 400)


class _Settings:
    """Tenants, apps, mailboxes, switches and user actions."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.put("/tenants/{tenant}", self.put_tenant),
            web.delete("/tenants/{tenant}", self.delete_tenant),
            web.put("/tenants/{tenant}/apps/{app}", self.put_app),
            web.delete("/tenants/{tenant}/apps/{app}", self.delete_app),
            web.put("/tenants/{tenant}/mailboxes", self.put_mailboxes),
            web.put("/tenants/{tenant}/mailboxes/{mailbox}", self.put_mailbox),
            web.get("/tenants", self.get_tenants),
            web.post("/tokens/revoke", self.revoke),
            web.get("/switches", self.get_switches),
            web.put("/switches", self.put_switches),
            web.post("/seed", self.seed),
            web.post("/user-actions", self.user_action),
        ]

    async def put_tenant(self, request: web.Request) -> web.Response:
        return _json({"tenant": self._world.tenant(request.match_info["tenant"]).id})

    async def delete_tenant(self, request: web.Request) -> web.Response:
        self._world.tenants.pop(request.match_info["tenant"].lower())
        return _done()

    async def put_app(self, request: web.Request) -> web.Response:
        """Adds or changes an app. If roles or secrets are given, they replace the existing ones."""
        document = await _document(request, {"roles", "secrets"})
        tenant = self._world.tenant(request.match_info["tenant"])
        name = request.match_info["app"].lower()
        roles = document.get("roles")
        secrets = [self._secret(each) for each in document.get("secrets") or ()]
        app = tenant.apps.setdefault(name, App(name))
        if roles is not None:
            app.roles = tuple(roles)
        if "secrets" in document:
            app.secrets = secrets
        return _json({"client_id": name, "roles": app.roles, "secrets": [asdict(each) for each in app.secrets]})

    async def delete_app(self, request: web.Request) -> web.Response:
        tenant = self._world.tenants[request.match_info["tenant"].lower()]
        tenant.apps.pop(request.match_info["app"].lower())
        return _done()

    async def put_mailboxes(self, request: web.Request) -> web.Response:
        """Takes `{"mailboxes": [{"address", "state"?, "time_zone"?}]}` or `{"pattern": "w{n}@x", "count", …}`."""
        document = await _document(request, {"mailboxes", "pattern", "count", "state", "time_zone"})
        common = {name: document[name] for name in ("state", "time_zone") if name in document}
        wanted = [{**common, **each} for each in document.get("mailboxes") or ()]
        if "pattern" in document:
            numbers = range(1, int(document["count"]) + 1)
            wanted += [{**common, "address": document["pattern"].replace("{n}", str(n))} for n in numbers]
        tenant = self._world.tenant(request.match_info["tenant"])
        for each in wanted:
            self._set(self._world.mailbox(tenant, each.pop("address")), each)
        return _json({"count": len(wanted)})

    async def put_mailbox(self, request: web.Request) -> web.Response:
        document = await _document(request, {"state", "time_zone", "aliases"})
        tenant = self._world.tenant(request.match_info["tenant"])
        mailbox = self._world.mailbox(tenant, request.match_info["mailbox"])
        self._set(mailbox, document)
        tenant.aliases.update({alias.strip().lower(): mailbox for alias in document.get("aliases") or ()})
        return _json(_mailbox(mailbox))

    async def get_tenants(self, _request: web.Request) -> web.Response:
        return _json(
            {
                tenant.id: {
                    "apps": {
                        app.client_id: {
                            "roles": app.roles,
                            "secrets": [asdict(each) for each in app.secrets],
                        }
                        for app in tenant.apps.values()
                    },
                    "mailboxes": {each.address: _mailbox(each) for each in tenant.mailboxes.values()},
                }
                for tenant in self._world.tenants.values()
            }
        )

    async def revoke(self, request: web.Request) -> web.Response:
        """Revokes the tokens of a tenant, of an app, or all tokens: they get 401 from now on."""
        document = await _document(request, {"tenant", "app"})
        tenant, app = document.get("tenant"), document.get("app")
        gone = [
            text
            for text, token in self._world.tokens.items()
            if (tenant is None or token.tenant.id == tenant.lower())
            and (app is None or token.app.client_id == app.lower())
        ]
        for text in gone:
            del self._world.tokens[text]
        return _json({"revoked": len(gone)})

    async def get_switches(self, _request: web.Request) -> web.Response:
        return _json(self._world.switches.describe())

    async def put_switches(self, request: web.Request) -> web.Response:
        self._world.switches.change(await _document(request))
        self._world.stats.resize_log(self._world.switches.log_size)
        return await self.get_switches(request)

    async def seed(self, request: web.Request) -> web.Response:
        document = await _document(request, {"seed"})
        self._world.random.seed(int(document["seed"]))
        return _done()

    async def user_action(self, request: web.Request) -> web.Response:
        """Does one action, or a list under `actions`. Answers with the events that were created or changed."""
        document = await _document(request)
        if "actions" not in document:
            return _json(snapshot(act(self._world, document)))
        return _json([snapshot(act(self._world, each)) for each in document["actions"]])

    def _secret(self, document: Document) -> Secret:
        unknown = document.keys() - {"value", "id", "expires"}
        if unknown:
            raise ValueError(f"unknown fields of a secret: {', '.join(sorted(unknown))}")
        expires = document.get("expires")
        if isinstance(expires, str):
            expires = datetime.fromisoformat(expires).timestamp()
        return Secret(document.get("id") or self._world.guid(), document["value"], expires)

    def _set(self, mailbox: Mailbox, document: Document) -> None:
        state = document.get("state", mailbox.state)
        if state not in MAILBOX_STATES:
            raise ValueError(f"there is no state {state!r}; the states are {', '.join(MAILBOX_STATES)}")
        mailbox.state = state
        mailbox.time_zone = document.get("time_zone", mailbox.time_zone)


class _Faults:
    """Sets, watches and releases faults."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/faults", self.add),
            web.get("/faults", self.list),
            web.delete("/faults", self.clear),
            web.delete("/faults/{fault}", self.remove),
            web.post("/faults/{fault}/release", self.release),
            web.get("/faults/{fault}/hits", self.hits),
        ]

    async def add(self, request: web.Request) -> web.Response:
        return _json(self._faults.add(await _document(request)).document())

    async def list(self, _request: web.Request) -> web.Response:
        return _json(self._faults.list())

    async def clear(self, _request: web.Request) -> web.Response:
        self._faults.clear()
        return _done()

    async def remove(self, request: web.Request) -> web.Response:
        self._faults.remove(request.match_info["fault"])
        return _done()

    async def release(self, request: web.Request) -> web.Response:
        return _json({"released": self._faults[request.match_info["fault"]].release()})

    async def hits(self, request: web.Request) -> web.Response:
        """Answers when the fault has struck `at_least` requests, at the latest after `timeout` seconds."""
        fault = self._faults[request.match_info["fault"]]
        at_least = int(request.query.get("at_least", "0"))
        reached = await fault.wait(at_least, float(request.query.get("timeout", "10")))
        return _json({**fault.document(), "reached": reached})


class _Observation:
    """Shows the state of the world and the requests that it received."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/events", self.events),
            web.get("/stats", self.stats),
            web.post("/stats/reset", self.reset),
            web.get("/log", self.log),
            web.get("/recording", self.recording),
            web.put("/recording", self.record),
        ]

    async def events(self, request: web.Request) -> web.Response:
        """Answers with the events of each requested mailbox, including mailboxes without events."""
        tenant, address = request.query.get("tenant"), request.query.get("mailbox")
        if address is not None:
            mailboxes = [mailbox_of(self._world, address, tenant and tenant.lower())]
        else:
            mailboxes = [
                mailbox
                for each in self._world.tenants.values()
                if tenant is None or each.id == tenant.lower()
                for mailbox in each.mailboxes.values()
            ]
        held: dict[str, list[Document]] = {}
        for mailbox in mailboxes:
            held.setdefault(mailbox.address, []).extend(map(snapshot, mailbox.events.values()))
        return _json(held)

    async def stats(self, _request: web.Request) -> web.Response:
        stats = self._world.stats
        usage = [
            (mailbox, app, each)
            for tenant in self._world.tenants.values()
            for mailbox in tenant.mailboxes.values()
            for app, each in mailbox.usage.items()
        ]
        requests: dict[str, dict[str, int]] = {}
        for (operation, status), count in sorted(stats.requests.items()):
            requests.setdefault(operation, {})["lost" if status == 0 else str(status)] = count
        return _json(
            {
                "requests": requests,
                "batches": {
                    "count": stats.batches.total(),
                    "sizes": {str(size): count for size, count in sorted(stats.batches.items())},
                },
                "max_in_flight": max((each.peak for *_, each in usage), default=0),
                "in_flight_by_mailbox": [
                    {
                        "tenant": mailbox.tenant.id,
                        "app": app,
                        "mailbox": mailbox.address,
                        "now": each.in_flight,
                        "peak": each.peak,
                    }
                    for mailbox, app, each in usage
                ],
                "throttled": sum(each.throttled for *_, each in usage),
                "duplicates": stats.duplicates,
                "early_retries": sum(each.early for *_, each in usage),
                "early_retries_by_mailbox": {mailbox.address: each.early for mailbox, _, each in usage if each.early},
                "invitations": stats.invitations,
            }
        )

    async def reset(self, _request: web.Request) -> web.Response:
        self._world.stats.reset()
        for tenant in self._world.tenants.values():
            for mailbox in tenant.mailboxes.values():
                for usage in mailbox.usage.values():
                    usage.peak, usage.throttled, usage.early = usage.in_flight, 0, 0
        return _done()

    async def log(self, _request: web.Request) -> web.Response:
        return _json([line._asdict() for line in self._world.stats.log])

    async def recording(self, _request: web.Request) -> web.Response:
        return _json(self._world.stats.recording.documents())

    async def record(self, request: web.Request) -> web.Response:
        """Switches the recording on or off. Switching it on starts an empty recording; switching it off keeps it."""
        wanted = (await _document(request, {"on"})).get("on")
        if type(wanted) is not bool:
            raise ValueError("on must be true or false")
        if wanted:
            self._world.stats.recording.start()
        else:
            self._world.stats.recording.on = False
        return _done()


def _mailbox(mailbox: Mailbox) -> Document:
    return {
        "guid": mailbox.guid,
        "state": mailbox.state,
        "time_zone": mailbox.time_zone,
        "calendars": mailbox.calendars,
    }


async def _document(request: web.Request, known: set[str] | None = None) -> Document:
    text = await request.read()
    document = orjson.loads(text) if text else {}
    if type(document) is not dict:
        raise ValueError("the body must be a JSON object")
    unknown = document.keys() - known if known is not None else set()
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    return document


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def _done() -> web.Response:
    return _json({})
