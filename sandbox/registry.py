"""A stand-in schema registry with the part of Confluent's REST API that converters and consumers use.

`python -m sandbox.registry --port 0 [--user NAME:PASSWORD]` prints `listening http://127.0.0.1:PORT`.

| request | answer |
|---|---|
| `GET /subjects` | the names of the subjects |
| `GET`, `POST /subjects/{subject}/versions` | the version numbers; registers `{"schema"}` and returns `{"id"}` |
| `GET /subjects/{subject}/versions/{number or latest}` | `{"subject", "version", "id", "schema"}` |
| `GET /schemas/ids/{id}` | `{"schema"}` |
| `GET /schemas/ids/{id}/versions` | `[{"subject", "version"}]` |
| `PUT /_sandbox/fault` `{"kind": "down", "error" or "slow", "status", "seconds"}` | makes all of the above fail |
| `DELETE /_sandbox/fault` | ends the fault |
| `GET /_sandbox/requests` | the number of requests to each path |
| `/_sandbox/ingress` | see `sandbox/ingress.py` |

A schema may name types of other schemas. Then requests and answers have `"references"`, `[{"name", "subject",
"version"}]`, beside `"schema"`. If a registration has an `"id"` beside the schema, the schema gets this id, as in the
mode IMPORT of Confluent's registry.

A schema has the same id under every subject. An id is never used for two schemas.
Sources: Confluent's Schema Registry API reference; docs/facts/kafka.md 2.1.
"""

import argparse
import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import orjson
from aiohttp import web
from fastavro import parse_schema
from fastavro.schema import SchemaParseException, UnknownType

from sandbox.ingress import Ingress
from sandbox.serve import serve

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FaultKind = Literal["down", "error", "slow"]


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of every answer: the connection is closed, an error `status`, or a delay of `seconds`."""

    kind: FaultKind
    status: int = 500
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the schema is registered that another schema refers to as `name`."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True, slots=True)
class Schema:
    """A registered schema: its JSON, and where the types are registered that it names but does not define."""

    text: str
    references: tuple[Reference, ...] = ()

    def document(self) -> dict[str, Any]:
        """Returns the schema as answers show it."""
        references = {"references": [asdict(reference) for reference in self.references]} if self.references else {}
        return {"schema": self.text, **references}


class Registry:
    """The schemas, and the web application that serves them.

    `users` maps names to passwords. If it is empty, no login is needed.
    """

    def __init__(self, users: dict[str, str] | None = None) -> None:
        self.fault: Fault | None = None
        self.requests: Counter[str] = Counter()
        self.ingress = Ingress()
        self._schemas: dict[int, Schema] = {}
        self._subjects: dict[str, list[int]] = {}
        self._logins = {
            "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
            for name, password in (users or {}).items()
        }

    def register(
        self, subject: str, schema: str, references: Sequence[Reference] = (), schema_id: int | None = None
    ) -> int:
        """Adds a schema (JSON) to a subject and returns its id, which is `schema_id` if that is given.

        Raises ValueError if it is not an Avro schema, or if another schema has that id.
        """
        try:
            document = json.loads(schema)
            self._parse(document, references, {})
        except (SchemaParseException, UnknownType, ValueError, TypeError, LookupError) as error:
            raise ValueError(f"not an Avro schema: {error}") from error
        registered = Schema(json.dumps(document, separators=(",", ":")), tuple(references))
        if schema_id is None:
            known = (number for number, each in self._schemas.items() if each == registered)
            schema_id = next(known, max(self._schemas, default=0) + 1)
        if self._schemas.setdefault(schema_id, registered) != registered:
            raise ValueError(f"another schema has the id {schema_id}")
        versions = self._subjects.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def _parse(self, document: Any, references: Iterable[Reference], named: dict[str, Any]) -> None:
        for reference in references:
            if reference.name not in named:
                part = self._schemas[self._subjects[reference.subject][reference.version - 1]]
                self._parse(json.loads(part.text), part.references, named)
        parse_schema(document, named)

    def app(self) -> web.Application:
        """Returns the registry as a web application."""
        app = web.Application(middlewares=[self.ingress.middleware, self._guarded])
        app.router.add_get("/subjects", self._list_subjects)
        app.router.add_get("/subjects/{subject}/versions", self._list_versions)
        app.router.add_post("/subjects/{subject}/versions", self._post_version)
        app.router.add_get("/subjects/{subject}/versions/{version}", self._get_version)
        app.router.add_get("/schemas/ids/{id}", self._get_schema)
        app.router.add_get("/schemas/ids/{id}/versions", self._get_schema_versions)
        app.router.add_put("/_sandbox/fault", self._put_fault)
        app.router.add_delete("/_sandbox/fault", self._delete_fault)
        app.router.add_get("/_sandbox/requests", self._get_requests)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sandbox/"):
            return await handler(request)
        self.requests[request.path] += 1
        fault = self.fault
        if fault is not None and fault.kind == "down" and request.transport is not None:
            request.transport.abort()
        if fault is not None and fault.kind == "error":
            return _error(fault.status, 50001, "Error in the backend datastore")
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        if self._logins and request.headers.get("Authorization") not in self._logins:
            return _error(401, 40101, "User cannot access the resource.", {"WWW-Authenticate": "Basic"})
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            return _error(refusal.status, refusal.status, f"HTTP {refusal.status} {refusal.reason}")

    async def _list_subjects(self, _request: web.Request) -> web.Response:
        return _answer(list(self._subjects))

    async def _list_versions(self, request: web.Request) -> web.Response:
        versions = self._subjects.get(request.match_info["subject"])
        if versions is None:
            return _no_subject(request)
        return _answer(list(range(1, len(versions) + 1)))

    async def _post_version(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            if body.get("schemaType", "AVRO") != "AVRO":
                return _error(422, 42201, "Invalid schema: only Avro is stored here")
            references = [Reference(**reference) for reference in body.get("references", [])]
            subject = request.match_info["subject"]
            return _answer({"id": self.register(subject, body["schema"], references, body.get("id"))})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return _error(422, 42201, f"Invalid schema: {error}")

    async def _get_version(self, request: web.Request) -> web.Response:
        subject, wanted = request.match_info["subject"], request.match_info["version"]
        versions = self._subjects.get(subject)
        if versions is None:
            return _no_subject(request)
        number = len(versions) if wanted == "latest" else int(wanted) if wanted.isdecimal() else 0
        if not 1 <= number <= len(versions):
            return _error(404, 40402, f"Version {wanted} not found.")
        schema_id = versions[number - 1]
        document = self._schemas[schema_id].document()
        return _answer({"subject": subject, "version": number, "id": schema_id, **document})

    async def _get_schema(self, request: web.Request) -> web.Response:
        schema_id = self._schema_id(request)
        return _no_schema(request) if schema_id is None else _answer(self._schemas[schema_id].document())

    async def _get_schema_versions(self, request: web.Request) -> web.Response:
        schema_id = self._schema_id(request)
        if schema_id is None:
            return _no_schema(request)
        return _answer(
            [
                {"subject": subject, "version": versions.index(schema_id) + 1}
                for subject, versions in self._subjects.items()
                if schema_id in versions
            ]
        )

    async def _put_fault(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("kind") not in get_args(FaultKind):
            return _error(400, 400, f"kind must be one of {', '.join(get_args(FaultKind))}")
        self.fault = Fault(body["kind"], body.get("status", 500), body.get("seconds", 1.0))
        return _answer(body)

    async def _delete_fault(self, _request: web.Request) -> web.Response:
        self.fault = None
        return _answer({})

    async def _get_requests(self, _request: web.Request) -> web.Response:
        return _answer(dict(self.requests))

    def _schema_id(self, request: web.Request) -> int | None:
        text = request.match_info["id"]
        return int(text) if text.isdecimal() and int(text) in self._schemas else None


def _answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/vnd.schemaregistry.v1+json",
        headers=headers,
    )


def _error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return _answer({"error_code": code, "message": message}, status, headers)


def _no_subject(request: web.Request) -> web.Response:
    return _error(404, 40401, f"Subject '{request.match_info['subject']}' not found.")


def _no_schema(request: web.Request) -> web.Response:
    return _error(404, 40403, f"Schema {request.match_info['id']} not found")


def main() -> None:
    """Reads the command line and serves until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.registry", description="A stand-in schema registry")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 selects a free port")
    parser.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD", help="may be repeated")
    options = parser.parse_args()
    users = dict(user.split(":", 1) for user in options.user)
    serve(Registry(users).app(), options.host, options.port)


if __name__ == "__main__":
    main()
