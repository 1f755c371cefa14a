"""librdkafka's configuration: ours, the operator's file, and what the file may not change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException

from consumer.domain.errors import ConfigurationError

Config = dict[str, Any]
T = TypeVar("T")

_CONSUMER: Final[Config] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # librdkafka's default skips everything that is there when a group is new.
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    # Pausing throws the prefetched records away, so there are few of them.
    "queued.min.messages": 1000,
    "queued.max.messages.kbytes": 16384,
    # How quickly a hand-over is noticed by the others.
    "heartbeat.interval.ms": 1000,
    # How soon the group notices a replica that was killed (librdkafka's default: 45 s).
    "session.timeout.ms": 10_000,
    # The end of a partition is reported, so that offsets without a record (transactions' markers) are committed past.
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}
_CLASSIC_ONLY: Final = frozenset({"partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms"})
_FIXED: Final = frozenset(
    {
        "bootstrap.servers",
        "metadata.broker.list",
        "group.id",
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "partition.assignment.strategy",
        "enable.partition.eof",
    }
)
"""What the settings say already, or the pump's correctness rests on; with librdkafka's other names for them."""


def read_properties(path: Path | None) -> Config:
    """The operator's ``key=value`` lines; ``#`` begins a comment.

    Raises:
        ConfigurationError: the file cannot be read, a line is no property, or it changes what must not change.
    """
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError([f"CALSYNC_KAFKA_CONFIG_FILE: cannot read {path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"CALSYNC_KAFKA_CONFIG_FILE: {path} is no UTF-8 text"]) from None
    properties: Config = {}
    problems = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            problems.append(f"CALSYNC_KAFKA_CONFIG_FILE: {path} line {number} is not key=value")
        elif key in _FIXED:
            problems.append(f"CALSYNC_KAFKA_CONFIG_FILE: {path} line {number}: {key} is set by calsync, remove it")
        else:
            properties[key] = value
    if problems:
        raise ConfigurationError(problems)
    return properties


def make(client: Callable[[Config], T], config: Config) -> T:
    """A client of librdkafka. Raises ``ConfigurationError`` if it does not know or does not want a property."""
    try:
        return client(config)
    except KafkaException as error:
        raise ConfigurationError([f"CALSYNC_KAFKA_CONFIG_FILE: {error.args[0].str()}"]) from None


def consumer_config(bootstrap: str, group: str, properties: Config) -> Config:
    """The consumer's whole configuration."""
    ours = _CONSUMER
    if properties.get("group.protocol") == "consumer":
        # There the broker decides what these would say, and librdkafka refuses them.
        ours = {key: value for key, value in ours.items() if key not in _CLASSIC_ONLY}
    return {"bootstrap.servers": bootstrap, "group.id": group} | ours | properties


def client_config(bootstrap: str, properties: Config) -> Config:
    """For producers and admin clients: where the broker is and how to log in to it."""
    shared = ("security.", "sasl.", "ssl.", "https.", "client.", "socket.", "broker.", "enable.ssl.", "enable.sasl.")
    return {"bootstrap.servers": bootstrap} | {k: v for k, v in properties.items() if k.startswith(shared)}
