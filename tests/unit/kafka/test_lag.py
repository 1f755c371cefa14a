"""Lag is the offsets from the committed one to the end; a topic's id comes from brokers that have such ids."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.testing import capture_logs

from consumer.kafka.lag import Lag
from consumer.kafka.topic import TopicIdentity


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
    assert Lag({}, "topic", make_consumer).measure([0]) == {0: behind}


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
        assert Lag({}, "topic", make_consumer).measure([0, 1]) == {0: 2}
    assert [(line["event"], line["error"]) for line in logs] == [("lag measurement failed", "_TIMED_OUT")]


def test_the_number_of_partitions_is_zero_while_the_broker_does_not_answer() -> None:
    make_consumer: Any = Unavailable
    assert Lag({}, "topic", make_consumer).partition_count() == 0


def test_the_number_of_partitions_is_the_brokers(broker: str) -> None:
    lag = Lag({"bootstrap.servers": broker, "group.id": "counting"}, "core.job-changed")
    try:
        assert lag.partition_count() > 0
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
