"""The consumer group's lag, as the broker gives it: librdkafka's own figures do not change while it is paused."""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.kafka.config import Config, make
from consumer.kafka.librdkafka_log import QUIET, level_of
from consumer.repeated import Repeated

_TIMEOUT_SECONDS = 5.0


class Lag:
    """Measures with its own client, which never joins the group."""

    def __init__(self, config: Config, topic: str, make_consumer: Callable[[Config], Consumer] = Consumer) -> None:
        self._consumer = make(make_consumer, {**config, **QUIET})
        self._topic = topic
        self._repeated = Repeated(time.monotonic)

    def measure(self, partitions: Sequence[int]) -> dict[int, int]:
        """For each partition, the offsets between the committed one and the end. Blocks.

        Partitions are left out if the broker does not answer for them.
        """
        behind = {}
        try:
            asked = [TopicPartition(self._topic, partition) for partition in partitions]
            for committed in self._consumer.committed(asked, timeout=_TIMEOUT_SECONDS):
                low, high = self._consumer.get_watermark_offsets(committed, timeout=_TIMEOUT_SECONDS, cached=False)
                # The old offset stays committed when a topic is created again, and may be past its end.
                behind[committed.partition] = max(0, high - max(low, committed.offset))
        except KafkaException as error:
            fault = error.args[0]
            self._repeated.happened(fault.code(), level_of(fault), "lag measurement failed", error=fault.name())
        return behind

    def partition_count(self) -> int:
        """How many partitions the topic has; 0 if the broker does not answer. Blocks."""
        try:
            topic = self._consumer.list_topics(self._topic, timeout=_TIMEOUT_SECONDS).topics[self._topic]
        except KafkaException:
            return 0
        return len(topic.partitions)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()
