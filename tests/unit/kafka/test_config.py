"""librdkafka's configuration: what an operator may add, and what must stay."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from consumer.domain.errors import ConfigurationError
from consumer.kafka.config import checked_properties, client_config, consumer_config, make, read_properties


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kafka.properties"


def test_without_a_file_there_are_no_properties() -> None:
    assert read_properties(None) == {}


def test_lines_are_properties_and_comments_are_not(file: Path) -> None:
    file.write_text("# TLS\n\nsecurity.protocol = SASL_SSL\r\nsasl.password=a=b#c\n  ssl.ca.location=/ca.pem  \n")
    assert read_properties(file) == {
        "security.protocol": "SASL_SSL",
        "sasl.password": "a=b#c",
        "ssl.ca.location": "/ca.pem",
    }


def test_all_problems_of_a_file_are_reported_together_with_lines_and_without_values(file: Path) -> None:
    file.write_text("s3cret\nenable.auto.commit=s3cret\nsasl.password=s3cret\n=s3cret\ngroup.id=s3cret\n")
    with pytest.raises(ConfigurationError) as caught:
        read_properties(file)
    problems = caught.value.problems
    assert [problem.partition("line ")[2][0] for problem in problems] == ["1", "2", "4", "5"]
    assert all(problem.startswith("CALSYNC_KAFKA_CONFIG_FILE") for problem in problems)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "bootstrap.servers",
        "metadata.broker.list",
        "group.id",
        "enable.auto.commit",
        "auto.commit.enable",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "partition.assignment.strategy",
    ],
)
def test_properties_that_correctness_depends_on_cannot_be_set(file: Path, key: str) -> None:
    file.write_text(f"{key}=x")
    with pytest.raises(ConfigurationError, match=key):
        read_properties(file)


def test_a_file_that_cannot_be_read_is_a_configuration_error(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="CALSYNC_KAFKA_CONFIG_FILE"):
        read_properties(file)
    file.write_bytes(b"sasl.password=\xff")
    with pytest.raises(ConfigurationError, match="CALSYNC_KAFKA_CONFIG_FILE"):
        read_properties(file)


def test_the_consumer_does_not_commit_automatically_and_starts_at_the_beginning() -> None:
    config = consumer_config("broker:9092", "group", {"fetch.max.bytes": "5", "security.protocol": "SSL"})
    assert config["bootstrap.servers"] == "broker:9092"
    assert config["group.id"] == "group"
    assert config["enable.auto.commit"] is False
    assert config["enable.auto.offset.store"] is False
    assert config["auto.offset.reset"] == "earliest"
    assert config["fetch.max.bytes"] == "5"


def test_other_clients_get_the_connection_properties_and_no_consumer_properties() -> None:
    reaching = {
        "security.protocol": "SASL_SSL",
        "sasl.password": "x",
        "ssl.ca.location": "/ca",
        "enable.ssl.certificate.verification": "true",
        "https.ca.location": "/ca",
        "socket.timeout.ms": "5",
    }
    config = client_config("broker:9092", {**reaching, "fetch.max.bytes": "5", "queued.min.messages": "1"})
    assert config == {"bootstrap.servers": "broker:9092"} | reaching


def test_the_newer_group_protocol_gets_no_property_that_it_refuses() -> None:
    config = consumer_config("b:1", "g", {"group.protocol": "consumer"})
    assert config["group.protocol"] == "consumer"
    assert not {"partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms"} & set(config)
    assert "partition.assignment.strategy" in consumer_config("b:1", "g", {})


@pytest.mark.parametrize("protocol", [{}, {"group.protocol": "consumer"}])
def test_librdkafka_accepts_the_configuration(protocol: dict[str, str]) -> None:
    make(Consumer, consumer_config("b:1", "g", protocol)).close()


def test_the_session_timeout_is_ten_seconds_unless_the_operator_sets_it() -> None:
    assert consumer_config("b:1", "g", {})["session.timeout.ms"] == 10_000
    assert consumer_config("b:1", "g", {"session.timeout.ms": "30000"})["session.timeout.ms"] == "30000"


def test_a_property_that_librdkafka_does_not_know_is_reported_with_its_setting() -> None:
    with pytest.raises(ConfigurationError) as refused:
        make(Producer, client_config("b:1", {"sasl.passwrd": "not-shown"}))
    assert "CALSYNC_KAFKA_CONFIG_FILE" in str(refused.value)
    assert "sasl.passwrd" in str(refused.value)
    assert "not-shown" not in str(refused.value)


@pytest.mark.parametrize("line", ["client.id=10s", "sasl.password=5k", "client.rack = 1 a"])
def test_a_text_that_looks_like_a_number_with_a_unit_is_a_value(file: Path, line: str) -> None:
    file.write_text(line)
    assert list(read_properties(file).values()) == [line.partition("=")[2].strip()]


@pytest.mark.parametrize("line", ["session.timeout.ms=10s", "fetch.max.bytes = 10 MB"])
def test_a_number_with_a_unit_is_refused_because_librdkafka_would_read_only_the_number(file: Path, line: str) -> None:
    file.write_text(line)
    with pytest.raises(ConfigurationError, match="must be a number without a unit"):
        read_properties(file)


@pytest.mark.parametrize(
    ("bootstrap", "properties"),
    [
        ("broker:9092", "security.protocol=ssl"),
        ("SSL://broker:9093", "security.protocol=ssl"),
        ("plaintext://broker:9092", ""),
    ],
)
def test_brokers_of_the_configured_protocol_are_accepted(file: Path, bootstrap: str, properties: str) -> None:
    file.write_text(properties)
    checked_properties(file, bootstrap)


@pytest.mark.parametrize(
    ("bootstrap", "properties"),
    [
        ("ssl://broker:9093", ""),
        ("broker:9092,PLAINTEXT://broker:9092", "security.protocol=SSL"),
    ],
)
def test_a_broker_of_another_protocol_is_refused_because_librdkafka_would_ignore_it(
    file: Path, bootstrap: str, properties: str
) -> None:
    file.write_text(properties)
    with pytest.raises(ConfigurationError, match="CALSYNC_KAFKA_BOOTSTRAP_SERVERS: names another protocol"):
        checked_properties(file, bootstrap)


def test_files_of_the_configured_protocol_must_exist_and_others_need_not(file: Path) -> None:
    missing = "ssl.key.location=/nowhere/key.pem\nssl.certificate.location=/nowhere/cert.pem"
    file.write_text(f"security.protocol=SASL_SSL\n{missing}")
    with pytest.raises(ConfigurationError) as refused:
        checked_properties(file, "broker:9092")
    assert [problem.split(": ")[1] for problem in refused.value.problems] == [
        "ssl.key.location",
        "ssl.certificate.location",
    ]
    file.write_text(f"security.protocol=plaintext\n{missing}")
    checked_properties(file, "broker:9092")
