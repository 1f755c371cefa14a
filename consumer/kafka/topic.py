"""A topic's id and its cleanup policy."""

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from consumer.kafka.config import Config, make
from consumer.kafka.librdkafka_log import QUIET

_TIMEOUT_SECONDS: Final = 10.0
_IDENTITY_SECONDS: Final = 10.0
_SHORTEST_SECONDS: Final = 0.05
"""librdkafka refuses a timeout below a millisecond."""
_NO_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""Sixteen zero bytes in base64: the answer of a broker without topic ids."""
_NEVER_A_CONTROLLER: Final = "mockCluster"
"""The beginning of the id of librdkafka's mock cluster (rdkafka_mock.c). It has no topic ids."""


class TopicIdentity:
    """Asks for a topic's id. A topic that was deleted and created again has another one (KIP-516)."""

    def __init__(
        self,
        config: Config,
        topic: str,
        *,
        make_admin: Callable[[Config], AdminClient] = AdminClient,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admin = make(make_admin, {**config, **QUIET})
        self._topic = topic
        self._monotonic = monotonic

    def ask(self, seconds: float = _IDENTITY_SECONDS) -> str | None:
        """The topic's id; empty if the broker has no such ids; ``None`` if the broker does not answer in this time.

        Blocks for at most about ``seconds``.
        """
        deadline = self._monotonic() + seconds
        try:
            cluster = self._admin.list_topics(self._topic, timeout=seconds)
            if cluster.controller_id not in cluster.brokers:
                # librdkafka asks the controller, and would wait for one. A cluster may be without one for a moment.
                return "" if str(cluster.cluster_id).startswith(_NEVER_A_CONTROLLER) else None
            left = deadline - self._monotonic()
            if left < _SHORTEST_SECONDS:
                return None
            described = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=left)
            topic_id = str(described[self._topic].result(left).topic_id)
        except (KafkaException, TimeoutError):
            return None
        return "" if topic_id == _NO_ID else topic_id


def cleanup_policy(config: Config, topic: str) -> str | None:
    """The topic's ``cleanup.policy``; ``None`` if the broker does not give it, or not to this user. Blocks."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = make(AdminClient, {**config, **QUIET})  # must not be collected before it answers
    [described] = admin.describe_configs([resource], request_timeout=_TIMEOUT_SECONDS).values()
    try:
        return str(described.result(_TIMEOUT_SECONDS)["cleanup.policy"].value)
    except (KafkaException, KeyError, TimeoutError):
        return None
