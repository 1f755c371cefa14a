"""Captures the golden files again: `make capture`, or `python -m tests.golden.capture`. Needs what `make e2e` needs.

Each trap runs on the real chain (PostgreSQL, Debezium in Kafka Connect, Apicurio's registry, Kafka). The records on its
topic and the contents of the registry are kept. Another run changes only log positions, times and run ids, as long as
the servers stay the same.
"""

import argparse
import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from sandbox.chain import found_chain
from tests.golden.captured import FOLDER, SCHEMAS, SUBJECTS
from tests.golden.registered import Registered
from tests.golden.stage import play
from tests.golden.traps import TRAPS, Trap


def main() -> None:
    """Reads the command line and captures."""
    names = [trap.name for trap in TRAPS]
    parser = argparse.ArgumentParser(prog="python -m tests.golden.capture", description="Captures the golden files")
    parser.add_argument("--into", type=Path, default=FOLDER, help="the folder for them; what is in it is replaced")
    parser.add_argument("trap", nargs="*", help=f"only these, for a look: {', '.join(names)}")
    options = parser.parse_args()
    if strange := set(options.trap) - set(names):
        parser.error(f"no such trap: {', '.join(sorted(strange))}")
    if options.trap and options.into == FOLDER:
        parser.error("the golden files are of one run, with its schemas' ids: capture a few traps --into a folder")
    capture([trap for trap in TRAPS if not options.trap or trap.name in options.trap], options.into)


def capture(traps: list[Trap], into: Path) -> None:
    """Runs the traps, and replaces the folder's files if all went well."""
    print("Starting PostgreSQL, Kafka, the registry and Connect", flush=True)
    files: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, found_chain(Path(folder)) as chain:
        registered = Registered(chain.registry.confluent_url)
        for number, trap in enumerate(traps, 1):
            print(f"[{number}/{len(traps)}] {trap.name}: {trap.about}", flush=True)
            files[trap.name] = {
                "about": trap.about,
                "connector": dict(trap.connector),
                "sql": [*trap.prepared, *(step.sql for step in trap.steps)],
                "records": [record(message, registered) for message in play(chain, trap)],
            }
    files |= {f"{SCHEMAS}/{schema_id}": schema for schema_id, schema in registered.schemas.items()}
    files[f"{SCHEMAS}/{SUBJECTS}"] = registered.subjects
    for old in into.rglob("*.json"):
        old.unlink()
    for name, content in files.items():
        file = into / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(traps)} traps and {len(registered.schemas)} schemas are in {into}")


def record(message: Message, registered: Registered) -> dict[str, Any]:
    """The content of a record, and its bytes in base64; headers are text of single bytes."""
    headers = {name: as_bytes(value) for name, value in dict(message.headers() or []).items()}
    parts = {"key": message.key(), "value": message.value()}
    return {
        "says": {
            name: said(data, headers.get(f"apicurio.{name}.contentId"), registered) for name, data in parts.items()
        },
        "timestamp_ms": message.timestamp()[1],
        "headers": {name: value.decode("latin-1") for name, value in headers.items()},
        **{name: None if data is None else base64.b64encode(data).decode() for name, data in parts.items()},
    }


def as_bytes(value: str | bytes | None) -> bytes:
    """A header's value, which the client gives as bytes."""
    assert not isinstance(value, str)
    return value or b""


def said(data: bytes | None, header: bytes | None, registered: Registered) -> dict[str, Any] | None:
    """Decodes a value with the registry's schema, in either framing of its id; ``header`` is the id in the headers."""
    if data is None:
        return None
    if header is not None:
        schema_id, body = header, data
    elif data[:5] == bytes(5):
        schema_id, body = data[1:9], data[9:]
    else:
        schema_id, body = data[1:5], data[5:]
    number = int.from_bytes(schema_id, "big")
    return {"schema": number, "datum": registered.datum(number, body)}


if __name__ == "__main__":
    main()
