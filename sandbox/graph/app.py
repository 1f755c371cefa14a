"""The sandbox's Entra and Graph as one aiohttp application."""

from functools import partial
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from sandbox.graph import batch, control, entra, limits, recording
from sandbox.graph.errors import JSON_TYPE, Answer, GraphError, LostAnswerError
from sandbox.graph.fault import Fault
from sandbox.graph.fault_kinds import SPOKEN
from sandbox.graph.faults import Faults
from sandbox.graph.recording import Request
from sandbox.graph.service import Call, Graph
from sandbox.graph.stats import LogLine
from sandbox.graph.world import World
from sandbox.ingress import Ingress

_JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_DIAGNOSTIC = '{"ServerInfo":{"DataCenter":"Sandbox","Slice":"E","Ring":"0","ScaleUnit":"000"}}'


def build(world: World) -> web.Application:
    """Returns the application: an ingress, then Graph under /v1.0, Entra, and the control endpoints under /_sandbox."""
    door = Door(world)
    app = web.Application(middlewares=[Ingress().middleware], client_max_size=16 * 2**20)
    app.add_subapp("/_sandbox", control.build(world, door.faults))
    app.router.add_route("*", "/{path:.*}", door.handle)
    app.on_shutdown.append(door.close)
    return app


class Door:
    """Receives requests and sends answers. One handler serves Entra and Graph, so that routing costs little time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.faults = Faults(world.random)
        self._graph = Graph(world, self.faults)

    async def close(self, _app: web.Application) -> None:
        self.faults.closing.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        try:
            if path.startswith("/v1.0/"):
                return await self._graph_request(request, path[5:], query)
            return await self._entra_request(request, path, query)
        except LostAnswerError as lost:
            if lost.seconds:
                await self.faults.hang(lost.seconds)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)

    async def _graph_request(self, request: web.Request, path: str, query: str) -> web.Response:
        world, headers = self._world, request.headers
        request_id = f"5a6db0c1-0000-4000-8000-{world.count():012x}"
        prefer = headers.getall("Prefer", [])
        call = Call(
            method=request.method,
            path=path,
            query=query,
            origin=f"{request.scheme}://{request.host}",
            authorization=headers.get("Authorization", ""),
            prefer=prefer[0] if len(prefer) == 1 else ", ".join(prefer),
            if_match=headers.get("If-Match"),
            content_type=headers.get("Content-Type", ""),
            client_request_id=headers.get("client-request-id", request_id),
            request_id=request_id,
            arrived=world.now(),
            code_style=world.switches.code_style,
        )
        if request.body_exists:
            call.payload = await request.read()
        if world.stats.recording.on:
            self._record("graph", request, path, query, call.payload or b"")
        if path == "/$batch":
            answer = await self._batch(call)
        else:
            answer = self._graph.run_now(call) if self._graph.instant else await self._graph.run(call)
            if call.usage is not None:
                limits.note_retry_after(call.usage, answer, world.now())
        sent = {
            "request-id": request_id,
            "client-request-id": call.client_request_id,
            "x-ms-ags-diagnostic": _DIAGNOSTIC,
            "Cache-Control": "private",
        }
        if answer.status != 204:
            sent["Content-Type"] = _JSON if answer.body and answer.content_type == JSON_TYPE else answer.content_type
        sent.update(answer.headers)
        return web.Response(status=answer.status, body=answer.body or None, headers=sent)

    async def _batch(self, call: Call) -> Answer:
        async def act() -> Answer:
            try:
                return await batch.run(self._graph, call)
            except GraphError as error:
                return call.refused(error)

        try:
            tenant = self._graph.authenticate(call.authorization).tenant.id
            fault = self.faults.strike("batch", tenant, None) if self.faults else None
            if fault is None:
                answer = await act()
            else:
                spoken = partial(_spoken, call)
                answer = await self.faults.suffer(fault, act, spoken)
        except GraphError as error:
            answer = call.refused(error)
        except LostAnswerError:
            self._note("batch", call.method, call.path, 0)
            raise
        self._note("batch", call.method, call.path, answer.status)
        return answer

    async def _entra_request(self, request: web.Request, path: str, query: str) -> web.Response:
        segments = [unquote(each) for each in path.strip("/").split("/")]
        form = dict(parse_qsl((await request.read()).decode("utf-8", "replace"), keep_blank_values=True))
        if self._world.stats.recording.on:
            shown = {name: "…" if "secret" in name else value for name, value in form.items()}
            self._record("entra", request, path, query, orjson.dumps(shown) if shown else b"")
        asked = dict(parse_qsl(query))
        match request.method, segments:
            case "GET", [tenant, "v2.0", ".well-known", "openid-configuration"]:
                operation = "openid"
            case "GET", ["common", "discovery", "instance"]:
                operation, tenant = "discovery", ""
            case "POST", [tenant, "oauth2", "v2.0", "token"]:
                operation = "token"
            case _:
                return web.json_response({"error": "not found"}, status=404)

        async def act() -> Answer:
            match operation:
                case "openid":
                    return entra.openid(self._world, tenant)
                case "token":
                    return entra.token(self._world, tenant, form)
                case _:
                    return entra.discovery(asked.get("authorization_endpoint", ""))

        def spoken(fault: Fault) -> Answer:
            if fault.kind in entra.REFUSALS:
                app = form.get("client_id", "")
                return entra.refusal(self._world, fault.kind, tenant=tenant, app=app)
            kind = "gateway-timeout" if fault.kind == "late" else fault.kind
            status = int(kind) if kind.isdecimal() else SPOKEN[kind][0]
            return entra.failure(self._world, status, fault.retry_after)

        fault = self.faults.strike(operation, tenant.lower(), None)
        try:
            answer = await (act() if fault is None else self.faults.suffer(fault, act, spoken))
        except LostAnswerError:
            self._note(operation, request.method, path, 0)
            raise
        self._note(operation, request.method, path, answer.status)
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={"Content-Type": f"{answer.content_type}; charset=utf-8", **answer.headers},
        )

    def _note(self, operation: str, method: str, path: str, status: int) -> None:
        line = LogLine(self._world.now(), method, path, None, operation, status, batched=False)
        self._world.stats.note(line)

    def _record(self, service: str, request: web.Request, path: str, query: str, body: bytes) -> None:
        origin, sent = f"{request.scheme}://{request.host}", recording.headers(request.headers)
        self._world.stats.recording.add(Request(service, origin, request.method, path, query, sent, body))


def _spoken(call: Call, fault: Fault) -> Answer:
    return call.refused(fault.error("", ""))
