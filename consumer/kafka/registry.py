"""Writer schemas: from the files under ``schemas/`` by fingerprint, from a Confluent-compatible registry by id."""

import asyncio
import base64
from typing import Final
from urllib.parse import urlsplit

import fastavro
import orjson

from consumer.domain.errors import TransientError, UndecodableError
from consumer.http import Http, NoAnswerError
from consumer.kafka.writer_schema import WriterSchema
from schemas import FOLDER

_UNKNOWN_SECONDS: Final = 30.0
"""An id that the registry does not know is asked for once more after this: it may have been registered since."""


def bundled() -> dict[bytes, WriterSchema]:
    """The schemas that need no registry, by their CRC-64-AVRO fingerprint as it stands in a record."""
    found = {}
    for file in FOLDER.iterdir():
        if not file.name.endswith(".avsc"):
            continue
        schema = orjson.loads(file.read_bytes())
        # fastavro prints the fingerprint in little-endian order already, as the framing has it.
        canonical = fastavro.schema.to_parsing_canonical_form(schema)
        fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
        found[fingerprint] = WriterSchema(schema)
    return found


class Registry:
    """Schemas by id, each fetched once: ids are immutable."""

    def __init__(self, url: str | None, user_info: str | None, http: Http) -> None:
        """``user_info`` is ``user:password``, for a registry that asks for it."""
        self._url = url.rstrip("/") if url else None
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if user_info:
            self._headers["Authorization"] = f"Basic {base64.b64encode(user_info.encode()).decode()}"
        self._http = http
        self._known: dict[int, WriterSchema] = {}
        self._unknown: dict[int, float] = {}

    def get(self, schema_id: int) -> WriterSchema | None:
        """The schema, if it has been fetched."""
        return self._known.get(schema_id)

    async def fetch(self, schema_id: int) -> WriterSchema:
        """The schema.

        Raises:
            UndecodableError: the registry does not know the id, or none is configured.
            TransientError: the registry cannot be reached, or is ill.
        """
        if self._url is None:
            raise UndecodableError("a schema-registry id, but CALSYNC_SCHEMA_REGISTRY_URL is not set")
        now = asyncio.get_running_loop().time()
        if self._unknown.get(schema_id, 0.0) > now:
            raise UndecodableError(f"the schema registry has no schema {schema_id}")
        try:
            answer = await self._http.request("GET", f"{self._url}/schemas/ids/{schema_id}", headers=self._headers)
        except NoAnswerError as error:
            raise TransientError(f"schema registry at {urlsplit(self._url).hostname}: {error}") from None
        if answer.status == 404:
            self._unknown[schema_id] = now + _UNKNOWN_SECONDS
            raise UndecodableError(f"the schema registry has no schema {schema_id}")
        if answer.status != 200:
            raise TransientError(f"schema registry at {urlsplit(self._url).hostname}: HTTP {answer.status}")
        schema = _parse(answer.body, schema_id)
        self._known[schema_id] = schema
        return schema


def _parse(body: bytes, schema_id: int) -> WriterSchema:
    try:
        document = orjson.loads(body)
        if document.get("schemaType", "AVRO") != "AVRO":
            raise UndecodableError(f"schema {schema_id} is no Avro schema")
        return WriterSchema(orjson.loads(document["schema"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise TransientError("the schema registry's answer is no schema") from None
    except fastavro.schema.SchemaParseException:
        raise UndecodableError(f"schema {schema_id} cannot be parsed") from None
