"""Settings: environment variables, read once, checked whole."""

import ipaddress
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumer.domain.errors import ConfigurationError

PREFIX = "CALSYNC_"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(value: str) -> SplitResult:
    try:
        return urlsplit(value)
    except ValueError:
        # The library's message quotes the host's part, a password included.
        raise ValueError("is no URL") from None


def _web_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password")
    return value.rstrip("/")


def _microsoft_url(value: str) -> str:
    parts = _split(_web_url(value))
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("must be https: plain http is accepted on a loopback address only")
    return value.rstrip("/")


def _redis_url(value: SecretStr) -> SecretStr:
    if _split(value.get_secret_value()).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must be a redis://, rediss:// or unix:// URL")
    return value


def _bind(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 0.0.0.0:9464")
    return value


def _authorities(value: Path) -> Path:
    try:
        ssl.create_default_context(cafile=value)
    except ssl.SSLError:
        raise ValueError("holds no certificate in PEM form") from None
    return value


def _readable(value: Path) -> Path:
    try:
        if not value.is_file():
            raise ValueError("no such file")
        value.open("rb").close()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return value


WebUrl = Annotated[str, AfterValidator(_web_url)]
MicrosoftUrl = Annotated[str, AfterValidator(_microsoft_url)]
ReadableFile = Annotated[Path, AfterValidator(_readable)]


class Settings(BaseSettings):
    """What the operator chose. Every field is the environment variable of its name with ``CALSYNC_`` before it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    kafka_bootstrap_servers: str
    kafka_topic: str = "core.job-changed"
    kafka_group: str = "core-calendar-sync"
    kafka_dlq_topic: str = "core.job-changed.dlq"
    kafka_heartbeat_topic: str = "__debezium-heartbeat.core"
    kafka_config_file: ReadableFile | None = None
    schema_registry_url: WebUrl | None = None
    schema_registry_user_info: SecretStr | None = None
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)]
    redis_prefix: str = "calsync:"
    core_api_url: WebUrl
    core_api_token: SecretStr | None = None
    core_api_token_file: ReadableFile | None = Field(default=None, validate_default=True)
    sites_file: ReadableFile
    graph_url: MicrosoftUrl = "https://graph.microsoft.com/v1.0"
    entra_url: MicrosoftUrl = "https://login.microsoftonline.com"
    ca_file: Annotated[ReadableFile, AfterValidator(_authorities)] | None = None
    sweep_interval_seconds: float = Field(default=300, gt=0, allow_inf_nan=False)
    window_days: int = Field(default=21, ge=1, le=365)
    http_bind: Annotated[str, AfterValidator(_bind)] = "0.0.0.0:9464"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] | None = None
    """``None``: text on a terminal, JSON elsewhere."""

    @field_validator("core_api_token_file")
    @classmethod
    def _one_token(cls, token_file: Path | None, others: ValidationInfo) -> Path | None:
        """On the field, since a model's validator runs only when no field has a problem."""
        if (others.data.get("core_api_token") is None) == (token_file is None):
            raise ValueError("set one of CALSYNC_CORE_API_TOKEN and CALSYNC_CORE_API_TOKEN_FILE")
        if token_file is not None and not token_file.read_text(encoding="utf-8").strip():
            raise ValueError("the file is empty")
        return token_file

    def core_token(self) -> str:
        """The bearer token for Core's API."""
        if self.core_api_token_file is not None:
            return self.core_api_token_file.read_text(encoding="utf-8").strip()
        assert self.core_api_token is not None  # noqa: S101 (validated above)
        return self.core_api_token.get_secret_value()

    def registry_user_info(self) -> str | None:
        """``user:password`` of the schema registry."""
        return self.schema_registry_user_info.get_secret_value() if self.schema_registry_user_info else None


def load() -> Settings:
    """The settings of this process.

    Raises:
        ConfigurationError: every problem at once, each with its variable's name and never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError([_problem(entry) for entry in error.errors()]) from None


def _problem(entry: Any) -> str:
    message = str(entry["msg"]).removeprefix("Value error, ")
    if not entry["loc"]:
        return message
    name = PREFIX + str(entry["loc"][0]).upper()
    return f"{name}: is required" if entry["type"] == "missing" else f"{name}: {message}"
