"""Redis unavailable: logged for the whole process, from the one place that every part's commands pass."""

from collections.abc import Callable
from typing import Final

import structlog

from consumer.repeated import Repeated

log = structlog.get_logger(__name__)

_HINT: Final = "consumption, runs and sweeps wait for it; nothing is lost"


class Outage:
    """Logs once a minute that Redis is unavailable, and once that it answers again."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._repeated = Repeated(monotonic)

    def failed(self, reason: str) -> None:
        """A round trip failed, or a part of it."""
        self._repeated.happened("redis", log.error, "Redis is unavailable", reason=reason, hint=_HINT)

    def answered(self) -> None:
        """Every command of a round trip was carried out."""
        self._repeated.ended("redis", log.info, "Redis answers again")
