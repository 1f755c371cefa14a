"""The rolling window in which events are kept equal to Core's schedule."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end``, half-open, aware instants."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, now: datetime, days: int) -> "Window":
        """The window as seen at ``now``."""
        return cls(now, now + timedelta(days=days))

    def holds(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Whether a job of these times overlaps the window; one without length when its start is in it."""
        if starts_at == ends_at:
            return self.start <= starts_at < self.end
        return starts_at < self.end and ends_at > self.start
