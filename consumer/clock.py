"""Real time."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The clock port on this machine's clocks."""

    def now(self) -> datetime:
        """See the port."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See the port."""
        return time.monotonic()
