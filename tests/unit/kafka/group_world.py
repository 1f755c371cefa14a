"""A group loop with a broker and a consumer that do as the test says: each poll is one step of the test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.kafka.backpressure import Limits
from consumer.kafka.group import GroupLoop
from consumer.kafka.record import Record
from consumer.kafka.requests import Handlers, Requests


@dataclass
class Message:
    """A record, or the end of a partition."""

    number: int
    position: int
    size: int = 1
    end: bool = False

    def error(self) -> KafkaError | None:
        return KafkaError(KafkaError._PARTITION_EOF) if self.end else None

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.position

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000 * self.position

    def key(self) -> bytes:
        return b""

    def value(self) -> bytes:
        return bytes(self.size)

    def headers(self) -> None: ...


Step = Callable[["World"], Sequence[Message] | None]


class Clock:
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class World:
    """A broker, a consumer, and everything that the group loop calls."""

    steps: list[Step]
    partitions: tuple[int, ...] = (0,)
    limits: Limits = Limits(records=20)  # noqa: RUF009 (immutable)
    step_seconds: float = 1.0
    """How much time passes with each step. After a second, the loop commits."""
    topic_id: str | None = "first"
    clock: Clock = field(default_factory=Clock)
    requests: Requests = field(default_factory=Requests)
    records: list[Record] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)
    last_commit_errors: list[int] = field(default_factory=list)
    assigned: list[dict[int, int]] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    seeks: list[tuple[int, int]] = field(default_factory=list)
    seek_errors: list[int] = field(default_factory=list)
    pressed: int = 0
    overruns: int = 0

    def __post_init__(self) -> None:
        handlers = Handlers(self.records.extend, self._on_overrun, self._on_pressure, self.identify)
        make_consumer: Any = self.make_consumer
        self.group = GroupLoop(
            {},
            "topic",
            self.requests,
            handlers,
            make_consumer=make_consumer,
            monotonic=self.clock.monotonic,
            limits=self.limits,
        )

    def run(self) -> None:
        """Step until the loop has left the group."""
        while self.group.step():
            self.clock.now += self.step_seconds
        assert self.group.fault is None

    def make_consumer(self, _config: dict[str, Any]) -> "Consumer":
        return Consumer(self)

    def identify(self, _seconds: float) -> str | None:
        return self.topic_id

    def _on_pressure(self) -> None:
        self.pressed += 1

    def _on_overrun(self, _records: int) -> None:
        self.overruns += 1

    def done(self, *offsets: int, partition: int = 0) -> None:
        for record in [each for each in self.records if each.partition == partition and each.offset in offsets]:
            self.requests.receipts.put((record, None))


class Consumer:
    """One membership of the group."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stored: dict[int, int] = {}
        self._left = False
        world.calls.append("join")

    def subscribe(self, _topics: list[str], *, on_assign: Any, on_revoke: Any, **_: Any) -> None:
        self._on_revoke = on_revoke
        on_assign(self, [TopicPartition("topic", number) for number in self._world.partitions])

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._world.assigned.append({each.partition: each.offset for each in partitions})

    def poll(self, _timeout: float) -> Message | None:
        if not self._world.steps:
            self._world.requests.stopping.set()
            return None
        self._buffered = list(self._world.steps.pop(0)(self._world) or [])
        return self._buffered.pop(0) if self._buffered else None

    def consume(self, _number: int, _timeout: float) -> list[Message]:
        return self._buffered

    def store_offsets(self, *, offsets: list[TopicPartition]) -> None:
        self._stored |= {each.partition: each.offset for each in offsets}

    def commit(self, *, asynchronous: bool, offsets: list[TopicPartition] | None = None) -> None:
        world = self._world
        world.calls.append("commit" if asynchronous else "commit and wait")
        if not asynchronous and world.last_commit_errors:
            raise KafkaException(KafkaError(world.last_commit_errors.pop(0)))
        stored = self._stored if offsets is None else {each.partition: each.offset for each in offsets}
        # librdkafka commits only offsets above the committed one, unless the partition was assigned again.
        world.committed |= stored

    def pause(self, partitions: list[TopicPartition]) -> None:
        numbers = {each.partition for each in partitions}
        assert not numbers & self._world.paused, "a second pause discards what was fetched"
        self._world.paused |= numbers

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._world.paused -= {each.partition for each in partitions}

    def seek(self, partition: TopicPartition) -> None:
        if self._world.seek_errors:
            raise KafkaException(KafkaError(self._world.seek_errors.pop(0)))
        self._world.seeks.append((partition.partition, partition.offset))

    def committed(self, _partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return []

    def close(self) -> None:
        self._world.calls.append("close")
        self._on_revoke(self, [TopicPartition("topic", number) for number in self._world.partitions])


def records(*offsets: int, partition: int = 0, size: int = 1) -> Step:
    return lambda _world: [Message(partition, offset, size) for offset in offsets]


def end(offset: int, partition: int = 0) -> Step:
    return lambda _world: [Message(partition, offset, end=True)]


def done(*offsets: int, partition: int = 0) -> Step:
    return lambda world: world.done(*offsets, partition=partition)


def nothing(_world: World) -> None: ...
