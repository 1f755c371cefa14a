"""Sends the feed's records to a topic."""

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sandbox.core.feed import Record


class FeedProducer:
    """A Kafka producer for one topic. It counts the delivered records and reports every error.

    Records of one key stay in order. The partition is chosen from the key as the Java clients do, because Kafka Connect
    uses them.
    """

    def __init__(self, bootstrap_servers: str, topic: str, config: Mapping[str, str | int] | None = None) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1,
                "queue.buffering.max.messages": 100_000,
                **(config or {}),
            }
        )
        self._error: KafkaError | None = None
        self.sent = 0
        self.delivered = 0
        """The number of records that the broker has confirmed. It grows while `send`, `poll` or `flush` runs."""

    def send(self, records: Iterable[Record]) -> None:
        """Queues records, and waits while the queue is full. Raises KafkaException if an earlier record was refused."""
        for record in records:
            while True:
                try:
                    self._producer.produce(
                        self._topic,
                        key=record.key,
                        value=record.value,
                        headers=list(record.headers),
                        on_delivery=self._delivered,
                    )
                except BufferError:
                    self._producer.poll(0.1)
                else:
                    break
            self.sent += 1
        self._producer.poll(0)
        self._check()

    def flush(self, timeout: float = 30.0) -> None:
        """Waits until every record has arrived.

        Raises KafkaException if a record was refused, and TimeoutError if some have not arrived after `timeout`
        seconds.
        """
        left = self._producer.flush(timeout)
        self._check()
        if left:
            raise TimeoutError(f"{left} records for {self._topic} have not arrived after {timeout:g} s")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.delivered += 1
        else:
            self._error = self._error or error

    def _check(self) -> None:
        if self._error is not None:
            raise KafkaException(self._error)
