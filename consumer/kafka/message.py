"""From confluent-kafka's messages to records."""

from confluent_kafka import Message

from consumer.kafka.headers import headers_of
from consumer.kafka.record import Epoch, Record


def place_of(message: Message) -> tuple[int, int]:
    """The partition and offset of a message. Raises ``ValueError`` for one that was not consumed: it has neither."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise ValueError("the message was not consumed")
    return partition, offset


def record_of(message: Message, topic: str, epoch: Epoch) -> Record:
    """A message without an error as a record. Call it once for a message; see :func:`headers_of`."""
    partition, offset = place_of(message)
    timestamp = message.timestamp()[1] / 1000
    return Record(
        topic,
        partition,
        offset,
        _bytes(message.key()),
        _bytes(message.value()),
        headers_of(message),
        timestamp,
        epoch,
    )


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
