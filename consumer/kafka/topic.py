"""How a topic is set up, and which topic of that name it is."""

import time
from typing import Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from consumer.kafka.config import Config, make
from consumer.kafka.librdkafka_log import LibrdkafkaLog

_TIMEOUT_SECONDS: Final = 10.0
_IDENTITY_SECONDS: Final = 10.0
_SHORTEST_SECONDS: Final = 0.05
"""librdkafka refuses a timeout below a millisecond."""
_NO_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""Sixteen zero bytes in base64: what a broker without topic ids answers."""

_NEVER_A_CONTROLLER: Final = "mockCluster"
"""How the id of librdkafka's mock cluster begins (rdkafka_mock.c). It has no topic ids either."""


class TopicIdentity:
    """Asks for a topic's id: one that was deleted and created again has another (KIP-516)."""

    def __init__(self, config: Config, topic: str) -> None:
        self._admin = make(AdminClient, {**config, "logger": LibrdkafkaLog()})
        self._topic = topic

    def ask(self, seconds: float = _IDENTITY_SECONDS) -> str | None:
        """The topic's id; empty if the broker has no such ids; ``None`` if it is not known within these seconds.

        Blocks for about that long at most.
        """
        deadline = time.monotonic() + seconds
        try:
            cluster = self._admin.list_topics(self._topic, timeout=seconds)
            if cluster.controller_id not in cluster.brokers:
                # librdkafka asks the controller, and would wait for one. A cluster may have none for a moment.
                return "" if str(cluster.cluster_id).startswith(_NEVER_A_CONTROLLER) else None
            left = deadline - time.monotonic()
            if left < _SHORTEST_SECONDS:
                return None
            described = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=left)
            topic_id = str(described[self._topic].result(left).topic_id)
        except (KafkaException, TimeoutError):
            return None
        return "" if topic_id == _NO_ID else topic_id


def cleanup_policy(config: Config, topic: str) -> str | None:
    """The topic's ``cleanup.policy``; ``None`` if the broker does not tell: it asks for the right to. Blocks."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient(config)  # held while it answers
    [described] = admin.describe_configs([resource], request_timeout=_TIMEOUT_SECONDS).values()
    try:
        return str(described.result(_TIMEOUT_SECONDS)["cleanup.policy"].value)
    except (KafkaException, KeyError, TimeoutError):
        return None
