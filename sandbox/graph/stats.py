"""The sandbox's counters, its log and its recording."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.graph.recording import Recording


class LogLine(NamedTuple):
    """One request. `time` is in epoch seconds. `batched` is true for a request inside a batch."""

    time: float
    method: str
    path: str
    mailbox: str | None
    operation: str
    status: int
    batched: bool


@dataclass(slots=True)
class Stats:
    """Counts since the start or the last reset."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)
    duplicates: list[dict[str, str]] = field(default_factory=list)
    invitations: int = 0
    log: deque[LogLine] = field(default_factory=lambda: deque(maxlen=1000))
    recording: Recording = field(default_factory=Recording)

    def note(self, line: LogLine) -> None:
        self.requests[line.operation, line.status] += 1
        self.log.append(line)

    def resize_log(self, size: int) -> None:
        if self.log.maxlen != size:
            self.log = deque(self.log, maxlen=size)

    def reset(self) -> None:
        self.requests.clear()
        self.batches.clear()
        self.duplicates.clear()
        self.invitations = 0
        self.log.clear()
