"""Overruns: records that the broker deleted before they were consumed. Nothing else reports them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

log = structlog.get_logger(__name__)

_STEP_SECONDS: Final = 1.0
"""How long one step may block: the pump polls again after it."""
_REST_SECONDS: Final = 3.0
"""At least so long passes between two steps."""
_PATIENCE_SECONDS: Final = 30.0
"""How long a broker is asked about a partition. After that nothing is known of it, and that is logged."""


@dataclass(slots=True)
class _Question:
    """One partition that was assigned, and what is known of it so far."""

    until: float
    """When it is given up, on the monotonic clock."""
    committed: int | None = None
    """The offset that the group had committed when the partition was assigned; ``None`` while it is not known."""
    first: int | None = None
    """The first offset that was read."""


class Overruns:
    """Asks, once for each partition that is assigned, whether its committed records are still there.

    Of the pump's thread. Nothing is concluded from a broker that does not answer.
    """

    def __init__(self, topic: str, on_overrun: Callable[[], object]) -> None:
        """``on_overrun`` is called for each partition with records that were deleted before they were consumed."""
        self._topic = topic
        self._on_overrun = on_overrun
        self._questions: dict[int, _Question] = {}
        self._next_at = 0.0

    @property
    def unsettled(self) -> set[int]:
        """Partitions whose committed offset must be kept: it is still to be read, and a commit would replace it."""
        return {partition for partition, question in self._questions.items() if question.committed is None}

    def assigned(self, partitions: Iterable[int]) -> None:
        """These are ours now."""
        until = time.monotonic() + _PATIENCE_SECONDS
        self._questions |= {partition: _Question(until) for partition in partitions}

    def dropped(self, partition: int) -> None:
        """It is not ours any more."""
        self._questions.pop(partition, None)

    def read(self, partition: int, offset: int) -> None:
        """A record came from the partition."""
        question = self._questions.get(partition)
        if question is not None and question.first is None:
            question.first = offset

    def step(self, consumer: Consumer) -> None:
        """Ask what is still open, if that is due; blocks for about a second at most."""
        now = time.monotonic()
        if not self._questions or now < self._next_at:
            return
        if given_up := sorted(partition for partition, question in self._questions.items() if question.until < now):
            for partition in given_up:
                del self._questions[partition]
            log.warning(
                "the broker did not say whether it has deleted records that were not consumed", partitions=given_up
            )
        self.ask(consumer, _STEP_SECONDS)

    def ask(self, consumer: Consumer, seconds: float) -> None:
        """Ask what is still open; blocks for ``seconds`` at most."""
        deadline = time.monotonic() + seconds
        try:
            self._ask_committed(consumer, seconds)
            for partition in list(self._questions):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._ask_low(consumer, partition, left)
        except KafkaException as error:
            log.info("the committed positions cannot be checked now", error=error.args[0].name())
        self._next_at = time.monotonic() + _REST_SECONDS

    def _ask_committed(self, consumer: Consumer, seconds: float) -> None:
        asked = sorted(self.unsettled)
        if not asked or seconds <= 0:
            return
        answer = consumer.committed([TopicPartition(self._topic, partition) for partition in asked], timeout=seconds)
        found = {committed.partition: committed for committed in answer}
        for partition in asked:
            committed = found.get(partition)
            if committed is None or (committed.error is None and committed.offset < 0):
                del self._questions[partition]  # nothing was committed, so nothing can have been passed over
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
            self._questions[partition] = question  # behind the others: its broker alone may not answer
            raise
        # What was deleted after it was read is not a loss.
        low = low if question.first is None else min(low, question.first)
        if question.committed < low:
            log.error(
                "the broker has deleted records that were not consumed: raise the topic's retention; "
                "the next sweep repairs what they said",
                partition=partition,
                records=low - question.committed,
            )
            self._on_overrun()
