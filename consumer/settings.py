"""Settings: environment variables, read once, checked whole."""

from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumer import setting_values as values
from consumer.domain.errors import ConfigurationError
from consumer.operator_text import clean, require_one_line

log = structlog.get_logger(__name__)

PREFIX = "CALSYNC_"
_HINTS = {
    "sweep_interval_seconds": "must be a number of seconds from 1 to 604800, without a unit",
    "window_days": "must be a whole number of days from 1 to 365, without a unit",
}


def _secret(value: SecretStr, check: Any) -> SecretStr:
    check(value.get_secret_value())
    return value


def _small(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


WebUrl = Annotated[str, AfterValidator(values.web_url)]
MicrosoftUrl = Annotated[str, AfterValidator(values.microsoft_url)]
ReadableFile = Annotated[Path, AfterValidator(values.readable)]
Topic = Annotated[str, AfterValidator(values.topic)]
Token = Annotated[SecretStr, AfterValidator(lambda value: _secret(value, values.token))]
UserInfo = Annotated[SecretStr, AfterValidator(lambda value: _secret(value, values.user_info))]
RedisUrl = Annotated[SecretStr, AfterValidator(lambda value: _secret(value, values.redis_url))]


class Settings(BaseSettings):
    """What the operator chose. Every field is the environment variable of its name with ``CALSYNC_`` before it.

    White space, a final newline and a byte-order mark around a value are not part of it; a value of nothing else is
    an unset variable. A value that can never work is refused here, so that no command begins with it.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    kafka_bootstrap_servers: Annotated[str, AfterValidator(values.bootstrap_servers)]
    kafka_topic: Topic = "core.job-changed"
    kafka_group: str = Field(default="core-calendar-sync", max_length=255)
    kafka_dlq_topic: Topic = "core.job-changed.dlq"
    kafka_heartbeat_topic: Topic = "__debezium-heartbeat.core"
    kafka_config_file: ReadableFile | None = None
    schema_registry_url: Annotated[str, AfterValidator(values.registry_urls)] | None = None
    schema_registry_user_info: UserInfo | None = None
    redis_url: RedisUrl
    redis_prefix: str = "calsync:"
    core_api_url: WebUrl
    core_api_token: Token | None = None
    core_api_token_file: ReadableFile | None = Field(default=None, validate_default=True)
    sites_file: ReadableFile
    graph_url: MicrosoftUrl = "https://graph.microsoft.com/v1.0"
    entra_url: MicrosoftUrl = "https://login.microsoftonline.com"
    ca_file: Annotated[ReadableFile, AfterValidator(values.authorities)] | None = None
    sweep_interval_seconds: float = Field(default=300, ge=1, le=604_800, allow_inf_nan=False)
    window_days: int = Field(default=21, ge=1, le=365)
    http_bind: Annotated[str, AfterValidator(values.bind)] = "0.0.0.0:9464"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_small)] = "info"
    log_format: Annotated[Literal["json", "text"], BeforeValidator(_small)] | None = None
    """``None``: text on a terminal, JSON elsewhere."""

    _last_token: str = PrivateAttr(default="")
    _token_problem: str = PrivateAttr(default="")

    @model_validator(mode="before")
    @classmethod
    def _cleaned(cls, fields: dict[str, Any]) -> dict[str, Any]:
        cleaned = {name: clean(value) if isinstance(value, str) else value for name, value in fields.items()}
        return {name: value for name, value in cleaned.items() if value != ""}

    @field_validator("*", mode="before")
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        if isinstance(value, str):
            require_one_line(value)
        return value

    @field_validator("kafka_dlq_topic")
    @classmethod
    def _another_topic(cls, name: str, others: ValidationInfo) -> str:
        if name == others.data.get("kafka_topic"):
            raise ValueError("must be another topic than CALSYNC_KAFKA_TOPIC")
        return name

    @field_validator("core_api_token_file")
    @classmethod
    def _one_token(cls, token_file: Path | None, others: ValidationInfo) -> Path | None:
        """On the field, since a model's validator runs only when no field has a problem."""
        if "core_api_token" not in others.data:
            return token_file  # the variable is set, and its problem is reported already
        if (others.data["core_api_token"] is None) == (token_file is None):
            raise ValueError("set one of CALSYNC_CORE_API_TOKEN and CALSYNC_CORE_API_TOKEN_FILE")
        if token_file is not None:
            try:
                values.token_of(token_file)
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror}") from None
        return token_file

    def model_post_init(self, _context: Any, /) -> None:
        """Take the token that was just checked, so that there is a last one from the beginning."""
        self.core_token()

    def core_token(self) -> str:
        """The bearer token for Core's API; from a file, the one that it holds now.

        The platform replaces the file when it rotates the token. While it cannot be used, the last token is kept.
        """
        if self.core_api_token is not None:
            return self.core_api_token.get_secret_value()
        if self.core_api_token_file is not None:
            self._reread_token(self.core_api_token_file)
        return self._last_token

    def _reread_token(self, token_file: Path) -> None:
        try:
            self._last_token = values.token_of(token_file)
            self._token_problem = ""
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else str(error)
            if problem != self._token_problem:
                self._token_problem = problem or "cannot be read"
                log.error("CALSYNC_CORE_API_TOKEN_FILE cannot be used, the last token is kept", reason=problem)

    def schema_registry_urls(self) -> list[str]:
        """The schema registry's URLs, in the order in which they are tried; empty if there is no registry."""
        return self.schema_registry_url.split(",") if self.schema_registry_url else []

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
    field = str(entry["loc"][0])
    name = PREFIX + field.upper()
    return f"{name}: is required" if entry["type"] == "missing" else f"{name}: {_HINTS.get(field, message)}"
