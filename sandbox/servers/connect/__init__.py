"""Kafka Connect with Debezium's PostgreSQL connector and Apicurio's Avro converter."""

from sandbox.servers.connect.worker import Connect

__all__ = ["Connect"]
