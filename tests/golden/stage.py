"""Runs a trap on the real chain, and returns the records on its topic."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import httpx
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from sandbox.chain import CONNECTOR, Chain
from sandbox.servers.process import ServerFailedError
from tests.golden.traps import Trap

_WITHIN_SECONDS: Final = 60.0
_QUIET_SECONDS: Final = 0.5
"""After the last expected record, no other may arrive for this many seconds."""


def play(chain: Chain, trap: Trap) -> list[Message]:
    """The records, in the order of their offsets. The connector and its database are new, and removed afterwards.

    Raises ServerFailedError when a trap leads to more or fewer records than it declares.
    """
    topic, name, slot = f"golden.{trap.name}", f"golden-{trap.name}", f"golden_{trap.name}".replace("-", "_")
    differences = {"slot.name": slot, "transforms.topic.replacement": topic, **trap.connector}
    chain.kafka.create_topic(topic, partitions=1)
    if trap.topic is not None:
        chain.kafka.create_topic(trap.topic, partitions=1)
    for sql in trap.prepared:
        chain.core.run(sql)
    chain.connect.put_connector({"name": name, "config": {**CONNECTOR["config"], **differences}})
    try:
        _eventually(lambda: _captures(chain, name, slot), f"{name} captures")
        return _records(chain, trap, trap.topic or topic)
    finally:
        httpx.delete(f"{chain.connect.url}/connectors/{name}", timeout=30).raise_for_status()
        _eventually(lambda: not chain.core.captured_by(slot), f"{name} leaves its slot")
        chain.core.run(f"select pg_drop_replication_slot('{slot}')")
        chain.postgres.psql(f"drop database {chain.core.name} with (force)")
        chain.core.create()


def _captures(chain: Chain, connector: str, slot: str) -> bool:
    states = chain.connect.states(connector)
    if "FAILED" in states:
        raise ServerFailedError(f"{connector} has failed: see {chain.connect.process.log}")
    return states == ["RUNNING", "RUNNING"] and chain.core.captured_by(slot)


def _records(chain: Chain, trap: Trap, topic: str) -> list[Message]:
    reader = Consumer({"bootstrap.servers": chain.kafka.bootstrap_servers, "group.id": "golden"})
    with closing(reader):
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        found = _awaited(reader, trap.snapshot, f"{trap.name}: its snapshot")
        for step in trap.steps:
            chain.core.run(step.sql)
            found += _awaited(reader, step.records, f"{trap.name}: {step.sql}")
        # Heartbeats never end.
        if trap.topic is None and (more := reader.consume(1, _QUIET_SECONDS)):
            raise ServerFailedError(f"{trap.name}: a record more than awaited: {more[0].key()!r}")
    return found


def _awaited(reader: Consumer, count: int, why: str) -> list[Message]:
    found: list[Any] = reader.consume(count, _WITHIN_SECONDS) if count else []
    for message in found:
        if message.error() is not None:
            raise ServerFailedError(f"{why}: {message.error()}")
    if len(found) != count:
        raise ServerFailedError(f"{why}: {count} records were awaited, {len(found)} came")
    return found


def _eventually(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise ServerFailedError(f"not within {_WITHIN_SECONDS:g} s: {what}")
        time.sleep(0.05)
