"""librdkafka's configuration: the service's own properties, and the operator's file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer

from consumer.domain.errors import ConfigurationError
from consumer.kafka.librdkafka_log import LibrdkafkaLog
from consumer.operator_text import clean, read_text, require_one_line
from consumer.redaction import KNOWN
from consumer.setting_values import readable

Config = dict[str, Any]
T = TypeVar("T")

_CONSUMER: Final[Config] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # librdkafka's default skips all records that exist when the group is new.
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    # A pause discards prefetched records, so only a few are prefetched.
    "queued.min.messages": 1000,
    "queued.max.messages.kbytes": 16384,
    # How soon the other replicas notice that one leaves.
    "heartbeat.interval.ms": 1000,
    # How soon the group notices a replica that was killed (librdkafka's default: 45 s).
    "session.timeout.ms": 10_000,
    # Reports the end of a partition, so that offsets without a record (transactions' markers) are committed too.
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
}
_CLASSIC_ONLY: Final = frozenset({"partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms"})
_PYTHONS_OWN: Final = frozenset({"logger", "on_commit", "default.topic.config"})
"""Properties of confluent_kafka whose values are Python objects, which a file cannot contain."""
_FILES: Final = frozenset(
    {
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.keystore.location",
        "ssl.crl.location",
        "sasl.kerberos.keytab",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.private.key.file",
        "sasl.oauthbearer.assertion.jwt.template.file",
    }
)
"""Properties that name a file. Only librdkafka checks those that may also name a directory (ssl.ca.location,
https.ca.location)."""
_SECRET: Final = re.compile(r"password|secret|\.pem$|jaas|oauthbearer\.config|token")
"""Names of properties whose values must appear in no output."""
_WITH_UNIT: Final = re.compile(r"[+-]?[0-9]+\s*[A-Za-z]+")
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
"""Properties that settings determine or that correctness depends on, also under librdkafka's other names for them."""


def read_properties(path: Path | None) -> Config:
    """The operator's ``key=value`` lines; ``#`` begins a comment.

    Raises:
        ConfigurationError: the file cannot be read, or a line is not a property or must not be set.
    """
    if path is None:
        return {}
    try:
        lines = re.split(r"\r\n|\r|\n", read_text(path))
    except OSError as error:
        raise ConfigurationError([f"CALSYNC_KAFKA_CONFIG_FILE: cannot read {path}: {error.strerror}"]) from None
    except ValueError:
        raise ConfigurationError([f"CALSYNC_KAFKA_CONFIG_FILE: {path} is not UTF-8 text"]) from None
    properties: Config = {}
    problems = []
    for number, line in enumerate(lines, 1):
        text = clean(line)
        if not text or text.startswith("#"):
            continue
        key, equals, value = (clean(part) for part in text.partition("="))
        if not equals or not key:
            problems.append(f"CALSYNC_KAFKA_CONFIG_FILE: {path} line {number} is not key=value")
        elif key in _FIXED:
            problems.append(f"CALSYNC_KAFKA_CONFIG_FILE: {path} line {number}: {key} is set by calsync, remove it")
        elif fault := _fault(key, value):
            problems.append(f"CALSYNC_KAFKA_CONFIG_FILE: {path} line {number}: {fault}")
        else:
            properties[key] = value
    KNOWN.replace("CALSYNC_KAFKA_CONFIG_FILE", [value for key, value in properties.items() if _SECRET.search(key)])
    if problems:
        raise ConfigurationError(problems)
    return properties


def checked_properties(path: Path | None, bootstrap: str) -> Config:
    """The operator's properties, checked by librdkafka without a connection to a broker.

    Raises ``ConfigurationError``.
    """
    properties = read_properties(path)
    _check_files(properties)
    group = consumer_config("", "calsync", properties)
    del group["bootstrap.servers"]
    make(Consumer, group | {"logger": LibrdkafkaLog()}).close()
    _check_protocols(bootstrap, properties)
    return properties


def _check_files(properties: Config) -> None:
    """Check that the files exist and can be read: librdkafka opens some of them only when it logs in.

    Only the files of the configured protocol are checked, and not their contents. Raises ``ConfigurationError``.
    """
    protocol = str(properties.get("security.protocol", "plaintext")).lower()
    problems = []
    for key, value in properties.items():
        is_used = (key.startswith("ssl.") and protocol.endswith("ssl")) or (
            key.startswith("sasl.") and protocol.startswith("sasl")
        )
        if not is_used or key not in _FILES:
            continue
        try:
            readable(Path(value))
        except ValueError as error:
            problems.append(f"CALSYNC_KAFKA_CONFIG_FILE: {key}: {error}")
    if problems:
        raise ConfigurationError(problems)


def _fault(key: str, value: str) -> str | None:
    """What is wrong with a single line; does not contain its value."""
    try:
        require_one_line(key + value)
    except ValueError as error:
        return str(error)
    if key.endswith("_cb") or key in _PYTHONS_OWN:
        return f"{key} is not a property of librdkafka"
    if _WITH_UNIT.fullmatch(value) and _is_number(key):
        return f"{key} must be a number without a unit"
    return None


def _is_number(key: str) -> bool:
    """Whether the property is a number: librdkafka then refuses a word. (It would read "10s" as 10.)"""
    try:
        Producer({key: "word", "logger": LibrdkafkaLog()})
    except KafkaException as error:
        return str(error.args[0].str()).startswith("Invalid value")
    return False


def make(client: Callable[[Config], T], config: Config) -> T:
    """A client of librdkafka. Raises ``ConfigurationError`` if librdkafka refuses a property."""
    try:
        return client(config)
    except KafkaException as error:
        reason = error.args[0].str().strip().removeprefix("Failed to create consumer: ")
    except (TypeError, ValueError, AttributeError, SystemError) as error:
        reason = f"a property has a value of the wrong type ({type(error).__name__})"
    for value in config.values():
        if isinstance(value, str) and value:
            # Quoted or as a separate word: "Invalid value \"…\" for configuration property".
            reason = re.sub(rf"(?<![\w.]){re.escape(value)}(?![\w.])", "…", reason)
    raise ConfigurationError([f"CALSYNC_KAFKA_CONFIG_FILE: {reason}"]) from None


def _check_protocols(bootstrap: str, properties: Config) -> None:
    """Check that both name one protocol: librdkafka silently ignores a broker with another one."""
    protocol = str(properties.get("security.protocol", "plaintext")).lower()
    for server in bootstrap.split(","):
        before, separator, _ = server.partition("://")
        if separator and before.lower() != protocol:
            problem = (
                "CALSYNC_KAFKA_BOOTSTRAP_SERVERS: names another protocol than security.protocol in "
                "CALSYNC_KAFKA_CONFIG_FILE: remove it here"
            )
            raise ConfigurationError([problem])


def consumer_config(bootstrap: str, group: str, properties: Config) -> Config:
    """The complete configuration of the consumer."""
    ours = _CONSUMER
    if properties.get("group.protocol") == "consumer":
        # With this protocol the broker determines these properties, and librdkafka refuses them.
        ours = {key: value for key, value in ours.items() if key not in _CLASSIC_ONLY}
    return {"bootstrap.servers": bootstrap, "group.id": group} | ours | properties


def client_config(bootstrap: str, properties: Config) -> Config:
    """The configuration of producers and admin clients: where the broker is and how to log in."""
    shared = ("security.", "sasl.", "ssl.", "https.", "client.", "socket.", "broker.", "enable.ssl.", "enable.sasl.")
    return {"bootstrap.servers": bootstrap} | {k: v for k, v in properties.items() if k.startswith(shared)}
