"""A real Apache Kafka from Maven Central's jars: one node, KRaft, no container."""

from sandbox.servers.kafka.broker import Kafka

__all__ = ["Kafka"]
