"""The schemas that records name, as the registry returns them: read here only by fastavro, not by the service."""

import json
from collections import defaultdict
from io import BytesIO
from typing import Any
from urllib.parse import quote

import fastavro
import httpx


class Registered:
    """The registry's answers by id, each asked for once."""

    def __init__(self, url: str) -> None:
        """``url`` is of Confluent's API."""
        self._url = url
        self.schemas: dict[int, dict[str, Any]] = {}
        """``{"schema", "references"}``, the schema unpacked."""
        self.subjects: dict[str, dict[str, int]] = defaultdict(dict)
        """The ids of the versions of the subjects that references name."""

    def datum(self, schema_id: int, data: bytes) -> Any:
        """The decoded bytes, as JSON can represent them. Raises httpx.HTTPError."""
        schema = self._parsed(self._schema(schema_id), {})
        return _plain(fastavro.schemaless_reader(BytesIO(data), schema, None))

    def _parsed(self, found: dict[str, Any], named: dict[str, Any]) -> Any:
        for reference in found["references"]:
            if reference["name"] not in named:
                self._parsed(self._schema(self._version(reference["subject"], reference["version"])), named)
        return fastavro.parse_schema(found["schema"], named)

    def _schema(self, schema_id: int) -> dict[str, Any]:
        if schema_id not in self.schemas:
            answer = self._ask(f"/schemas/ids/{schema_id}")
            references = answer.get("references") or []
            self.schemas[schema_id] = {"references": references, "schema": json.loads(answer["schema"])}
        return self.schemas[schema_id]

    def _version(self, subject: str, version: int) -> int:
        versions = self.subjects[subject]
        if str(version) not in versions:
            versions[str(version)] = self._ask(f"/subjects/{quote(subject, safe='')}/versions/{version}")["id"]
        return versions[str(version)]

    def _ask(self, path: str) -> Any:
        return httpx.get(self._url + path, timeout=10).raise_for_status().json()


def _plain(datum: Any) -> Any:
    if isinstance(datum, dict):
        return {name: _plain(value) for name, value in datum.items()}
    if isinstance(datum, list):
        return [_plain(value) for value in datum]
    return datum if isinstance(datum, str | int | float | None) else str(datum)
