"""Overruns: records that the broker deleted before they were consumed. librdkafka does not report them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

log = structlog.get_logger(__name__)

_STEP_SECONDS: Final = 1.0
"""How long one step may block. After it, the group loop polls again."""
_REST_SECONDS: Final = 3.0
"""The least time between two steps that ask the broker."""
_BROKER_WAIT_SECONDS: Final = 30.0
"""How long a broker is asked about a partition. After that, the unanswered question is logged and dropped."""


@dataclass(slots=True)
class _Question:
    """What is known so far about a partition that was assigned."""

    until: float
    """When the question is dropped, on the monotonic clock."""
    committed: int | None = None
    """The offset that the group had committed when the partition was assigned; ``None`` while it is not known."""
    first: int | None = None
    """The first offset that was read."""


class Overruns:
    """Asks the broker, once after each assignment of a partition, whether it still has the committed offset.

    Used by the Kafka thread alone. If the broker does not answer, nothing is concluded.
    """

    def __init__(self, topic: str, on_overrun: Callable[[], object], monotonic: Callable[[], float]) -> None:
        """``on_overrun`` is called for each partition with records that were deleted before they were consumed."""
        self._topic = topic
        self._on_overrun = on_overrun
        self._monotonic = monotonic
        self._questions: dict[int, _Question] = {}
        """At most one for each assigned partition."""
        self._next_at = 0.0

    @property
    def unsettled(self) -> set[int]:
        """Partitions that must not be committed yet: a commit would replace the offset that is still to be compared."""
        return {partition for partition, question in self._questions.items() if question.committed is None}

    def assigned(self, partitions: Iterable[int]) -> None:
        """These partitions are assigned now: begin to ask about them."""
        until = self._monotonic() + _BROKER_WAIT_SECONDS
        self._questions |= {partition: _Question(until) for partition in partitions}

    def dropped(self, partition: int) -> None:
        """The partition is not assigned any more."""
        self._questions.pop(partition, None)

    def read(self, partition: int, offset: int) -> None:
        """A record was read from the partition."""
        question = self._questions.get(partition)
        if question is not None and question.first is None:
            question.first = offset

    def step(self, consumer: Consumer) -> None:
        """Ask the open questions if that is due. Blocks for about a second at most."""
        now = self._monotonic()
        if not self._questions or now < self._next_at:
            return
        if unanswered := sorted(partition for partition, question in self._questions.items() if question.until < now):
            for partition in unanswered:
                del self._questions[partition]
            log.warning("check for deleted records dropped: the broker does not answer", partitions=unanswered)
        self.ask(consumer, _STEP_SECONDS)

    def ask(self, consumer: Consumer, seconds: float) -> None:
        """Ask the open questions. Blocks for ``seconds`` at most."""
        deadline = self._monotonic() + seconds
        try:
            self._ask_committed(consumer, seconds)
            for partition in list(self._questions):
                left = deadline - self._monotonic()
                if left <= 0:
                    break
                self._ask_low(consumer, partition, left)
        except KafkaException as error:
            log.info("check for deleted records postponed", error=error.args[0].name())
        self._next_at = self._monotonic() + _REST_SECONDS

    def _ask_committed(self, consumer: Consumer, seconds: float) -> None:
        asked = sorted(self.unsettled)
        if not asked or seconds <= 0:
            return
        answer = consumer.committed([TopicPartition(self._topic, partition) for partition in asked], timeout=seconds)
        found = {committed.partition: committed for committed in answer}
        for partition in asked:
            committed = found.get(partition)
            if committed is None or (committed.error is None and committed.offset < 0):
                del self._questions[partition]  # without a committed offset, there is nothing to compare
            elif committed.error is None:
                self._questions[partition].committed = committed.offset

    def _ask_low(self, consumer: Consumer, partition: int, seconds: float) -> None:
        question = self._questions.pop(partition)
        if question.committed is None:
            self._questions[partition] = question
            return
        try:
            low, _ = consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=seconds, cached=False
            )
        except KafkaException:
            self._questions[partition] = question  # now the last: perhaps only the broker of this one does not answer
            raise
        # Records that were deleted after they were read are not lost.
        low = low if question.first is None else min(low, question.first)
        if question.committed < low:
            log.error(
                "unread records were deleted by the broker",
                partition=partition,
                records=low - question.committed,
                hint="raise the topic's retention; the next sweep repairs what these records would have changed",
            )
            self._on_overrun()
