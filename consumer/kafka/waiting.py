"""Which records cannot be finished now, what they wait for, and what to do about it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog

from consumer.kafka.record import Record

log = structlog.get_logger(__name__)

Cause = Literal["dead_letter", "schema", "store"]
"""What a record waits for: its dead letter to be written, its schema to be read, or its mark in Redis."""
LOG_SECONDS: Final = 60.0
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 10.0


@dataclass(slots=True)
class Wait:
    """One record that cannot be finished now. What comes behind it in its partition waits too."""

    record: Record
    since: float = field(default_factory=time.monotonic)
    """On the monotonic clock."""
    cause: Cause | None = None
    """``None`` until something has failed."""
    reason: str = ""
    failures: int = 0
    _logged_at: float | None = None

    def failed(self, cause: Cause, reason: str, hint: str | None) -> float:
        """Note a failed try, and log it once a minute; returns the seconds until the next try (1 to 10)."""
        if cause != self.cause:
            self.failures = 0
        self.cause, self.reason = cause, reason
        self.failures += 1
        now = time.monotonic()
        if self._logged_at is None or now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            log.error(
                "a partition waits; the others go on",
                partition=self.record.partition,
                offset=self.record.offset,
                waits_for=cause,
                seconds=round(now - self.since),
                reason=reason,
                hint=hint,
            )
        return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self.failures - 1, 10)))


class Waits:
    """The waits of all partitions held: at most one of the intake's for each, and one for each refused request."""

    def __init__(self, on_change: Callable[[frozenset[int]], None]) -> None:
        """``on_change`` gets the partitions that wait whenever they change."""
        self._waits: dict[int, Wait] = {}
        self._on_change = on_change
        self._count: Counter[int] = Counter()
        """Of each partition that waits: how many records."""

    @contextmanager
    def of(self, record: Record) -> Iterator[Wait]:
        """A wait that lasts as long as the context."""
        wait = Wait(record)
        self._waits[id(wait)] = wait
        self._add(record.partition, 1)
        try:
            yield wait
        finally:
            del self._waits[id(wait)]
            self._add(record.partition, -1)

    def now(self) -> list[Wait]:
        """What waits now, in partitions that are still held."""
        return [wait for wait in self._waits.values() if wait.record.epoch.live]

    def _add(self, partition: int, number: int) -> None:
        before = self._count[partition]
        self._count[partition] += number
        if not self._count[partition]:
            del self._count[partition]
        if not before or partition not in self._count:
            self._on_change(frozenset(self._count))
