"""Writer schemas: from the files under ``schemas/`` by fingerprint, from a Confluent-compatible registry by id."""

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import fastavro
import orjson

from consumer.domain.bounded_dict import BoundedDict
from consumer.domain.errors import TransientError, UndecodableError
from consumer.foreign import ForeignAnswers
from consumer.http import Http, NoAnswerError
from consumer.json_reader import loads
from consumer.kafka.writer_schema import WriterSchema
from consumer.retry_after import retry_after
from schemas import FOLDER

_UNKNOWN: Final = frozenset((40401, 40402, 40403))
"""``error_code`` of an unknown subject, version or schema (Confluent's Schema Registry API reference, "Errors").

Only this code shows that a schema does not exist: a 404 alone may come from a wrong base path (edenhill/kcat#212) or an
ingress.
"""
_AGAIN_SECONDS: Final = 1.0
_UNUSABLE_SECONDS: Final = 30.0
"""After this time, the registry is asked again for a schema that it did not know or that was not usable."""
_MOST: Final = 1_000
"""The most schemas of each kind that are remembered. Above it the oldest is dropped, and fetched again if needed."""


def bundled() -> dict[bytes, WriterSchema]:
    """The schemas under ``schemas/``, by the bytes of their CRC-64-AVRO fingerprint in a record."""
    found = {}
    for file in FOLDER.iterdir():
        if not file.name.endswith(".avsc"):
            continue
        schema = orjson.loads(file.read_bytes())
        # fastavro prints the fingerprint in little-endian order, which is the order in the record.
        canonical = fastavro.schema.to_parsing_canonical_form(schema)
        fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
        found[fingerprint] = WriterSchema(schema)
    return found


@dataclass(frozen=True, slots=True)
class _Reference:
    """Where a schema is registered that another one refers to."""

    subject: str
    version: int

    def __str__(self) -> str:
        return f"version {self.version} of {self.subject}"


@dataclass(frozen=True, slots=True)
class _Document:
    """The registry's answer: a schema, and the schemas that it refers to."""

    schema: Any
    references: tuple[_Reference, ...]


class Registry:
    """Schemas by id, each fetched once because ids are immutable. Remembers up to 1,000 schemas of each kind."""

    def __init__(
        self,
        urls: str | Sequence[str] | None,
        user_info: str | None,
        http: Http,
        foreign: ForeignAnswers | None = None,
    ) -> None:
        """
        Args:
            urls: of one registry, tried in turn until one answers; in a string, separated by commas.
            user_info: ``user:password``, if the registry requires it.
            http: the connections.
            foreign: where answers that are not the registry's are counted.
        """
        listed = urls.split(",") if isinstance(urls, str) else urls or ()
        self._urls = [url.strip().rstrip("/") for url in listed if url.strip()]
        self._foreign = foreign or ForeignAnswers(lambda _: None, time.monotonic)
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if user_info:
            self._headers["Authorization"] = f"Basic {base64.b64encode(user_info.encode()).decode()}"
        self._http = http
        self._known: BoundedDict[int, WriterSchema] = BoundedDict(_MOST)
        self._unusable: BoundedDict[int, tuple[float, str]] = BoundedDict(_MOST)
        """Of each id that is not usable: until when it is not asked for again, and why."""
        self._parts: BoundedDict[_Reference, _Document] = BoundedDict(_MOST)

    def get(self, schema_id: int) -> WriterSchema | None:
        """The schema, or ``None`` if it must be fetched first."""
        return self._known.get(schema_id)

    async def fetch(self, schema_id: int) -> WriterSchema:
        """Fetch the schema, and all schemas that it refers to.

        Raises:
            UndecodableError: no registry is configured; or the registry itself answers that it does not know the id or
                a reference; or the schema is not Avro. The registry is not asked again for 30 s.
            TransientError: the registry cannot be reached or fails, or another server answers in its place.
        """
        if not self._urls:
            raise UndecodableError("the record has a schema-registry id, but CALSYNC_SCHEMA_REGISTRY_URL is not set")
        now = asyncio.get_running_loop().time()
        until, reason = self._unusable.get(schema_id, (0.0, ""))
        if until > now:
            raise UndecodableError(reason)
        try:
            schema = await self._whole(schema_id)
        except UndecodableError as error:
            self._unusable[schema_id] = now + _UNUSABLE_SECONDS, str(error)
            raise
        self._known[schema_id] = schema
        self._unusable.pop(schema_id, None)
        return schema

    async def _whole(self, schema_id: int) -> WriterSchema:
        document = await self._document(f"/schemas/ids/{schema_id}", f"schema {schema_id}")
        parts: dict[_Reference, _Document] = {}
        for reference in document.references:
            await self._gather(reference, schema_id, parts, ())
        try:
            return WriterSchema(document.schema, [part.schema for part in parts.values()])
        except fastavro.schema.SchemaParseException:
            raise UndecodableError(f"schema {schema_id} cannot be parsed") from None

    async def _gather(
        self,
        reference: _Reference,
        schema_id: int,
        gathered: dict[_Reference, _Document],
        way: tuple[_Reference, ...],
    ) -> None:
        """Add the referenced schema to ``gathered``, after all those that it refers to; ``way`` leads to it."""
        if reference in way:
            raise UndecodableError(f"schema {schema_id} refers to {reference}, which refers to itself")
        if reference in gathered:
            return
        part = self._parts.get(reference)
        if part is None:
            path = f"/subjects/{quote(reference.subject, safe='')}/versions/{reference.version}"
            part = await self._document(path, f"{reference}, which schema {schema_id} refers to")
            self._parts[reference] = part
        for further in part.references:
            await self._gather(further, schema_id, gathered, (*way, reference))
        gathered[reference] = part

    async def _document(self, path: str, what: str) -> _Document:
        """The schema registered at this path. Raises ``UndecodableError`` or ``TransientError``."""
        body = await self._answer(path)
        if body is None:
            # The schema was registered before the record was written, so this may be a follower that lags behind.
            await asyncio.sleep(_AGAIN_SECONDS)
            body = await self._answer(path, everywhere=True)
        if body is None:
            raise UndecodableError(f"the schema registry has no {what}")
        try:
            language = body.get("schemaType")
            if language is not None and _text(language) not in ("AVRO", ""):
                raise UndecodableError(f"{what} is not an Avro schema")
            references = [
                _Reference(_text(each["subject"]), int(each["version"])) for each in body.get("references") or ()
            ]
            return _Document(loads(_text(body["schema"])), tuple(references))
        except (ValueError, KeyError, TypeError, OverflowError):
            raise TransientError("the schema registry's answer is not a schema") from None

    async def _answer(self, path: str, *, everywhere: bool = False) -> dict[str, Any] | None:
        """The registry's object at this path; ``None`` if the registry answers that there is none.

        All URLs lead to one registry, so the first answer decides. With ``everywhere``, every URL must answer that
        there is none. Raises ``TransientError`` if no URL gives an answer of the registry.
        """
        none, failure = False, TransientError("the schema registry has no URL")
        for url in self._urls:
            try:
                body = await self._ask(url, path)
            except TransientError as error:
                failure = error
                continue
            if body is not None:
                return body
            none = True
            if not everywhere:
                break
        if none:
            return None
        raise failure

    async def _ask(self, url: str, path: str) -> dict[str, Any] | None:
        try:
            answer = await self._http.request("GET", f"{url}{path}", headers=self._headers)
        except NoAnswerError as error:
            raise TransientError(f"schema registry: {error}") from None
        try:
            body = loads(answer.body)
        except ValueError:
            body = None
        # The answer of another server may be any JSON value.
        stated = body.get("error_code") if isinstance(body, dict) else None
        code = stated if isinstance(stated, int) else None
        if answer.status == 404 and code in _UNKNOWN:
            return None
        if answer.status == 200 and isinstance(body, dict) and "schema" in body:
            return body
        own = answer.status >= 400 and code is not None
        wait = retry_after(answer.headers, own=own)
        if not own:
            what = self._foreign.saw("registry", url, answer)
            raise TransientError(f"schema registry: {what}", retry_after=wait, foreign=True)
        hint = ": check CALSYNC_SCHEMA_REGISTRY_USER_INFO" if answer.status in (401, 403) else ""
        host = urlsplit(url).hostname
        raise TransientError(f"schema registry at {host}: HTTP {answer.status}{hint}", retry_after=wait)


def _text(value: Any) -> str:
    """The value, if it is a string. Raises ``TypeError`` otherwise."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
