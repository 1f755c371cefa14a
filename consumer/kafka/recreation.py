"""Notices that the topic was deleted and created again."""

from collections.abc import Callable
from typing import Final, Literal

import structlog

from consumer.kafka.assigned_partitions import AssignedPartitions

log = structlog.get_logger(__name__)

Sign = Literal["offsets went backwards", "the topic has another id"]
"""What shows that the topic is another one."""
FROM_BEGINNING_SECONDS: Final = 60.0
"""After the topic was created again, partitions that are assigned within this time are read from their beginning."""
_TRIES: Final = 3


class Recreation:
    """Compares the topic's ids and offsets. If the topic is another one, the group must be joined again.

    librdkafka continues to read in the new topic. But it commits nothing below the old topic's offsets, and it skips
    what the new topic already contains below the offset reached in the old one (librdkafka#3255).
    """

    def __init__(
        self,
        topic: str,
        assigned: AssignedPartitions,
        identify: Callable[[float], str | None],
        monotonic: Callable[[], float],
    ) -> None:
        """``identify`` gets how many seconds it may block, and returns the topic's id; see ``Handlers.identify``."""
        self._topic = topic
        self._identify = identify
        self._assigned = assigned
        self._monotonic = monotonic
        self.topic_id = ""
        """Empty while it is not known."""
        self.must_rejoin = False
        """Whether records were read from a topic that no longer exists."""
        self._from_beginning_until = float("-inf")

    @property
    def from_beginning(self) -> bool:
        """Whether partitions that are assigned now must be read from their beginning."""
        return self._monotonic() < self._from_beginning_until

    def ask_id(self, deadline: float) -> None:
        """Ask the broker for the topic's id until it answers; blocks until the deadline, on the monotonic clock."""
        for _ in range(_TRIES):
            left = deadline - self._monotonic()
            if left <= 0:
                return
            topic_id = self._identify(left)
            if topic_id is not None:
                self.saw_id(topic_id)
                return

    def saw_id(self, topic_id: str | None) -> None:
        """Compare the id that the broker gave for the topic; ``None`` or an empty one proves nothing."""
        if not topic_id or topic_id == self.topic_id:
            return
        if self.topic_id:
            # While no partition is assigned, nothing of the old topic is left to forget.
            self._found("the topic has another id", must_rejoin=len(self._assigned) > 0)
        self.topic_id = topic_id
        self._assigned.name_topic(topic_id)

    def saw_offset(self, offset: int, expected: int | None) -> None:
        """Compare a record's offset with the lowest one that may still come; ``None`` before the first record."""
        if not self.must_rejoin and expected is not None and offset < expected:
            self._found("offsets went backwards", must_rejoin=True)

    def rejoining(self) -> None:
        """The group is joined again."""
        self.must_rejoin = False

    def _found(self, sign: Sign, *, must_rejoin: bool) -> None:
        self.must_rejoin = must_rejoin
        self._from_beginning_until = self._monotonic() + FROM_BEGINNING_SECONDS
        log.error("topic was created again, reading it from its beginning", topic=self._topic, reason=sign)
