"""Hints for operators: what to do about Kafka's errors."""

from typing import Final

from confluent_kafka import KafkaError

_NO_TOPIC: Final = "the topic does not exist: create it, or check CALSYNC_KAFKA_TOPIC and CALSYNC_KAFKA_DLQ_TOPIC"
_HINTS: Final = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: _NO_TOPIC,
    KafkaError._UNKNOWN_TOPIC: _NO_TOPIC,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant the service's user READ and DESCRIBE on the topic, "
    "and WRITE on the dead-letter topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "grant the service's user READ on the group CALSYNC_KAFKA_GROUP",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant the service's user IDEMPOTENT_WRITE on the cluster",
    KafkaError._AUTHENTICATION: "the broker refuses the login: check sasl.* in CALSYNC_KAFKA_CONFIG_FILE",
    KafkaError.SASL_AUTHENTICATION_FAILED: "the broker refuses the login: check sasl.* in CALSYNC_KAFKA_CONFIG_FILE",
    KafkaError._SSL: "no TLS with the broker: check security.protocol and ssl.* in CALSYNC_KAFKA_CONFIG_FILE",
    KafkaError._ALL_BROKERS_DOWN: "no broker answers: check CALSYNC_KAFKA_BOOTSTRAP_SERVERS, and security.protocol",
    KafkaError._RESOLVE: "no such host: check CALSYNC_KAFKA_BOOTSTRAP_SERVERS",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise max.message.bytes of the dead-letter topic to that of the topic",
}


def hint_of(error: KafkaError) -> str | None:
    """What an operator must do; ``None`` for errors that heal by themselves."""
    return _HINTS.get(error.code())
