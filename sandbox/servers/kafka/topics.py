"""Creates the topics of `schemas/core/topics.json` on a Kafka of one node."""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_REQUEST_SECONDS = 30.0


def create_topics(bootstrap_servers: str, document: Mapping[str, Any]) -> list[str]:
    """Creates the topics that do not exist yet, and returns their names.

    Each gets one replica, because there is one node. Existing topics stay as they are. Raises KafkaException.
    """
    wanted = [
        NewTopic(
            name,
            num_partitions=topic["partitions"],
            replication_factor=1,
            config={**topic["config"], "min.insync.replicas": "1"},
        )
        for name, topic in document.items()
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    created: list[str] = []
    for name, future in admin.create_topics(wanted, operation_timeout=_REQUEST_SECONDS).items():
        try:
            future.result(_REQUEST_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            created.append(name)
    return created
