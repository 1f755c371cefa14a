"""Starts the servers that the service needs, for development and for tests.

Embedded servers need only Python packages: `embedded.embedded_broker`, `embedded.embedded_valkey`.
Real servers: `kafka.Kafka`, `redis.RedisServer`, `postgres.Postgres`, `connect.Connect` (with Debezium) and
`apicurio.Apicurio` (a schema registry). `sandbox.chain` connects them. `prometheus.Prometheus` and
`alertmanager.Alertmanager` watch the service. Each server listens on a free loopback port,
keeps its log in a file, and ends with the process that started it, even if that process is killed.
"""
