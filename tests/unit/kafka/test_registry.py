"""Schemas from a registry: references, unknown schemas, and a registry that is unavailable."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any

import fastavro
import pytest
from aiohttp import BasicAuth, web
from aiohttp.test_utils import TestServer

from consumer.domain.errors import TransientError, UndecodableError
from consumer.foreign import ForeignAnswers
from consumer.http import Http
from consumer.kafka import registry as module
from consumer.kafka.registry import Registry
from consumer.kafka.writer_schema import WriterSchema
from sandbox.registry import Fault, Reference
from sandbox.registry import Registry as Sandbox

Connect = Callable[[web.Application], Awaitable[Registry]]

ADDRESS = {"type": "record", "name": "Address", "namespace": "a", "fields": [{"name": "line", "type": "string"}]}
CLIENT = {"type": "record", "name": "Client", "namespace": "b", "fields": [{"name": "at", "type": "a.Address"}]}
PLACE = {"type": "record", "name": "Place", "namespace": "c", "fields": [{"name": "at", "type": "a.Address"}]}
STARTS_AT = {"type": "long", "connect.name": "io.debezium.time.Timestamp"}
ROW = {
    "type": "record",
    "name": "Row",
    "namespace": "d",
    "fields": [
        {"name": "client", "type": "b.Client"},
        {"name": "place", "type": ["null", "c.Place"]},
        {"name": "starts_at", "type": ["null", STARTS_AT]},
    ],
}
ENVELOPE = {"type": "record", "name": "Envelope", "namespace": "d", "fields": [{"name": "after", "type": "Row"}]}
DATUM = {"client": {"at": {"line": "1 Mill Lane"}}, "place": {"at": {"line": "Gate 3"}}, "starts_at": 1_000}


def avro(schema: Any, datum: Any, *parts: Any) -> bytes:
    named: dict[str, Any] = {}
    for part in parts:
        fastavro.parse_schema(part, named)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema, named), datum)
    return stream.getvalue()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """The service's side of a registry that is served for the time of the test."""
    http = Http(ca_file=None, timeout=5.0)
    async with AsyncExitStack() as servers:

        async def connected(app: web.Application) -> Registry:
            server = await servers.enter_async_context(TestServer(app))
            return Registry(str(server.make_url("/")), None, http)

        yield connected
        await http.close()


def filled() -> tuple[Sandbox, int]:
    """A registry with the schemas above, each in a subject of its own, and the envelope's id."""
    held = Sandbox()
    address = Reference("a.Address", "addresses/of all:places", 1)
    client, place, row = (Reference(name, name.lower(), 1) for name in ("b.Client", "c.Place", "d.Row"))
    held.register(address.subject, json.dumps(ADDRESS))
    held.register(client.subject, json.dumps(CLIENT), [address])
    held.register(place.subject, json.dumps(PLACE), [address])
    held.register(row.subject, json.dumps(ROW), [client, place])
    return held, held.register("jobs-value", json.dumps(ENVELOPE), [row, row])


def reads(schema: WriterSchema) -> bool:
    """Whether it decodes what was written with the envelope's schema."""
    return bool(schema.decode(avro(ENVELOPE, {"after": DATUM}, ADDRESS, CLIENT, PLACE, ROW), 0) == {"after": DATUM})


async def test_each_schema_that_others_refer_to_is_fetched_once(connect: Connect) -> None:
    held, schema_id = filled()
    schema = await (await connect(held.app())).fetch(schema_id)
    datum = schema.decode(avro(ENVELOPE, {"after": DATUM}, ADDRESS, CLIENT, PLACE, ROW), 0)
    assert datum == {"after": DATUM}
    assert held.requests == Counter(
        [
            f"/schemas/ids/{schema_id}",
            "/subjects/d.row/versions/1",
            "/subjects/b.client/versions/1",
            "/subjects/c.place/versions/1",
            "/subjects/addresses/of all:places/versions/1",
        ]
    )


async def test_parts_of_two_schemas_are_fetched_once(connect: Connect) -> None:
    held, schema_id = filled()
    other_id = held.register("other-value", '"c.Place"', [Reference("c.Place", "c.place", 1)])
    registry = await connect(held.app())
    await registry.fetch(schema_id)
    schema = await registry.fetch(other_id)
    assert schema.decode(avro(PLACE, DATUM["place"], ADDRESS), 0) == DATUM["place"]
    assert held.requests["/subjects/c.place/versions/1"] == 1


@pytest.mark.parametrize(
    ("schema", "data", "datum"),
    [
        ("a.Address", b"\x02x", {"line": "x"}),
        (["null", "a.Address"], b"\x02\x02x", {"line": "x"}),
        ({"type": "array", "items": "a.Address"}, b"\x02\x02x\x00", [{"line": "x"}]),
    ],
)
async def test_a_schema_may_consist_of_references_only(connect: Connect, schema: Any, data: bytes, datum: Any) -> None:
    held, _ = filled()
    schema_id = held.register("names", json.dumps(schema), [Reference("a.Address", "addresses/of all:places", 1)])
    assert (await (await connect(held.app())).fetch(schema_id)).decode(data, 0) == datum


async def test_the_encoding_of_times_may_be_in_a_referenced_schema(connect: Connect) -> None:
    held, schema_id = filled()
    schema = await (await connect(held.app())).fetch(schema_id)
    assert schema.row({"starts_at": 1_000})["starts_at"].isoformat() == "1970-01-01T00:00:01+00:00"


async def test_a_registry_that_was_unavailable_is_asked_again(connect: Connect) -> None:
    held, schema_id = filled()
    registry = await connect(held.app())
    for fault in (Fault("down"), Fault("error", 503)):
        held.fault = fault
        with pytest.raises(TransientError):
            await registry.fetch(schema_id)
    held.fault = None
    schema = await registry.fetch(schema_id)
    assert registry.get(schema_id) is schema


def answering(documents: dict[str, Any], asked: Counter[str] | None = None) -> web.Application:
    """A registry that says just this; an answer may be a status instead."""

    async def answer(request: web.Request) -> web.Response:
        if asked is not None:
            asked[request.path] += 1
        document = documents.get(request.path, 404)
        if isinstance(document, int):
            return web.json_response({"error_code": 40403, "message": "?"}, status=document)
        return web.json_response(document)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


def referring(schema: Any, *subjects: str) -> dict[str, Any]:
    references = [{"name": subject, "subject": subject, "version": 2} for subject in subjects]
    return {"schema": json.dumps(schema), "references": references}


async def test_a_reference_that_the_registry_does_not_know_is_named(connect: Connect) -> None:
    registry = await connect(answering({"/schemas/ids/7": referring(PLACE, "a.Address")}))
    with pytest.raises(UndecodableError, match=r"has no version 2 of a\.Address, which schema 7 refers to"):
        await registry.fetch(7)


async def test_a_reference_that_could_not_be_fetched_is_asked_for_again(connect: Connect) -> None:
    documents: dict[str, Any] = {
        "/schemas/ids/7": referring(PLACE, "a.Address"),
        "/subjects/a.Address/versions/2": 500,
    }
    registry = await connect(answering(documents))
    with pytest.raises(TransientError, match="HTTP 500"):
        await registry.fetch(7)
    documents["/subjects/a.Address/versions/2"] = referring(ADDRESS)
    schema = await registry.fetch(7)
    assert schema.decode(avro(PLACE, DATUM["place"], ADDRESS), 0) == DATUM["place"]


async def test_schemas_that_refer_to_one_another_in_a_circle_are_refused(connect: Connect) -> None:
    circle = {
        "/schemas/ids/7": referring(ROW, "b.Client"),
        "/subjects/b.Client/versions/2": referring(CLIENT, "a.Address"),
        "/subjects/a.Address/versions/2": referring(ADDRESS, "b.Client"),
    }
    registry = await connect(answering(circle))
    with pytest.raises(UndecodableError, match=r"schema 7 refers to version 2 of b\.Client, which refers to itself"):
        await registry.fetch(7)


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {"/schemas/ids/7": {"schema": json.dumps(PLACE)}},
        {"/schemas/ids/7": {"schema": "{}", "schemaType": "PROTOBUF"}},
        {
            "/schemas/ids/7": referring(PLACE, "a.Address"),
            "/subjects/a.Address/versions/2": {"schema": "{}", "schemaType": "JSON"},
        },
    ],
    ids=["unknown", "refers to an undefined name", "another language", "a part in another language"],
)
async def test_an_unusable_schema_is_not_asked_for_again_at_once(connect: Connect, documents: dict[str, Any]) -> None:
    asked: Counter[str] = Counter()
    registry = await connect(answering(documents, asked))
    reasons = set()
    for _ in range(3):
        with pytest.raises(UndecodableError) as refused:
            await registry.fetch(7)
        reasons.add(str(refused.value))
    assert len(reasons) == 1
    assert asked["/schemas/ids/7"] == (1 if documents else 2)


class Lagging(dict[str, Any]):
    """What it is asked for once, it has learnt by the next time."""

    def get(self, path: str, default: Any = None) -> Any:
        found = super().get(path, default)
        self[path] = {"schema": '"string"'}
        return found


async def test_a_schema_that_a_lagging_registry_has_a_moment_later_is_read(connect: Connect) -> None:
    asked: Counter[str] = Counter()
    registry = await connect(answering(Lagging(), asked))
    assert await registry.fetch(7) is registry.get(7)
    assert asked["/schemas/ids/7"] == 2


async def test_a_schema_that_was_registered_later_is_read(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_UNUSABLE_SECONDS", 0.0)
    documents: dict[str, Any] = {}
    registry = await connect(answering(documents))
    with pytest.raises(UndecodableError, match="has no schema 7"):
        await registry.fetch(7)
    documents["/schemas/ids/7"] = referring(PLACE, "a.Address")
    with pytest.raises(UndecodableError, match="has no version 2"):
        await registry.fetch(7)
    documents["/subjects/a.Address/versions/2"] = referring(ADDRESS)
    assert registry.get(7) is None
    schema = await registry.fetch(7)
    assert registry.get(7) is schema


@pytest.mark.parametrize(
    "answer",
    [
        {"schema": 5},
        {"schema": "{"},
        {"schema": '"string"', "references": 5},
        {"schema": '"string"', "references": [{"subject": "s"}]},
        {"schema": '"string"', "references": [{"subject": "s", "version": "new"}]},
        {"schema": '"string"', "references": [{"subject": "s", "version": [1]}]},
        {"schema": '"string"', "references": [{"subject": ["s"], "version": 1}]},
        {"schema": '"string"', "references": {"subject": "s", "version": 1}},
        {"schema": '"string"', "references": ["s"]},
        {"schema": ["string"]},
        {"schema": {"type": "string"}},
        {"schema": None},
        {"schema": '"string"', "schemaType": ["AVRO"]},
        {"schema": '"string"', "schemaType": {}},
    ],
)
async def test_an_answer_that_is_not_a_schema_is_a_fault_of_the_registry(connect: Connect, answer: Any) -> None:
    registry = await connect(answering({"/schemas/ids/7": answer}))
    with pytest.raises(TransientError, match="not a schema"):
        await registry.fetch(7)


@pytest.mark.parametrize("version", ["1e999", "-1e999", "9" * 400])
async def test_an_impossible_version_is_a_fault_of_the_registry(connect: Connect, version: str) -> None:
    held, schema_id = filled()
    body = json.dumps({"schema": '"string"', "references": [{"subject": "s", "version": "V"}]}).replace('"V"', version)
    held.ingress.add(status=200, content_type="application/json", body=body)
    with pytest.raises(TransientError, match="not a schema"):
        await (await connect(held.app())).fetch(schema_id)


@pytest.mark.parametrize(
    ("schema", "usable"),
    [
        ({"type": "string", "fields": [None]}, True),
        ({"type": "string", "fields": 5}, True),
        ({"type": "record", "name": "r", "fields": ["a"]}, False),
        ({"type": "record", "name": "r", "fields": {"a": "long"}}, False),
    ],
)
async def test_a_schema_with_odd_fields_is_used_or_refused(connect: Connect, schema: Any, usable: bool) -> None:
    registry = await connect(answering({"/schemas/ids/7": {"schema": json.dumps(schema)}}))
    if usable:
        assert (await registry.fetch(7)).decode(b"\x02x", 0) == "x"
        return
    with pytest.raises(UndecodableError, match="schema 7 cannot be parsed"):
        await registry.fetch(7)


PAGE = "<html><body>404 page not found</body></html>"
FOREIGN: list[tuple[int, str, str]] = [
    (404, "text/plain", "default backend - 404"),
    (404, "text/html", PAGE),
    (404, "application/json", ""),
    (404, "application/json", "[]"),
    (404, "application/json", "null"),
    (404, "application/json", '{"message": "HTTP 404 Not Found"}'),
    (404, "application/json", '{"error_code": "40403", "message": "a text"}'),
    (404, "application/json", '{"code": 40403, "message": "another member"}'),
    (404, "application/json", '{"error_code": 404, "message": "HTTP 404 Not Found"}'),
    (404, "application/json", '{"error_code": 40404, "message": "?"}'),
    (404, "application/json", '{"error_code": [40403], "message": "a list"}'),
    (404, "application/json", '{"error_code": {"code": 40403}, "message": "an object"}'),
    (404, "application/json", '{"error_code": null}'),
    (500, "application/json", '{"error_code": [], "message": "a list"}'),
    (200, "application/json", '{"error_code": {}, "message": "an object"}'),
    (400, "text/html", PAGE),
    (401, "text/html", PAGE),
    (403, "text/html", PAGE),
    (405, "text/html", PAGE),
    (422, "application/json", '{"error_code": 40403, "message": "?"}'),
    (500, "application/json", '{"error_code": 40403, "message": "?"}'),
    (503, "text/html", PAGE),
    (302, "text/html", ""),
    (204, "text/html", ""),
    (200, "text/html", PAGE),
    (200, "application/json", ""),
    (200, "application/json", "[]"),
    (200, "application/json", "{}"),
    (200, "application/json", '{"error_code": 40403, "message": "?"}'),
    (202, "application/json", '{"schema": "\\"string\\""}'),
]


@pytest.mark.parametrize(("status", "content_type", "body"), FOREIGN)
async def test_an_error_other_than_the_registrys_own_not_found_is_transient(
    connect: Connect, status: int, content_type: str, body: str
) -> None:
    held, schema_id = filled()
    rule = held.ingress.add(status=status, content_type=content_type, body=body)
    registry = await connect(held.app())
    with pytest.raises(TransientError):
        await registry.fetch(schema_id)
    assert held.ingress.hits(rule) == 1, "and not taken for a follower that lags"
    held.ingress.clear()
    assert await registry.fetch(schema_id) is registry.get(schema_id), "asked again at once"


@pytest.mark.parametrize("code", [40401, 40402, 40403])
async def test_the_registrys_own_not_found_is_final(
    connect: Connect, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.0)
    held, schema_id = filled()
    held.ingress.add(status=404, content_type="application/json", body=json.dumps({"error_code": code}))
    registry = await connect(held.app())
    with pytest.raises(UndecodableError, match="the schema registry has no"):
        await registry.fetch(schema_id)


async def test_foreign_answers_are_counted_and_the_registrys_own_errors_are_not() -> None:
    seen: list[str] = []
    http = Http(ca_file=None, timeout=5.0)
    held, schema_id = filled()
    async with TestServer(held.app()) as server:
        url = str(server.make_url(""))
        registry = Registry(url, None, http, ForeignAnswers(seen.append, time.monotonic))
        held.fault = Fault("error", 503)
        with pytest.raises(TransientError, match="HTTP 503") as ill:
            await registry.fetch(schema_id)
        assert (ill.value.foreign, seen) == (False, [])
        held.ingress.add(status=404, headers={"Retry-After": "7"})
        with pytest.raises(TransientError) as foreign:
            await registry.fetch(schema_id)
        assert (foreign.value.foreign, foreign.value.retry_after, seen) == (True, 7.0, ["registry"])
    await http.close()


@pytest.mark.parametrize(
    ("status", "body", "seconds"),
    [(503, "<html>", 60), (404, "", 60), (503, '{"error_code": 50003, "message": "busy"}', 1800)],
)
async def test_only_the_registry_itself_may_ask_for_more_than_a_minute(status: int, body: str, seconds: float) -> None:
    http = Http(ca_file=None, timeout=5.0)
    held, schema_id = filled()
    async with TestServer(held.app()) as server:
        held.ingress.add(status=status, body=body, headers={"Retry-After": "1800"})
        with pytest.raises(TransientError) as failed:
            await Registry(str(server.make_url("")), None, http).fetch(schema_id)
        assert failed.value.retry_after == seconds
    await http.close()


async def test_several_urls_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.0)
    http = Http(ca_file=None, timeout=5.0)
    held, schema_id = filled()
    behind = Sandbox()
    async with TestServer(held.app()) as server, TestServer(behind.app()) as follower:
        leading, lagging = str(server.make_url("")), str(follower.make_url(""))
        for urls in (f"http://127.0.0.1:9, {leading},", ["http://127.0.0.1:9/", leading]):
            registry = Registry(urls, None, http)
            assert reads(await registry.fetch(schema_id))
        behind.fault = Fault("error", 500)
        assert reads(await Registry(f"{lagging},{leading}", None, http).fetch(schema_id))
        behind.fault = None
        rule = behind.ingress.add(status=404)
        assert reads(await Registry(f"{lagging},{leading}", None, http).fetch(schema_id))
        assert behind.ingress.hits(rule) > 0
        behind.ingress.clear()
        assert reads(await Registry(f"{lagging},{leading}", None, http).fetch(schema_id)), "a follower that lags"
        with pytest.raises(UndecodableError):
            await Registry(f"{lagging},{leading}", None, http).fetch(77)
        held.fault = Fault("down")
        with pytest.raises(TransientError):
            await Registry(f"http://127.0.0.1:9,{leading}", None, http).fetch(77)
    await http.close()


async def test_without_a_url_an_id_cannot_be_resolved() -> None:
    nowhere: list[str | list[str] | None] = [None, "", " , ", []]
    for urls in nowhere:
        with pytest.raises(UndecodableError, match="CALSYNC_SCHEMA_REGISTRY_URL"):
            await Registry(urls, None, Http(ca_file=None, timeout=1)).fetch(1)


async def test_the_oldest_schema_is_dropped_above_the_bound_and_fetched_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    asked: Counter[str] = Counter()
    documents = {f"/schemas/ids/{schema_id}": {"schema": '"string"'} for schema_id in (1, 2, 3)}
    registry = await connect(answering(documents, asked))
    for schema_id in (1, 2, 3):
        await registry.fetch(schema_id)
    assert [registry.get(schema_id) is not None for schema_id in (1, 2, 3)] == [False, True, True]
    assert await registry.fetch(1) is registry.get(1)
    assert asked["/schemas/ids/1"] == 2


async def test_a_registry_that_requires_a_login_gets_it_with_every_request() -> None:
    app, logins = web.Application(), []

    async def answer(request: web.Request) -> web.Response:
        logins.append(BasicAuth.decode(request.headers.get("Authorization", "")))
        return web.json_response({"schema": '"string"'})

    app.router.add_get("/schemas/ids/{id}", answer)
    http = Http(ca_file=None, timeout=5.0)
    async with TestServer(app) as server:
        registry = Registry(str(server.make_url("/")), "user:pass:word", http)
        await registry.fetch(1)
        assert registry.get(1) is not None
        await http.close()
    assert [(login.login, login.password) for login in logins] == [("user", "pass:word")]
