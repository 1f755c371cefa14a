"""Debezium's heartbeats, which show that the feed works even if no job changes."""

import time
from threading import Lock
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from consumer.kafka.config import Config, make
from consumer.kafka.librdkafka_log import QUIET, level_of
from consumer.repeated import Repeated

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS: Final = 5.0


class Heartbeats:
    """Reads the end of the heartbeat topic, without a group, so that every replica reads every heartbeat."""

    def __init__(self, config: Config, topic: str) -> None:
        self._consumer = make(Consumer, {**config, **QUIET})
        self._topic = topic
        self._repeated = Repeated(time.monotonic)
        self._assigned = False
        self._missing = False
        self._newest = 0.0
        self._lock = Lock()

    def newest(self) -> float | None:
        """Unix time of the newest heartbeat; ``None`` if there was none yet. Blocks."""
        try:
            with self._lock:
                return self._read()
        except KafkaException as error:
            fault = error.args[0]
            self._repeated.happened(
                fault.code(), level_of(fault), "reading heartbeats failed", topic=self._topic, error=fault.name()
            )
            return self._newest or None

    def close(self) -> None:
        """Close the client, after a read that is under way."""
        with self._lock:
            self._consumer.close()

    def _read(self) -> float | None:
        if not self._assigned:
            self._assign()
        for message in self._consumer.consume(100, 0.1):
            if message.error() is None:
                self._newest = max(self._newest, _time_of(message))
        return self._newest or None

    def _assign(self) -> None:
        """Assign each partition from its last record on."""
        found = self._consumer.list_topics(self._topic, timeout=_TIMEOUT_SECONDS).topics[self._topic]
        if found.error is not None:
            if not self._missing:
                log.warning(
                    "heartbeat topic missing",
                    topic=self._topic,
                    error=found.error.name(),
                    hint="create the topic and set heartbeat.interval.ms in Core's connector, or check "
                    "CALSYNC_KAFKA_HEARTBEAT_TOPIC",
                )
            self._missing = True
            return
        last = []
        for partition in found.partitions:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=_TIMEOUT_SECONDS
            )
            last.append(TopicPartition(self._topic, partition, max(low, high - 1)))
        self._consumer.assign(last)
        self._assigned = True


def _time_of(message: Message) -> float:
    """Unix time of a heartbeat: that of its record, so that no schema is needed."""
    return (message.timestamp()[1] or 0) / 1000
