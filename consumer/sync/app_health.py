"""Which apps are served: when their runs last succeeded, and since when they only fail."""

import math
from collections.abc import Callable
from typing import Final

from consumer.sync.after_run import HAND_OVER_SECONDS

SILENT_SECONDS: Final = 10.0
"""An app that has failed for this long, without a success, is failing."""
_REPORT_SECONDS: Final = 60.0


class AppHealth:
    """Times on the monotonic clock, for each app that has run: as many as the sites file has named."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._succeeded_at: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}
        self._reported_at: dict[str, float] = {}

    def succeeded(self, app: str) -> None:
        """A run of the app has succeeded."""
        self._succeeded_at[app] = self._monotonic()
        self._failing_since.pop(app, None)

    def failed(self, app: str) -> None:
        """A run of the app has failed."""
        self._failing_since.setdefault(app, self._monotonic())

    def served(self, app: str) -> float:
        """When a run of the app last succeeded; minus infinity if none has."""
        return self._succeeded_at.get(app, -math.inf)

    def failing_alone(self) -> set[str]:
        """The apps that fail while another one is served."""
        now = self._monotonic()
        recent = max((at for at in self._succeeded_at.values() if at > now - HAND_OVER_SECONDS), default=-math.inf)
        # An answer that was on its way when everything failed does not show that others are served.
        return {
            app
            for app, since in self._failing_since.items()
            if since <= now - SILENT_SECONDS and since + SILENT_SECONDS / 2 <= recent
        }

    def is_report_due(self, app: str, failing_since: float) -> bool:
        """Whether to log that nothing of the app succeeds: once a minute at most. The lag does not show why.

        ``failing_since``: since when one of its mailboxes fails.
        """
        now, served = self._monotonic(), self.served(app)
        if served > failing_since or now - served < SILENT_SECONDS:
            return False
        if now < self._reported_at.get(app, -math.inf) + _REPORT_SECONDS:
            return False
        self._reported_at[app] = now
        return True
