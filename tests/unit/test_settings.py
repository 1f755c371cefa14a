"""Settings: all problems of the environment are reported at once, by variable name and without values."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.domain.errors import ConfigurationError
from consumer.settings import Settings, load

Environment = dict[str, str]
Load = Callable[..., Settings]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    """The smallest environment that is accepted."""
    for name in list(os.environ):
        if name.upper().startswith("CALSYNC_"):
            monkeypatch.delenv(name)
    sites = tmp_path / "sites.toml"
    sites.touch()
    return {
        "CALSYNC_KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
        "CALSYNC_REDIS_URL": "redis://:s3cret@redis:6379/0",
        "CALSYNC_CORE_API_URL": "https://core.example/api/",
        "CALSYNC_CORE_API_TOKEN": "s3cret",
        "CALSYNC_SITES_FILE": str(sites),
    }


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, environment: Environment) -> Load:
    """Loads the settings of the smallest environment with these variables changed; an empty one is unset."""

    def of(**changes: str) -> Settings:
        for name, value in (environment | changes).items():
            monkeypatch.setenv(name, value)
        return load()

    return of


def problems(settings: Load, **changes: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        settings(**changes)
    assert "s3cret" not in str(caught.value)
    return caught.value.problems


def test_the_smallest_environment_has_the_documented_defaults(settings: Load) -> None:
    found = settings()
    assert found.kafka_bootstrap_servers == "broker:9092"
    assert found.kafka_topic == "core.job-changed"
    assert found.kafka_group == "core-calendar-sync"
    assert found.kafka_dlq_topic == "core.job-changed.dlq"
    assert found.kafka_heartbeat_topic == "__debezium-heartbeat.core"
    assert found.redis_prefix == "calsync:"
    assert found.core_api_url == "https://core.example/api"
    assert found.graph_url == "https://graph.microsoft.com/v1.0"
    assert found.entra_url == "https://login.microsoftonline.com"
    assert (found.sweep_interval_seconds, found.window_days) == (300, 21)
    assert found.http_bind == "0.0.0.0:9464"
    assert found.log_level == "info"
    assert found.core_token() == "s3cret"
    assert found.registry_user_info() is None


def test_no_secret_shows_in_the_settings_themselves(settings: Load) -> None:
    found = settings(CALSYNC_SCHEMA_REGISTRY_USER_INFO="user:s3cret")
    assert found.registry_user_info() == "user:s3cret"
    assert "s3cret" not in repr(found)
    assert "s3cret" not in str(found)


def test_all_missing_settings_are_reported_together(settings: Load) -> None:
    missing = [
        "CALSYNC_KAFKA_BOOTSTRAP_SERVERS",
        "CALSYNC_REDIS_URL",
        "CALSYNC_CORE_API_URL",
        "CALSYNC_CORE_API_TOKEN",
        "CALSYNC_SITES_FILE",
    ]
    reported = problems(settings, **dict.fromkeys(missing, ""))
    assert len(reported) == len(missing)
    for name in missing:
        assert any(name in problem for problem in reported)


def test_all_wrong_settings_are_reported_together_without_values(settings: Load) -> None:
    wrong = {
        "CALSYNC_REDIS_URL": "http://:s3cret@redis",
        "CALSYNC_CORE_API_URL": "ftp://s3cret",
        "CALSYNC_SCHEMA_REGISTRY_URL": "http://user:s3cret@registry.example",
        "CALSYNC_GRAPH_URL": "http://s3cret.example",
        "CALSYNC_ENTRA_URL": "s3cret",
        "CALSYNC_SITES_FILE": "/nowhere/s3cret",
        "CALSYNC_KAFKA_CONFIG_FILE": "/",
        "CALSYNC_CA_FILE": "/nowhere/s3cret",
        "CALSYNC_CORE_API_TOKEN_FILE": "/nowhere/s3cret",
        "CALSYNC_SWEEP_INTERVAL_SECONDS": "s3cret",
        "CALSYNC_WINDOW_DAYS": "0",
        "CALSYNC_HTTP_BIND": "s3cret",
        "CALSYNC_LOG_LEVEL": "s3cret",
        "CALSYNC_LOG_FORMAT": "s3cret",
    }
    reported = problems(settings, **wrong)
    assert {problem.partition(":")[0] for problem in reported} == set(wrong)
    assert len(reported) == len(wrong)


@pytest.mark.parametrize("variable", ["CALSYNC_REDIS_URL", "CALSYNC_CORE_API_URL", "CALSYNC_GRAPH_URL"])
@pytest.mark.parametrize(
    "url", ["redis://user:[s3cret]@h", "https://[s3cret]/", "https://s3cret℀.example", "redis://[s3cret"]
)
def test_an_invalid_url_is_reported_without_its_value(settings: Load, variable: str, url: str) -> None:
    (reported,) = problems(settings, **{variable: url})
    assert reported.startswith(f"{variable}: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "http://127.8.9.10",
        "http://[::1]:8080/v1.0",
        "http://localhost:1",
        "HTTPS://graph.example",
    ],
)
def test_plain_http_to_microsoft_is_accepted_on_loopback(settings: Load, url: str) -> None:
    found = settings(CALSYNC_GRAPH_URL=url, CALSYNC_ENTRA_URL=url + "/")
    assert (found.graph_url, found.entra_url) == (url, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://graph.microsoft.com/v1.0",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://127.0.0.1@graph.example",
        "http://0.0.0.0",
        "http://[::]",
        "http://",
        "ws://127.0.0.1",
        "127.0.0.1",
    ],
)
@pytest.mark.parametrize("variable", ["CALSYNC_GRAPH_URL", "CALSYNC_ENTRA_URL"])
def test_plain_http_to_microsoft_is_refused_anywhere_else(settings: Load, variable: str, url: str) -> None:
    (reported,) = problems(settings, **{variable: url})
    assert reported.startswith(f"{variable}: must")


def test_core_may_be_plain_http_in_its_own_network(settings: Load) -> None:
    assert settings(CALSYNC_CORE_API_URL="http://core:8080").core_api_url == "http://core:8080"


def test_the_token_may_be_in_a_file(settings: Load, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" s3cret-file\n", encoding="utf-8")
    found = settings(CALSYNC_CORE_API_TOKEN="", CALSYNC_CORE_API_TOKEN_FILE=str(file))
    assert found.core_token() == "s3cret-file"


def test_two_tokens_are_refused(settings: Load, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret", encoding="utf-8")
    (reported,) = problems(settings, CALSYNC_CORE_API_TOKEN_FILE=str(file))
    assert "CALSYNC_CORE_API_TOKEN and CALSYNC_CORE_API_TOKEN_FILE" in reported


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::]:9464", "localhost:65535"])
def test_a_bind_is_host_and_port(settings: Load, bind: str) -> None:
    assert settings(CALSYNC_HTTP_BIND=bind).http_bind == bind


@pytest.mark.parametrize(
    "bind", ["9464", ":9464", "0.0.0.0", "0.0.0.0:", "0.0.0.0:http", "0.0.0.0:65536", "h:²", "h:-1"]
)
def test_another_bind_is_refused(settings: Load, bind: str) -> None:
    (reported,) = problems(settings, CALSYNC_HTTP_BIND=bind)
    assert reported.startswith("CALSYNC_HTTP_BIND: must be HOST:PORT")


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf"])
def test_an_interval_is_positive_and_finite(settings: Load, interval: str) -> None:
    (reported,) = problems(settings, CALSYNC_SWEEP_INTERVAL_SECONDS=interval)
    assert reported.startswith("CALSYNC_SWEEP_INTERVAL_SECONDS: ")


def test_an_empty_variable_is_unset_and_foreign_variables_are_ignored(settings: Load) -> None:
    found = settings(CALSYNC_KAFKA_TOPIC="", CALSYNC_LOG_FORMAT="", CALSYNC_SOMETHING_ELSE="x")
    assert found.kafka_topic == "core.job-changed"
    assert found.log_format is None
