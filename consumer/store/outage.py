"""Redis unavailable: logged for the whole process, from the one place that every part's commands pass."""

from collections.abc import Callable
from typing import Final

import structlog

from consumer.repeated import Repeated

log = structlog.get_logger(__name__)

_HINT: Final = "consumption, runs and sweeps wait for it; nothing is lost"


class Outage:
    """Logs once a minute that Redis is unavailable, and once that it answers again.

    A server that refuses writes still answers reads, so only an accepted write ends such an outage.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._repeated = Repeated(monotonic)
        self._refuses_writes = False

    def failed(self, reason: str, *, refused: bool) -> None:
        """A round trip failed, or a part of it; ``refused`` if the server answered that it takes no writes."""
        self._refuses_writes = self._refuses_writes or refused
        self._repeated.happened("redis", log.error, "Redis is unavailable", reason=reason, hint=_HINT)

    def answered(self, *, wrote: bool) -> None:
        """Every command of a round trip was carried out; ``wrote`` if that proves that the server takes writes."""
        if self._refuses_writes and not wrote:
            return
        self._refuses_writes = False
        self._repeated.ended("redis", log.info, "Redis answers again")
