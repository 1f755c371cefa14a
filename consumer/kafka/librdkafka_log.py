"""librdkafka's own lines, through our log: every client is given one, or they would go to stderr as they are."""

from typing import Any

import structlog

log = structlog.get_logger(__name__)


class LibrdkafkaLog:
    """A logger as the standard library has it, which is all that confluent-kafka asks for."""

    def log(self, level: int, message: str, *args: Any) -> None:
        """Errors that matter come by callbacks too; these lines help when looking closer."""
        log.debug("librdkafka", level=level, line=message % args if args else message)
