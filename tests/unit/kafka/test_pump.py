"""The pump's thread: its commits, with a consumer that reports their failure later, as a broker does; and its end."""

import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.kafka.pump import Pump
from consumer.kafka.record import Record


class Message:
    """The only record there is."""

    def error(self) -> None: ...

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000

    def key(self) -> bytes:
        return b"J1"

    def value(self) -> bytes:
        return b"..."

    def headers(self) -> None: ...


class Consumer:
    """One partition with one record. The first commit after it fails after it was accepted."""

    commits: list[int]

    def __init__(self, config: dict[str, Any]) -> None:
        self._on_commit = config["on_commit"]
        self._stored: list[TopicPartition] = []
        self._served: list[Any] = []
        self.commits = Consumer.commits = []

    def subscribe(self, _topics: list[str], *, on_assign: Any, **_: Any) -> None:
        self._served = [lambda: on_assign(self, [TopicPartition("topic", 0)]), Message]

    def poll(self, timeout: float) -> Message | None:
        if not self._served:
            return None
        served = self._served.pop(0)()
        return served if isinstance(served, Message) else None

    def consume(self, _number: int, _timeout: float) -> list[Message]:
        return []

    def store_offsets(self, *, offsets: list[TopicPartition]) -> None:
        self._stored = offsets

    def commit(self, *, asynchronous: bool) -> None:
        self.commits.append(self._stored[0].offset)
        error = KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE) if self.commits.count(8) == 1 else None
        self._served.append(lambda: self._on_commit(error, self._stored))

    def committed(self, _partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return []

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class Clock:
    """A second passes between any two looks at it, so that each step commits."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        self.now += 1
        return self.now


async def test_a_commit_that_the_broker_refuses_later_is_made_again() -> None:
    make_consumer: Any = Consumer
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[Record] = loop.create_future()
    ended: asyncio.Future[str | None] = loop.create_future()
    running = Pump(
        {},
        "topic",
        loop,
        lambda records: taken.set_result(records[0]),
        ended.set_result,
        lambda _records: None,
        on_pressure=lambda: None,
        identify=lambda _seconds: "",
        monotonic=Clock().monotonic,
        make_consumer=make_consumer,
    )
    running.start()
    running.done(await taken)
    async with asyncio.timeout(5):
        while Consumer.commits.count(8) < 2:  # noqa: ASYNC110 (another thread makes them)
            await asyncio.sleep(0.001)
    assert await asyncio.to_thread(running.stop, 5)
    assert await ended is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KafkaException(KafkaError(KafkaError._FATAL, "fenced")), "fenced"),
        (ZeroDivisionError(), "ZeroDivisionError in the Kafka thread"),
    ],
)
async def test_an_error_ends_the_thread_with_a_reason_and_closes_the_consumer(error: Exception, reason: str) -> None:
    closed: list[None] = []

    class Broken(Consumer):
        def poll(self, timeout: float) -> Message | None:
            raise error

        def close(self) -> None:
            closed.append(None)

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str | None] = loop.create_future()
    make_consumer: Any = Broken
    running = Pump(
        {},
        "topic",
        loop,
        lambda _records: None,
        ended.set_result,
        lambda _records: None,
        on_pressure=lambda: None,
        identify=lambda _seconds: "",
        monotonic=time.monotonic,
        make_consumer=make_consumer,
    )
    running.start()
    assert reason in str(await ended)
    assert closed == [None]
    assert await asyncio.to_thread(running.stop, 5)
