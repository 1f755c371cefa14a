"""The contracts with Core are complete in themselves: what Debezium registers, and Core's API."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import fastavro.schema
import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_schema_validator import OAS31Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

import schemas

AVRO = ["job-changed-value", "job-changed-key", "heartbeat-value"]


def text(name: str) -> str:
    return (schemas.FOLDER / name).read_text(encoding="utf-8")


def row(**columns: Any) -> dict[str, Any]:
    return {"job_id": "J-7", "site_id": "acme", "revision": 3, "status": "scheduled", **columns}


def envelope(**parts: Any) -> dict[str, Any]:
    source = {
        "version": "3.6.3.Final",
        "connector": "postgresql",
        "name": "core",
        "ts_ms": 1795456998783,
        "db": "core",
        "schema": "public",
        "table": "calendar_job",
    }
    return {"op": "c", "source": source, "ts_ms": 1795456998790, **parts}


def round_trip(schema: Any, datum: Any) -> Any:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, schema, datum, strict_allow_default=True)
    buffer.seek(0)
    decoded = fastavro.schemaless_reader(buffer, schema, None)
    assert buffer.read() == b""
    return decoded


@pytest.mark.parametrize("name", AVRO)
def test_each_avro_schema_loads_from_its_file_alone(name: str, tmp_path: Path) -> None:
    alone = tmp_path / f"{name}.avsc"
    alone.write_text(text(f"{name}.avsc"), encoding="utf-8")

    loaded = fastavro.schema.load_schema(str(alone))

    canonical = fastavro.schema.to_parsing_canonical_form(loaded)
    assert canonical == fastavro.schema.to_parsing_canonical_form(json.loads(text(f"{name}.avsc")))


def test_a_row_survives_the_value_schema() -> None:
    schema = fastavro.parse_schema(json.loads(text("job-changed-value.avsc")))
    full = row(
        subject="Annual inspection",
        client_name="Northwind",
        site_name="Plant 4",
        customer_reference="PO-1",
        contact_name="Sam",
        contact_mobile="07700 900123",
        contact_phone="0113 496 0000",
        contact_email="sam@northwind.example",
        address="14 Mill Lane\nLeeds",
        notes="🔑\r\nbell",
        starts_at="2026-11-23T08:00:00.123456Z",
        ends_at="2026-11-23T10:00:00.000000Z",
        workers='[{"worker_id": "W-1", "calendar_email": null}]',
    )

    decoded = round_trip(schema, envelope(before=row(), after=full))

    assert decoded["after"] == full
    assert decoded["before"]["notes"] is None
    assert decoded["transaction"] is None
    assert decoded["source"]["snapshot"] == "false"


def test_the_value_schema_has_debeziums_names_and_logical_types() -> None:
    schema = json.loads(text("job-changed-value.avsc"))
    value = schema["fields"][0]["type"][1]
    columns = {field["name"]: field["type"] for field in value["fields"]}

    assert (schema["namespace"], schema["name"], value["name"]) == ("core.public.calendar_job", "Envelope", "Value")
    assert schema["fields"][1]["type"] == ["null", "Value"]
    assert columns["starts_at"][1] == {
        "type": "string",
        "connect.version": 1,
        "connect.name": "io.debezium.time.ZonedTimestamp",
    }
    assert columns["workers"][1]["connect.name"] == "io.debezium.data.Json"
    assert [columns[name] for name in ("job_id", "revision", "status")] == ["string", "long", "string"]
    assert columns["notes"] == ["null", "string"]


def test_the_key_and_the_heartbeat_survive_their_schemas() -> None:
    for name, datum in (("job-changed-key", {"job_id": "J-7"}), ("heartbeat-value", {"ts_ms": 1795456995118})):
        assert round_trip(fastavro.parse_schema(json.loads(text(f"{name}.avsc"))), datum) == datum


API: dict[str, Any] = yaml.safe_load(text("core-api.yaml"))
REGISTRY: Registry[Any] = Registry().with_resource("api", DRAFT202012.create_resource(API))


def validator(pointer: str) -> OAS31Validator:
    return OAS31Validator({"$ref": f"api#{pointer}"}, registry=REGISTRY, format_checker=OAS31Validator.FORMAT_CHECKER)


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for child in node for found in references(child)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if "$ref" in node else []
    return own + [found for child in node.values() for found in references(child)]


def test_every_reference_of_the_api_leads_somewhere() -> None:
    for reference in references(API):
        node: Any = API
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node


def test_the_apis_schemas_are_valid_and_its_examples_fit_them() -> None:
    for schema in API["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    examples = API["components"]["examples"]
    for name, schema in (("SchedulePage", "SchedulePage"), ("JobWithWorkers", "JobWithWorkers")):
        validator(f"/components/schemas/{schema}").validate(examples[name]["value"])
    for answer in API["components"]["responses"].values():
        problem = answer["content"]["application/problem+json"]["example"]
        validator("/components/schemas/Problem").validate(problem)


def test_a_row_with_more_fields_is_valid_and_one_with_missing_or_wrong_fields_is_not() -> None:
    example = API["components"]["examples"]["JobWithWorkers"]["value"]
    strict = validator("/components/schemas/JobWithWorkers")

    assert strict.is_valid({**example, "colour": "red"})
    assert not strict.is_valid({name: value for name, value in example.items() if name != "revision"})
    assert not strict.is_valid({**example, "starts_at": "yesterday"})
    assert not strict.is_valid({**example, "revision": "7"})
    assert not strict.is_valid({**example, "workers": None})


def test_the_schedule_shows_neither_cancelled_nor_unscheduled_jobs() -> None:
    page = API["components"]["examples"]["SchedulePage"]["value"]
    job = page["workers"][0]["jobs"][0]
    strict = validator("/components/schemas/ScheduledJob")

    assert strict.is_valid(job)
    assert not strict.is_valid({**job, "status": "cancelled"})
    assert not strict.is_valid({**job, "ends_at": None})


def test_both_operations_describe_every_kind_of_refusal() -> None:
    for path in API["paths"].values():
        assert {"200", "401", "404", "429", "5XX"} <= path["get"]["responses"].keys()
