"""The stand-in schema registry: Confluent's answers, its errors, passwords and faults."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

import schemas
from sandbox.registry import Registry

KEY = (schemas.FOLDER / "job-changed-key.avsc").read_text(encoding="utf-8")
VALUE = (schemas.FOLDER / "job-changed-value.avsc").read_text(encoding="utf-8")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with TestServer(Registry().app()) as server, aiohttp.ClientSession(server.make_url("/")) as session:
        yield session


async def ask(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with http.request(method, path, json=body) as answer:
        assert answer.content_type == "application/vnd.schemaregistry.v1+json"
        return answer.status, await answer.json(content_type=None)


async def test_schemas_are_registered_and_found_by_id(http: aiohttp.ClientSession) -> None:
    assert await ask(http, "POST", "/subjects/t-key/versions", {"schema": KEY}) == (200, {"id": 1})
    assert await ask(http, "POST", "/subjects/t-value/versions", {"schema": VALUE}) == (200, {"id": 2})
    assert await ask(http, "POST", "/subjects/t-value/versions", {"schema": VALUE}) == (200, {"id": 2})
    assert await ask(http, "POST", "/subjects/u-key/versions", {"schema": KEY}) == (200, {"id": 1})
    assert await ask(http, "POST", "/subjects/u-key/versions", {"schema": '"string"'}) == (200, {"id": 3})

    status, found = await ask(http, "GET", "/schemas/ids/2")
    assert status == 200
    assert json.loads(found["schema"]) == json.loads(VALUE)
    assert await ask(http, "GET", "/subjects") == (200, ["t-key", "t-value", "u-key"])
    assert await ask(http, "GET", "/subjects/u-key/versions") == (200, [1, 2])
    assert (await ask(http, "GET", "/schemas/ids/1/versions"))[1] == [
        {"subject": "t-key", "version": 1},
        {"subject": "u-key", "version": 1},
    ]
    latest = {"subject": "u-key", "version": 2, "id": 3, "schema": '"string"'}
    assert await ask(http, "GET", "/subjects/u-key/versions/latest") == (200, latest)
    assert await ask(http, "GET", "/subjects/u-key/versions/2") == (200, latest)


async def test_a_schema_may_refer_to_others(http: aiohttp.ClientSession) -> None:
    place = '{"type": "record", "name": "Place", "namespace": "c", "fields": []}'
    reference = {"name": "c.Place", "subject": "places", "version": 1}
    whole = {"schema": '"c.Place"', "references": [reference]}
    assert (await ask(http, "POST", "/subjects/t/versions", whole))[0] == 422
    await ask(http, "POST", "/subjects/places/versions", {"schema": place})
    assert (await ask(http, "POST", "/subjects/t/versions", {"schema": '"c.Place"'}))[0] == 422

    assert await ask(http, "POST", "/subjects/t/versions", whole) == (200, {"id": 2})

    assert await ask(http, "GET", "/schemas/ids/2") == (200, whole)
    assert await ask(http, "GET", "/subjects/t/versions/1") == (200, {"subject": "t", "version": 1, "id": 2, **whole})
    assert "references" not in (await ask(http, "GET", "/schemas/ids/1"))[1]


async def test_a_schema_can_be_registered_with_a_given_id(http: aiohttp.ClientSession) -> None:
    assert await ask(http, "POST", "/subjects/t/versions", {"schema": KEY, "id": 40}) == (200, {"id": 40})
    assert (await ask(http, "POST", "/subjects/t/versions", {"schema": VALUE, "id": 40}))[0] == 422
    assert await ask(http, "POST", "/subjects/t/versions", {"schema": VALUE}) == (200, {"id": 41})
    status, found = await ask(http, "GET", "/schemas/ids/40")
    assert (status, json.loads(found["schema"])) == (200, json.loads(KEY))
    assert (await ask(http, "GET", "/schemas/ids/1"))[0] == 404


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/schemas/ids/9", 40403),
        ("/schemas/ids/0", 40403),
        ("/schemas/ids/x", 40403),
        ("/schemas/ids/9/versions", 40403),
        ("/subjects/none/versions", 40401),
        ("/subjects/none/versions/1", 40401),
        ("/subjects/s/versions/2", 40402),
        ("/elsewhere", 404),
    ],
)
async def test_unknown_names_get_the_errors_of_confluents_registry(
    http: aiohttp.ClientSession, path: str, code: int
) -> None:
    await ask(http, "POST", "/subjects/s/versions", {"schema": '"string"'})

    status, body = await ask(http, "GET", path)

    assert (status, body["error_code"]) == (404, code)
    assert body["message"]


@pytest.mark.parametrize("body", [{"schema": "{"}, {"schema": '{"type": "nonsense"}'}, {}, [], {"schema": 3}])
async def test_only_avro_schemas_are_accepted(http: aiohttp.ClientSession, body: Any) -> None:
    status, error = await ask(http, "POST", "/subjects/s/versions", body)

    assert (status, error["error_code"]) == (422, 42201)


async def test_a_password_is_required_if_there_are_users() -> None:
    async with TestServer(Registry({"calsync": "s3cret"}).app()) as server:
        for password, status in ((None, 401), ("no", 401), ("s3cret", 200)):
            headers = {} if password is None else {"Authorization": aiohttp.encode_basic_auth("calsync", password)}
            async with aiohttp.ClientSession(server.make_url("/"), headers=headers) as http:
                assert (await ask(http, "GET", "/subjects"))[0] == status


async def test_the_registry_can_be_down_failing_or_slow(http: aiohttp.ClientSession) -> None:
    await ask(http, "PUT", "/_sandbox/fault", {"kind": "down"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(http, "GET", "/subjects")

    await ask(http, "PUT", "/_sandbox/fault", {"kind": "error", "status": 503})
    assert (await ask(http, "GET", "/subjects"))[0] == 503

    await ask(http, "PUT", "/_sandbox/fault", {"kind": "slow", "seconds": 30})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(http, "GET", "/subjects"), 0.05)

    await ask(http, "DELETE", "/_sandbox/fault")
    assert (await ask(http, "GET", "/subjects"))[0] == 200
    assert (await ask(http, "PUT", "/_sandbox/fault", {"kind": "gremlins"}))[0] == 400
    assert (await ask(http, "GET", "/_sandbox/requests"))[1]["/subjects"] >= 4
