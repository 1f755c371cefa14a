"""Microsoft's own description of Graph's calendar paths (OpenAPI), and what requests it finds wrong.

Source: microsoftgraph/msgraph-sdk-powershell, openApiDocs/v1.0/Calendar.yml, with each ``allOf`` merged
(docs/facts/graph.md, part 8). The file is not in this repository: the environment variable CALSYNC_GRAPH_OPENAPI
names it.
"""

import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
import yaml
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

Document = dict[str, Any]

VARIABLE: Final = "CALSYNC_GRAPH_OPENAPI"
_WORDS: Final = frozenset(("subject", "content", "displayName", "transactionId", "value", "dateTime"))
"""Members that hold any text, which the description does not restrict."""


class Description:
    """The description in one file. Bodies that differ only in their texts are checked once."""

    def __init__(self, file: Path) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._document: Document = yaml.load(file.read_text(encoding="utf-8"), loader)
        self._registry = Registry().with_resource("graph", DRAFT4.create_resource(self._document))
        self._paths = [(_form(template), item) for template, item in self._document["paths"].items()]
        self._tried: dict[tuple[str, bytes], list[str]] = {}

    def breaches(self, calls: Iterable[Document]) -> list[str]:
        """What is wrong with the calls (graph_rules.calls), each once, with the call that it was first seen in."""
        found: dict[str, str] = {}
        for call in calls:
            for problem in self.of_call(call):
                found.setdefault(problem, f"{call['method']} {call['path']}: {problem}")
        return list(found.values())

    def of_call(self, call: Document) -> Iterator[str]:
        """What is wrong with one request."""
        # the description has the settings only as a whole, not by property
        path = call["path"].removesuffix("/timeZone") if "/mailboxSettings/" in call["path"] else call["path"]
        item = next((item for form, item in self._paths if form.fullmatch(path)), None)
        operation = item.get(str(call["method"]).lower()) if item is not None else None
        if operation is None:
            yield "not described"
            return
        yield from self._of_query(operation, dict(parse_qsl(call["query"], keep_blank_values=True)))
        body, described = call["body"], operation.get("requestBody")
        if (body is not None) is not (described is not None):
            yield "a body where none is described, or none where one is"
        elif body is not None:
            schema = described["content"]["application/json"]["schema"]["$ref"]
            yield from self._of_body(schema, body)

    def _of_query(self, operation: Document, asked: dict[str, str]) -> Iterator[str]:
        described = {}
        for parameter in operation.get("parameters", ()):
            known = self._at(parameter["$ref"]) if "$ref" in parameter else parameter
            if known["in"] == "query":
                described[known["name"]] = known
        for name in asked.keys() - described.keys():
            yield f"the parameter {name} is not described"
        for name, known in described.items():
            if known.get("required") and name not in asked:
                yield f"the parameter {name} is required"
        events = self._document["components"]["schemas"]["microsoft.graph.event"]["properties"]
        for name in asked.get("$select", "id").split(","):
            if name not in events:
                yield f"an event has no {name} to select"

    def _of_body(self, schema: str, body: Any) -> list[str]:
        key = schema, orjson.dumps(_likeness(body))
        if key not in self._tried:
            validator = OAS30Validator({"$ref": f"graph{schema}"}, registry=self._registry)
            self._tried[key] = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
        return self._tried[key]

    def _at(self, pointer: str) -> Document:
        found: Any = self._document
        for name in pointer.removeprefix("#/").split("/"):
            found = found[name]
        return dict(found)


@cache
def description() -> Description | None:
    """The description in the file that the variable names; ``None`` if it is not set."""
    file = os.environ.get(VARIABLE)
    return Description(Path(file)) if file else None


def _form(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(template)))


def _likeness(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _likeness(each, key) for key, each in sorted(value.items())}
    if isinstance(value, list):
        return [_likeness(each, name) for each in value]
    return "…" if name in _WORDS and isinstance(value, str) else value
