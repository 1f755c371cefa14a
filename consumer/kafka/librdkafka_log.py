"""librdkafka's own lines and errors, written to the service's log."""

from collections.abc import Callable
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError

from consumer.kafka.hints import hint_of
from consumer.repeated import Repeated, Write

log = structlog.get_logger(__name__)

UNAVAILABLE: Final = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN})
"""Errors of a broker that does not answer."""


class LibrdkafkaLog:
    """A logger with the one method that confluent-kafka calls. Without one, a client writes its lines to stderr."""

    def log(self, level: int, message: str, *args: Any) -> None:
        """Write a line at level debug: errors that matter are also reported by callbacks."""
        log.debug("librdkafka", severity=level, line=message % args if args else message)


QUIET: Final[dict[str, Any]] = {"logger": LibrdkafkaLog(), "log_level": 2}
"""For clients that are not polled all the time. librdkafka keeps their lines until the next poll: while the brokers are
unavailable, 20 a second for as long as that lasts. So they have none but critical ones."""


class ErrorLog:
    """Logs the errors that librdkafka reports, each code once a minute. For one thread.

    While no broker answers, each of them fails 20 times a second: that is one kind of trouble.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._repeated = Repeated(monotonic)
        self._failed_at = float("-inf")

    def error(self, error: KafkaError) -> None:
        """Log the error with what to do about it, unless its code was logged less than a minute ago."""
        code, reason, hint = error.code(), error.str(), hint_of(error)
        is_down = code == KafkaError._ALL_BROKERS_DOWN
        if is_down or (code in UNAVAILABLE and self._repeated.lasts("brokers")):
            self._failed_at = self._monotonic()
            hint = hint or hint_of(KafkaError(KafkaError._ALL_BROKERS_DOWN))
            self._repeated.happened("brokers", log.error, "no Kafka broker answers", reason=reason, hint=hint)
            return
        fatal = bool(error.fatal())
        self._repeated.happened(
            code, log.warning, "Kafka error", error=error.name(), reason=reason, hint=hint, fatal=fatal
        )

    def answered(self, at: float) -> None:
        """A broker answered at this time on the monotonic clock."""
        if at > self._failed_at:
            self._repeated.ended("brokers", log.info, "Kafka answers again")


def level_of(error: KafkaError) -> Write:
    """How to log that a question to the brokers failed: if none answers, the consumer logs that."""
    write: Write = log.debug if error.code() in UNAVAILABLE else log.warning
    return write
