"""Records that cannot be finished now, and what they wait for."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from consumer.kafka.record import Record

log = structlog.get_logger(__name__)

Cause = Literal["dead_letter", "schema", "store"]
"""What a record waits for: its dead letter on the topic, its schema from the registry, or its mark in Redis."""
LOG_SECONDS: Final = 60.0
"""How often a failure is logged while it lasts."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next try: each time twice as long, within these limits, in seconds."""

    first: float = 1.0
    longest: float = 10.0

    def after(self, failures: int) -> float:
        """The seconds to wait after this many failures, at least one. Pure."""
        return float(min(self.longest, self.first * 2.0 ** min(failures - 1, 10)))


class Wait:
    """One record that cannot be finished now. The records after it in its partition wait too."""

    def __init__(self, record: Record, monotonic: Callable[[], float], backoff: Backoff) -> None:
        self.record = record
        self.since = monotonic()
        """On the monotonic clock."""
        self.cause: Cause | None = None
        """``None`` until something has failed."""
        self.reason = ""
        self._monotonic = monotonic
        self._backoff = backoff
        self._failures = 0
        self._logged_at = float("-inf")

    def failed(self, cause: Cause, reason: str, hint: str | None) -> float:
        """Note a failed try, and log it once a minute. Returns the seconds to wait before the next try."""
        if cause != self.cause:
            self._failures = 0
        self.cause, self.reason = cause, reason
        self._failures += 1
        now = self._monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            log.error(
                "partition waits",
                partition=self.record.partition,
                offset=self.record.offset,
                waits_for=cause,
                seconds=round(now - self.since),
                reason=reason,
                hint=hint,
            )
        return self._backoff.after(self._failures)


class Waits:
    """The waits of all assigned partitions: one for each record of the intake or refused request that waits.

    Each is a record that is not done, so back-pressure bounds them.
    """

    def __init__(
        self,
        on_change: Callable[[frozenset[int]], None],
        monotonic: Callable[[], float],
        backoff: Backoff = Backoff(),
    ) -> None:
        """``on_change`` gets the partitions that wait whenever they change."""
        self._waits: dict[int, Wait] = {}
        self._on_change = on_change
        self._monotonic = monotonic
        self._backoff = backoff
        self._count: Counter[int] = Counter()
        """How many records wait in each partition. Holds only partitions in which one does."""

    @contextmanager
    def of(self, record: Record) -> Iterator[Wait]:
        """A wait of this record that lasts as long as the context."""
        wait = Wait(record, self._monotonic, self._backoff)
        self._waits[id(wait)] = wait
        self._add(record.partition, 1)
        try:
            yield wait
        finally:
            del self._waits[id(wait)]
            self._add(record.partition, -1)

    def now(self) -> list[Wait]:
        """The waits in partitions that are still assigned."""
        return [wait for wait in self._waits.values() if wait.record.epoch.live]

    def _add(self, partition: int, number: int) -> None:
        before = self._count[partition]
        self._count[partition] += number
        if not self._count[partition]:
            del self._count[partition]
        if not before or partition not in self._count:
            self._on_change(frozenset(self._count))
