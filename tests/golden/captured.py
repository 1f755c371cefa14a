"""The golden files: what the real connector put on the topic, byte for byte, and what the registry then held."""

import base64
import json
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any, Final

from sandbox.core.feed import Record
from sandbox.registry import Reference, Registry

FOLDER: Final = Path(__file__).with_name("files")
SCHEMAS: Final = "schemas"
"""The folder of the schemas, a file each, named after its id."""
SUBJECTS: Final = "subjects"
"""The file beside them with the ids of the versions that references name."""


def records(trap: str) -> list[Record]:
    """A trap's records, in the order of their offsets."""
    return [
        Record(
            _bytes(record["key"]),
            _bytes(record["value"]),
            tuple((name, value.encode("latin-1")) for name, value in record["headers"].items()),
        )
        for record in _read(trap)["records"]
    ]


def says(trap: str) -> list[dict[str, Any]]:
    """The content of a trap's values, without tombstones."""
    return [record["says"]["value"]["datum"] for record in _read(trap)["records"] if record["says"]["value"]]


def timestamps(trap: str) -> list[int]:
    """The records' own times: Unix milliseconds."""
    return [record["timestamp_ms"] for record in _read(trap)["records"]]


def registry(without: Collection[int] = ()) -> Registry:
    """A registry with the captured schemas under their ids, except those ``without``."""
    found = Registry()
    for subject, versions in _read(f"{SCHEMAS}/{SUBJECTS}").items():
        for schema_id in versions.values():
            register(found, schema_id, subject)
    for file in (FOLDER / SCHEMAS).glob("[0-9]*.json"):
        if int(file.stem) not in without:
            register(found, int(file.stem))
    return found


def register(registry: Registry, schema_id: int, subject: str = "captured") -> None:
    """Gives the registry a captured schema."""
    found = _read(f"{SCHEMAS}/{schema_id}")
    references = [Reference(**reference) for reference in found["references"]]
    registry.register(subject, json.dumps(found["schema"]), references, schema_id)


@cache
def _read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def _bytes(encoded: str | None) -> bytes | None:
    return None if encoded is None else base64.b64decode(encoded)
