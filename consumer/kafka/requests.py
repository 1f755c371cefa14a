"""What other threads ask of the Kafka thread, and what it calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event

from consumer.kafka.record import Record


@dataclass(slots=True)
class Requests:
    """Written by any thread, read by the Kafka thread in its next step. A mapping or set is only ever replaced."""

    receipts: SimpleQueue[tuple[Record, int | None]] = field(default_factory=SimpleQueue)
    """Each record that is done, with the offset of the record that covers it. Holds at most one entry for each record
    read and not done, so back-pressure bounds it."""
    blocked: Mapping[int, int | None] = field(default_factory=dict)
    """The partitions to stop reading, at most all of the topic's. Each has the offset at which the block begins;
    ``None`` for the present position."""
    waiting: frozenset[int] = frozenset()
    """The partitions with a record that cannot be finished now: at most all of the topic's."""
    topic_id: str | None = None
    """The topic's id as it was last read; ``None`` if it is not known now."""
    answered_at: float = float("-inf")
    """When the brokers last gave it, on the monotonic clock."""
    draining: Event = field(default_factory=Event)
    """Set: read no more records, but stay in the group and commit."""
    stopping: Event = field(default_factory=Event)
    """Set: commit and leave the group."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the group loop calls, in its own thread."""

    deliver: Callable[[Sequence[Record]], object]
    """Takes the records of one poll: at most 501."""
    on_overrun: Callable[[int], object]
    """The broker has deleted records that were not consumed."""
    on_pressure: Callable[[], object]
    """The high-water mark is nearly reached: called at most once a second."""
    identify: Callable[[float], str | None]
    """Gets how many seconds it may block, and returns the topic's id, as
    :meth:`consumer.kafka.topic.TopicIdentity.ask`."""
