"""Lag is the offsets from the committed one to the end; a topic's id comes from brokers that have such ids."""

from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from structlog.testing import capture_logs

from consumer.kafka.lag import Lag
from consumer.kafka.topic import TopicIdentity
from consumer.sync.partition_lag import PartitionLag


class Broker:
    """Answers with the committed offset of each partition, and with its first and its next offset."""

    committed_at: dict[int, int]
    ends: dict[int, tuple[int, int]]

    def __init__(self, _config: dict[str, Any]) -> None: ...

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition("topic", each.partition, self.committed_at[each.partition]) for each in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float, *, cached: bool) -> tuple[int, int]:
        assert not cached, "librdkafka's own figures do not change while consumption is paused"
        return self.ends[partition.partition]


@pytest.mark.parametrize(
    ("committed", "first", "end", "behind"),
    [
        (7, 0, 7, 0),
        # The last offsets are a transaction's markers. Once they are committed too, the lag is 0.
        (5, 0, 7, 2),
        # Nothing is committed yet. Deleted records do not count.
        (-1001, 3, 7, 4),
        (1, 3, 7, 4),
        # The topic was created again, and the old offset is still committed.
        (9, 0, 2, 0),
    ],
)
def test_lag_is_the_offsets_between_the_committed_one_and_the_end(
    monkeypatch: pytest.MonkeyPatch, committed: int, first: int, end: int, behind: int
) -> None:
    make_consumer: Any = Broker
    monkeypatch.setattr(Broker, "committed_at", {0: committed}, raising=False)
    monkeypatch.setattr(Broker, "ends", {0: (first, end)}, raising=False)
    position = max(0, end - behind)
    known = behind == 0
    assert Lag({}, "topic", make_consumer).measure({0: None}) == {0: PartitionLag(behind, position, None, known)}


class Admin:
    """Describes one topic, or fails."""

    controller = 1
    cluster: str | None = "4L6g3nShT-eMCtK--X86sw"
    answer: Any = "Y1Pop65fQFiEdBX7ihKSjA"

    def __init__(self, _config: dict[str, Any]) -> None: ...

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(controller_id=self.controller, cluster_id=self.cluster, brokers={1: "broker"})

    def describe_topics(self, _topics: Any, request_timeout: float) -> Any:
        def result(_timeout: float) -> Any:
            if isinstance(self.answer, Exception):
                raise self.answer
            return SimpleNamespace(topic_id=self.answer)

        return {"topic": SimpleNamespace(result=result)}


@pytest.mark.parametrize(
    ("controller", "answer", "known"),
    [
        (1, "Y1Pop65fQFiEdBX7ihKSjA", "Y1Pop65fQFiEdBX7ihKSjA"),
        (1, "A" * 22, ""),
        (-1, "never asked", None),
        (0, "never asked", None),
        (1, KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)), None),
        (1, TimeoutError(), None),
    ],
)
def test_a_topic_without_an_id_differs_from_one_whose_id_is_not_known_now(
    monkeypatch: pytest.MonkeyPatch, controller: int, answer: Any, known: str | None
) -> None:
    make_admin: Any = Admin
    monkeypatch.setattr(Admin, "controller", controller)
    monkeypatch.setattr(Admin, "answer", answer)
    assert TopicIdentity({}, "topic", make_admin=make_admin).ask() == known


@pytest.mark.parametrize(("cluster", "known"), [("mockCluster157fce86d0f8", ""), (None, None)])
def test_a_cluster_without_a_controller_now_differs_from_one_that_never_has_one(
    monkeypatch: pytest.MonkeyPatch, cluster: str | None, known: str | None
) -> None:
    make_admin: Any = Admin
    monkeypatch.setattr(Admin, "controller", 0)
    monkeypatch.setattr(Admin, "cluster", cluster)
    assert TopicIdentity({}, "topic", make_admin=make_admin).ask() == known


def test_the_embedded_broker_has_no_topic_ids(broker: str) -> None:
    assert TopicIdentity({"bootstrap.servers": broker}, "core.job-changed").ask() == ""


class Unavailable(Broker):
    """Knows partition 0, and answers for no other."""

    committed_at = {0: 5, 1: 5}  # noqa: RUF012
    ends = {0: (0, 7)}  # noqa: RUF012

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float, *, cached: bool) -> tuple[int, int]:
        if partition.partition not in self.ends:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return super().get_watermark_offsets(partition, timeout, cached=cached)

    def list_topics(self, topic: str, timeout: float) -> Any:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))


def test_a_partition_whose_broker_does_not_answer_has_no_lag_rather_than_a_wrong_one() -> None:
    make_consumer: Any = Unavailable
    with capture_logs() as logs:
        assert Lag({}, "topic", make_consumer).measure({1: None, 0: None}) == {0: PartitionLag(2, 5, None, False)}
    assert [(line["event"], line["error"]) for line in logs] == [("lag measurement failed", "_TIMED_OUT")]


def test_while_the_broker_does_not_answer_the_last_measurement_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    make_consumer: Any = Unavailable
    lag = Lag({}, "topic", make_consumer)
    assert lag.measure({0: 1000.0}) == {0: PartitionLag(2, 5, 1000.0)}
    monkeypatch.setattr(Unavailable, "ends", {})
    assert lag.measure({0: 1000.0}) == {0: PartitionLag(2, 5, 1000.0)}
    assert lag.measure({}) == {}, "it was revoked"
    assert lag.measure({0: None}) == {}


def test_a_partition_whose_committed_offset_is_refused_is_not_taken_for_one_without_commits() -> None:
    class Refused(Broker):
        committed_at = {0: -1001}  # noqa: RUF012
        ends = {0: (0, 7)}  # noqa: RUF012

        def committed(self, partitions: list[TopicPartition], timeout: float) -> list[Any]:
            return [SimpleNamespace(partition=0, offset=-1001, error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))]

    make_consumer: Any = Refused
    assert Lag({}, "topic", make_consumer).measure({0: None}) == {}


class Unread(Broker):
    """Has one record at each offset of partition 0, written 100 s after the one before it."""

    committed_at = {0: 5}  # noqa: RUF012
    ends = {0: (0, 7)}  # noqa: RUF012
    fetched: ClassVar[list[int]] = []

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.fetched.append(partitions[0].offset)

    def unassign(self) -> None: ...

    def poll(self, timeout: float) -> Any:
        return SimpleNamespace(error=lambda: None, timestamp=lambda: (1, self.fetched[-1] * 100_000))


def test_a_record_that_nobody_reads_has_an_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading is paused or blocked, or its new owner has not begun."""
    make_consumer: Any = Unread
    monkeypatch.setattr(Unread, "fetched", [])
    lag = Lag({}, "topic", make_consumer)
    assert lag.measure({0: None}) == {0: PartitionLag(2, 5, None, False)}, "it may be about to be read"
    assert lag.measure({0: None}) == {0: PartitionLag(2, 5, 500.0)}
    assert lag.measure({0: None}) == {0: PartitionLag(2, 5, 500.0)}
    assert Unread.fetched == [5], "its time is known"
    monkeypatch.setattr(Unread, "committed_at", {0: 6})
    assert lag.measure({0: None}) == {0: PartitionLag(1, 6)}, "the offset moves"
    assert lag.measure({0: 650.0}) == {0: PartitionLag(1, 6, 650.0)}, "it was read"
    monkeypatch.setattr(Unread, "committed_at", {0: 7})
    assert lag.measure({0: None}) == {0: PartitionLag(0, 7)}


def test_the_age_of_a_record_that_nobody_reads_comes_from_the_broker(broker: str) -> None:
    topic = f"unread-{uuid4().hex}"
    producer = Producer({"bootstrap.servers": broker})
    producer.produce(topic, b"x", partition=0, timestamp=1_790_000_000_000)
    assert producer.flush(10) == 0
    lag = Lag({"bootstrap.servers": broker, "group.id": topic, "fetch.wait.max.ms": 10}, topic)
    try:
        lag.measure({0: None})
        assert lag.measure({0: None}) == {0: PartitionLag(1, 0, 1_790_000_000.0)}
    finally:
        lag.close()


def test_the_number_of_partitions_is_unknown_while_the_broker_does_not_answer() -> None:
    make_consumer: Any = Unavailable
    assert Lag({}, "topic", make_consumer).partition_count() is None


def test_a_topic_that_does_not_exist_has_no_partitions_and_the_broker_answers(broker: str) -> None:
    lag = Lag({"bootstrap.servers": broker, "group.id": "counting", "allow.auto.create.topics": False}, "no-such-topic")
    try:
        assert lag.partition_count() == 0
    finally:
        lag.close()


def test_the_number_of_partitions_is_the_brokers(broker: str) -> None:
    topic = f"counted-{uuid4().hex}"
    producer = Producer({"bootstrap.servers": broker})
    producer.produce(topic, b"x")
    assert producer.flush(10) == 0
    lag = Lag({"bootstrap.servers": broker, "group.id": "counting"}, topic)
    try:
        assert lag.partition_count()
    finally:
        lag.close()


def test_a_broker_that_takes_all_the_time_for_its_first_answer_is_not_asked_for_the_id() -> None:
    now = [0.0]

    class Slow(Admin):
        def list_topics(self, topic: str, timeout: float) -> Any:
            now[0] += timeout
            return super().list_topics(topic, timeout)

        def describe_topics(self, _topics: Any, request_timeout: float) -> Any:
            raise AssertionError("librdkafka refuses a timeout of 0")

    make_admin: Any = Slow
    assert TopicIdentity({}, "topic", make_admin=make_admin, monotonic=lambda: now[0]).ask(2.0) is None
