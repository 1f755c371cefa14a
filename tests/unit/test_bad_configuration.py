"""A configuration that can never work ends each command with exit code 2 and shows only the variable's name."""

from pathlib import Path

import pytest

from tests.warm import Warm

SITE = """
[[site]]
id = "acme"
name = "Acme Inspections"
timezone = "Europe/London"
tenant_id = "tenant"
client_id = "client"
client_secret = "s3cret"
"""

VALUES = {
    "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": [
        "",
        "http://s3cret:9092",
        "broker:s3cret",
        "s3cret broker:9092",
        "broker:0",
        ",",
    ],
    "CALSYNC_KAFKA_TOPIC": ["s3cret topic", "..", "s3cret/1"],
    "CALSYNC_KAFKA_GROUP": ["s3cret\x01", "s3cret" * 50],
    "CALSYNC_KAFKA_DLQ_TOPIC": ["core.job-changed", "s3cret,1"],
    "CALSYNC_KAFKA_HEARTBEAT_TOPIC": ["s3cret heartbeat"],
    "CALSYNC_KAFKA_CONFIG_FILE": ["/nowhere/s3cret", "/"],
    "CALSYNC_SCHEMA_REGISTRY_URL": ["http://user:s3cret@registry:8081", "registry:8081", "http://a:8081;http://s3cret"],
    "CALSYNC_SCHEMA_REGISTRY_USER_INFO": ["s3cret", ":s3cret", "user:s3cret\nX: 1"],
    "CALSYNC_REDIS_URL": [
        "",
        "redis://:s3cret#1@redis:6379/0",
        "redis://:s3cret/1@redis:6379/0",
        "redis://:s3cret?1@redis:6379/0",
        "redis://redis:s3cret/0",
        "redis://redis:99999/0",
        "redis://redis/s3cret",
        "redis://redis/0?s3cret=1",
        "redis://:s3cret@/0",
        "redis://[s3cret",
        "https://s3cret",
        "unix://s3cret",
        "rediss://redis/0?ssl_ca_certs=/nowhere/s3cret",
        "rediss://redis/0?ssl_certfile=/nowhere/s3cret",
    ],
    "CALSYNC_REDIS_PREFIX": ["s3cret\x02:"],
    "CALSYNC_CORE_API_URL": [
        "",
        "core",
        "http://core s3cret",
        "http://core:s3cret",
        "http://user:s3cret@core",
        "http://core/?key=s3cret",
        "http://[s3cret]",
        "http://s3cret..example",
    ],
    "CALSYNC_CORE_API_TOKEN": ["", "s3cret\nX-Admin: 1", "Bearer s3cret", "s3crét"],
    "CALSYNC_SITES_FILE": ["", "/nowhere/s3cret", "/"],
    "CALSYNC_GRAPH_URL": ["http://s3cret.example", "s3cret"],
    "CALSYNC_ENTRA_URL": ["http://s3cret.example", "https://s3cret:x"],
    "CALSYNC_CA_FILE": ["/nowhere/s3cret", "/dev/null"],
    "CALSYNC_SWEEP_INTERVAL_SECONDS": ["300s", "5 min", "0", "-1", "0.01", "1e12", "nan", "s3cret"],
    "CALSYNC_WINDOW_DAYS": ["21d", "0", "366", "1.5", "s3cret"],
    "CALSYNC_HTTP_BIND": ["9464", ":9464", "0.0.0.0:s3cret", "s3cret..example:9464", "s3cret host:1", "::1:9464"],
    "CALSYNC_LOG_LEVEL": ["s3cret", "verbose"],
    "CALSYNC_LOG_FORMAT": ["s3cret", "xml"],
}

PROPERTIES = {
    "unknown": "s3cret.property=1",
    "value": "security.protocol=s3cret",
    "out of range": "socket.timeout.ms=999999999",
    "unit": "session.timeout.ms=10s",
    "another unit": "fetch.max.bytes = 10 MB",
    "no property": "s3cret",
    "fixed": "group.id=s3cret",
    "callback": "error_cb=s3cret",
    "logger": "logger=s3cret",
    "no such file": "security.protocol=ssl\nssl.ca.location=/nowhere/ca.pem",
    "no such certificate": "security.protocol=ssl\nssl.certificate.location=/nowhere/cert.pem",
    "no such key": "security.protocol=SASL_SSL\nssl.key.location=/nowhere/key.pem",
    "no such keystore": "security.protocol=ssl\nssl.keystore.location=/nowhere/s.p12\nssl.keystore.password=s3cret",
    "no such list of revoked certificates": "security.protocol=ssl\nssl.crl.location=/nowhere/crl.pem",
    "authorities that are none": "security.protocol=ssl\nssl.ca.location=/dev/null",
    "a certificate that is none": "security.protocol=ssl\nssl.certificate.location=/proc/self/status",
    "a keystore that is none": (
        "security.protocol=ssl\nssl.keystore.location=/proc/self/status\nssl.keystore.password=s3cret"
    ),
    "no authorities for https": "https.ca.location=/nowhere/ca.pem",
    "no such assertion": (
        "security.protocol=sasl_ssl\nsasl.mechanisms=OAUTHBEARER\nsasl.oauthbearer.method=oidc\n"
        "sasl.oauthbearer.grant.type=urn:ietf:params:oauth:grant-type:jwt-bearer\n"
        "sasl.oauthbearer.assertion.file=/nowhere/token\nsasl.oauthbearer.token.endpoint.url=https://x.example/t"
    ),
    "no such mechanism": "security.protocol=sasl_ssl\nsasl.mechanisms=S3CRET",
    "no user": "security.protocol=sasl_ssl\nsasl.mechanisms=SCRAM-SHA-512\nsasl.password=s3cret",
    "a key that is none": "security.protocol=ssl\nssl.key.pem=s3cret",
    "contradiction": "max.poll.interval.ms=100",
    "Java": "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required password='s3cret';",
    "control character": "sasl.password=s3cret\x07",
    "not UTF-8": "sasl.password=s3cret\udcff",
}

SITES = {
    "empty": "",
    "no TOML": 'client_secret = "s3cret',
    "half": SITE.rpartition("client_secret")[0],
    "tenant that is none": SITE.replace('"tenant"', '"s3cret/../x"'),
    "secret of two lines": SITE.replace('"s3cret"', '"s3cret\\nx"'),
    "secret file away": SITE.replace("client_secret =", "client_secret_file ="),
    "time zone": SITE.replace("Europe/London", "London"),
    "not UTF-8": SITE.replace("Acme", "Acme\udcff"),
}

TOKENS = {"empty": "\n", "two lines": "s3cret\nx", "not UTF-8": "s3cret\udcff"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """All required variables. No server listens on their addresses."""
    (tmp_path / "sites.toml").write_text(SITE)
    return {
        "PATH": "/usr/bin",
        "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "CALSYNC_REDIS_URL": "redis://127.0.0.1:1/0",
        "CALSYNC_CORE_API_URL": "http://127.0.0.1:1",
        "CALSYNC_CORE_API_TOKEN": "s3cret",
        "CALSYNC_SITES_FILE": str(tmp_path / "sites.toml"),
        "CALSYNC_HTTP_BIND": "127.0.0.1:0",
    }


def refused(warm: Warm, command: str, environment: dict[str, str], variable: str) -> None:
    done = warm.run([command], environment)
    assert done.returncode == 2, done.output
    assert variable in done.output
    assert "Traceback" not in done.output
    assert "s3cret" not in done.output.replace("/nowhere/s3cret", "")
    assert all(line.startswith("calsync: CALSYNC_") for line in done.output.splitlines()), done.output


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name in VALUES for value in VALUES[name]])
def test_a_value_that_can_never_work_ends_the_command(
    warm: Warm, environment: dict[str, str], variable: str, value: str
) -> None:
    refused(warm, "sweep", environment | {variable: value}, variable)


@pytest.mark.parametrize("variable", VALUES)
def test_the_service_reads_its_settings_as_a_command_does(
    warm: Warm, environment: dict[str, str], variable: str
) -> None:
    """So the tests above need only one command, because each value costs a process."""
    refused(warm, "run", environment | {variable: VALUES[variable][-1]}, variable)


def test_every_problem_is_reported_at_once(warm: Warm, environment: dict[str, str]) -> None:
    done = warm.run(["run"], environment | {variable: values[-1] for variable, values in VALUES.items()})
    assert done.returncode == 2
    assert [line.split(": ")[1] for line in done.output.splitlines()] == list(VALUES)


@pytest.mark.parametrize("lines", PROPERTIES.values(), ids=PROPERTIES)
def test_kafka_properties_that_can_never_work_end_the_service(
    warm: Warm, environment: dict[str, str], tmp_path: Path, lines: str
) -> None:
    (tmp_path / "kafka.properties").write_text(f"# ours\n{lines}\n", errors="surrogateescape")
    changed = environment | {"CALSYNC_KAFKA_CONFIG_FILE": str(tmp_path / "kafka.properties")}
    done = warm.run(["run"], changed)
    assert done.returncode == 2, done.output
    assert done.output.startswith("calsync: CALSYNC_KAFKA_CONFIG_FILE: ")
    assert "Traceback" not in done.output
    assert "s3cret" not in done.output.replace('"s3cret.property"', "").lower()


def test_a_brokers_protocol_that_librdkafka_would_ignore_is_refused(warm: Warm, environment: dict[str, str]) -> None:
    bootstrap = {"CALSYNC_KAFKA_BOOTSTRAP_SERVERS": "SASL_SSL://127.0.0.1:1"}
    refused(warm, "run", environment | bootstrap, "CALSYNC_KAFKA_BOOTSTRAP_SERVERS")


@pytest.mark.parametrize(
    ("command", "sites"),
    [("run", SITES["half"]), *(("sweep", sites) for sites in SITES.values())],
    ids=["half, the service", *SITES],
)
def test_a_sites_file_that_can_never_work_ends_the_command(
    warm: Warm, environment: dict[str, str], tmp_path: Path, command: str, sites: str
) -> None:
    (tmp_path / "sites.toml").write_text(sites, errors="surrogateescape")
    refused(warm, command, environment, "CALSYNC_SITES_FILE")


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_token_file_that_can_never_work_ends_the_command(
    warm: Warm, environment: dict[str, str], tmp_path: Path, token: str
) -> None:
    (tmp_path / "token").write_text(token, errors="surrogateescape")
    changed = environment | {"CALSYNC_CORE_API_TOKEN": "", "CALSYNC_CORE_API_TOKEN_FILE": str(tmp_path / "token")}
    refused(warm, "sweep", changed, "CALSYNC_CORE_API_TOKEN_FILE")


def test_an_argument_that_is_not_text_is_a_usage_error(warm: Warm, environment: dict[str, str]) -> None:
    for arguments in (["mailbox", "park", "ann\udcff@acme.example"], ["sweep", "--mailbox", "\udcff"]):
        done = warm.run(arguments, environment)
        assert (done.returncode, done.output) == (2, "calsync: an argument is not UTF-8 text: type it again\n")


def test_the_same_environment_without_the_fault_is_accepted(
    warm: Warm, environment: dict[str, str], tmp_path: Path
) -> None:
    """Without this, the tests above would prove nothing."""
    (tmp_path / "kafka.properties").write_text("\ufeff# ours\r\nsecurity.protocol = plaintext \r\n", encoding="utf-8")
    changed = {name: f"\ufeff{value}\r\n" for name, value in environment.items() if name != "PATH"}
    changed["CALSYNC_KAFKA_CONFIG_FILE"] = str(tmp_path / "kafka.properties")
    done = warm.run(["sweep"], environment | changed)
    assert done.returncode == 1
    assert "CALSYNC_REDIS_URL: " in done.output
    assert "Traceback" not in done.output
