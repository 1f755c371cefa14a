"""How far behind we are, asked of the broker: librdkafka's own figures stand still while consumption is paused."""

from collections.abc import Sequence

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.kafka.config import Config, make
from consumer.kafka.librdkafka_log import LibrdkafkaLog

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 5.0


class Lag:
    """A client of its own, which never joins the group."""

    def __init__(self, config: Config, topic: str) -> None:
        self._consumer = make(Consumer, {**config, "logger": LibrdkafkaLog()})
        self._topic = topic

    def measure(self, partitions: Sequence[int]) -> dict[int, int]:
        """Records between the group's committed offset and the end, for each partition; blocks.

        Partitions that the broker tells nothing of are left out.
        """
        behind = {}
        try:
            asked = [TopicPartition(self._topic, partition) for partition in partitions]
            for committed in self._consumer.committed(asked, timeout=_TIMEOUT_SECONDS):
                low, high = self._consumer.get_watermark_offsets(committed, timeout=_TIMEOUT_SECONDS, cached=False)
                # A topic that was created again may end below the offset that is still committed.
                behind[committed.partition] = max(0, high - max(low, committed.offset))
        except KafkaException as error:
            log.warning("lag cannot be measured", error=error.args[0].name())
        return behind

    def partition_count(self) -> int:
        """How many partitions the topic has; 0 while the broker tells nothing of it. Blocks."""
        try:
            topic = self._consumer.list_topics(self._topic, timeout=_TIMEOUT_SECONDS).topics[self._topic]
        except KafkaException:
            return 0
        return len(topic.partitions)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
