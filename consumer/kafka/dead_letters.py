"""Dead letters: records that nobody can carry out, kept whole with the reason, before their offset is committed."""

import asyncio
from typing import Final

import structlog
from confluent_kafka import KafkaException, Producer

from consumer.kafka.config import Config, make
from consumer.kafka.librdkafka_log import LibrdkafkaLog
from consumer.kafka.record import Record

log = structlog.get_logger(__name__)

_DELIVERY_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 5.0
_LARGEST_BYTES: Final = 100_000_000
PREFIX: Final = "calsync."


class DeadLetters:
    """The dead-letter topic."""

    def __init__(self, config: Config, topic: str) -> None:
        self._producer = make(
            Producer,
            {
                **config,
                "logger": LibrdkafkaLog(),
                "acks": "all",
                "enable.idempotence": True,
                "delivery.timeout.ms": int(_DELIVERY_SECONDS * 1000),
                # A record that the topic took shall not be too large for us, with its headers: the broker decides.
                "message.max.bytes": _LARGEST_BYTES,
            },
        )
        self._topic = topic

    async def put(self, record: Record, reason: str) -> None:
        """Keep the record; returns when the broker has it, and not before: until then its partition waits."""
        while True:
            try:
                await asyncio.to_thread(self._put, record, reason)
            except (KafkaException, BufferError) as error:
                log.error("a dead letter could not be written, trying again", topic=self._topic, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                log.warning("record dead-lettered", partition=record.partition, offset=record.offset, reason=reason)
                return

    def _put(self, record: Record, reason: str) -> None:
        failures: list[KafkaException] = []
        attempts = next((value for name, value in record.headers if name == PREFIX + "attempts"), None)
        about = {
            "reason": reason,
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "attempts": str(_number(attempts) + 1),
        }
        headers = [(name, value) for name, value in record.headers if not name.startswith(PREFIX)]
        headers += [(PREFIX + name, value.encode()) for name, value in about.items()]
        self._producer.produce(
            self._topic,
            key=record.key,
            value=record.value,
            headers=headers,
            on_delivery=lambda error, _: failures.append(KafkaException(error)) if error else None,
        )
        self._producer.flush(_DELIVERY_SECONDS + 1)
        if failures:
            raise failures[0]


def _number(header: str | bytes | None) -> int:
    """How often the record was dead-lettered before; whoever wrote the header, it is no reason to fail."""
    try:
        return int(header or 0)
    except ValueError:
        return 0
