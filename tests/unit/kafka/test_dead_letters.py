"""Dead letters are written whatever the record brings along."""

from typing import Any

import pytest

from consumer.kafka import dead_letters
from consumer.kafka.dead_letters import DeadLetters
from consumer.kafka.record import Epoch, Record


class Producer:
    """Keeps the headers of what is produced; its queue is full at first."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.full = 1
        self.headers: dict[str, bytes] = {}
        Producer.made = self  # type: ignore[attr-defined]

    def produce(self, _topic: str, *, headers: list[tuple[str, bytes]], **_: Any) -> None:
        if self.full:
            self.full -= 1
            raise BufferError("Local: Queue full")
        self.headers = dict(headers)

    def flush(self, _timeout: float) -> None: ...


@pytest.mark.parametrize(("before", "after"), [(b"2", b"3"), (b"many", b"1"), (None, b"1"), ("1", b"2")])
async def test_attempts_are_counted_on_and_nonsense_is_no_reason_to_fail(
    before: str | bytes | None, after: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "Producer", Producer)
    monkeypatch.setattr(dead_letters, "_RETRY_SECONDS", 0.0)
    headers = [("calsync.attempts", before), ("trace", b"x")]
    letters = DeadLetters({}, "dlq")
    await letters.put(Record("topic", 1, 2, b"k", b"v", headers, 0.0, Epoch(1)), "undecodable: why")
    kept = Producer.made.headers  # type: ignore[attr-defined]
    assert (kept["calsync.attempts"], kept["trace"], kept["calsync.reason"]) == (after, b"x", b"undecodable: why")
