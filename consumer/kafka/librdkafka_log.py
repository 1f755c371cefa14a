"""librdkafka's own lines and errors, written to the service's log."""

from collections.abc import Callable
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError

from consumer.kafka.hints import hint_of

log = structlog.get_logger(__name__)

REPEAT_SECONDS: Final = 30.0
"""An error is logged again after this time. While a broker is unavailable, librdkafka reports it 20 times a second."""


class LibrdkafkaLog:
    """A logger with the one method that confluent-kafka calls. Without one, a client writes its lines to stderr."""

    def log(self, level: int, message: str, *args: Any) -> None:
        """Write a line at level debug: errors that matter are also reported by callbacks."""
        log.debug("librdkafka", level=level, line=message % args if args else message)


class ErrorLog:
    """Logs the errors that librdkafka reports to ``error_cb``, each code at most once in 30 seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._logged_at: dict[int, float] = {}
        """By error code, so librdkafka's list of codes bounds it."""

    def error(self, error: KafkaError) -> None:
        """Log the error, unless its code was logged a moment ago."""
        now = self._monotonic()
        if now - self._logged_at.get(error.code(), float("-inf")) >= REPEAT_SECONDS:
            self._logged_at[error.code()] = now
            self.write(error)

    @staticmethod
    def write(error: KafkaError) -> None:
        """Log the error, with what to do about it."""
        log.warning(
            "Kafka error", error=error.name(), reason=error.str(), hint=hint_of(error), fatal=bool(error.fatal())
        )
