"""How a topic is set up."""

from typing import Final

from confluent_kafka import KafkaException

# (What its admin module imports, its type information does not export.)
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from consumer.kafka.config import Config

_TIMEOUT_SECONDS: Final = 10.0


def cleanup_policy(config: Config, topic: str) -> str | None:
    """The topic's ``cleanup.policy``; ``None`` if the broker does not tell: it asks for the right to. Blocks."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient(config)  # held while it answers
    [described] = admin.describe_configs([resource], request_timeout=_TIMEOUT_SECONDS).values()
    try:
        return str(described.result(_TIMEOUT_SECONDS)["cleanup.policy"].value)
    except (KafkaException, KeyError, TimeoutError):
        return None
