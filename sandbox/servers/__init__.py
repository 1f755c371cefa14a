"""The servers that the service stands on, started here for development and for tests.

Embedded (from Python packages alone): `embedded.embedded_broker`, `embedded.embedded_valkey`.
The real ones: `kafka.Kafka`, `redis.RedisServer`, `postgres.Postgres`, `connect.Connect` (with Debezium) and
`apicurio.Apicurio`, a schema registry; `sandbox.chain` puts them together. Each listens on a free loopback port,
keeps its log in a file and ends with the process that started it, however that process ends.
"""
