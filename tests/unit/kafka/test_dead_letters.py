"""A dead letter is written when the broker has confirmed it, and not before. One that is too large is cut."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from consumer.kafka import dead_letters as module
from consumer.kafka import waiting
from consumer.kafka.dead_letter import dead_letter_of
from consumer.kafka.dead_letters import DeadLetters, Kind
from consumer.kafka.parcel import Room, parcel, without_middle
from consumer.kafka.record import Epoch, Record
from consumer.kafka.waiting import Backoff, Wait

Answer = Callable[[dict[str, Any]], KafkaError | None]


def taken(_dead_letter: dict[str, Any]) -> None: ...


class Topic:
    """A producer that gives each dead letter the next answer, and the last answer to all further ones.

    ``produce`` raises an answer that is an exception. The answer ``None`` means that no delivery report comes.
    """

    metadata: KafkaError | None = None

    def __init__(self, *answers: Answer | Exception | None) -> None:
        self._answers = list(answers)
        self._undelivered: list[Callable[[], None]] = []
        self.produced: list[dict[str, Any]] = []
        self.kept: list[dict[str, Any]] = []
        self.polls = 0

    def __call__(self, config: dict[str, Any]) -> "Topic":
        self.config = config
        return self

    def produce(self, _topic: str, *, on_delivery: Callable[..., None], **dead_letter: Any) -> None:
        self.produced.append(dead_letter)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return
        error = answer(dead_letter)
        if error is None:
            self.kept.append(dead_letter)
        self._undelivered.append(lambda: on_delivery(error, None))

    def poll(self, timeout: float) -> int:
        self.polls += 1
        if not timeout:
            return 0  # a broker's answer takes time
        reports, self._undelivered = self._undelivered, []
        for report in reports:
            report()
        return len(reports)

    def list_topics(self, topic: str, timeout: float) -> Any:
        class Found:
            error = self.metadata

        class Metadata:
            topics = {topic: Found}  # noqa: RUF012

        return Metadata


@pytest.fixture
def dead_letters() -> Iterator[Callable[[Topic], DeadLetters]]:
    with ThreadPoolExecutor(1) as threads:

        def made(topic: Topic) -> DeadLetters:
            make_producer: Any = topic
            return DeadLetters({}, "dlq", threads, make_producer=make_producer)

        yield made


def wait_without_pauses() -> Wait:
    return Wait(record(), time.monotonic, Backoff(first=0.0))


async def put(dead_letters: DeadLetters, record: Record, kind: Kind, reason: str, wait: Wait | None = None) -> bool:
    """Write a dead letter without pauses between tries, in five seconds at most."""
    async with asyncio.timeout(5):
        return await dead_letters.put(record, kind, reason, wait or wait_without_pauses())


def record(
    *, key: bytes | None = b"J1", value: bytes | None = b"v", headers: list[tuple[str, Any]] | None = None
) -> Record:
    return Record("topic", 1, 2, key, value, headers or [], 0.0, Epoch(1))


def limit(size: int) -> Answer:
    """The answer of a topic that accepts dead letters of up to this size."""

    def answer(dead_letter: dict[str, Any]) -> KafkaError | None:
        whole = len(dead_letter["key"] or b"") + len(dead_letter["value"] or b"")
        whole += sum(len(name) + len(value or b"") for name, value in dead_letter["headers"])
        return KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if whole > size else None

    return answer


def fails(code: int) -> Answer:
    return lambda _dead_letter: KafkaError(code)


@pytest.mark.parametrize(("before", "after"), [(b"2", b"3"), (b"many", b"1"), (None, b"1"), ("1", b"2")])
async def test_attempts_are_counted_and_an_invalid_count_starts_again(
    before: str | bytes | None, after: bytes, dead_letters: Callable[[Topic], DeadLetters]
) -> None:
    topic = Topic(BufferError("Local: Queue full"), taken)
    headers = [("calsync.attempts", before), ("trace", b"x")]
    assert await put(dead_letters(topic), record(headers=headers), "undecodable", "why")
    [kept] = topic.kept
    about = dict(kept["headers"])
    assert (about["calsync.attempts"], about["trace"], about["calsync.reason"]) == (after, b"x", b"undecodable: why")


async def test_a_refused_dead_letter_is_written_again_until_the_broker_accepts_it(
    dead_letters: Callable[[Topic], DeadLetters],
) -> None:
    topic = Topic(
        fails(KafkaError.TOPIC_AUTHORIZATION_FAILED), KafkaException(KafkaError(KafkaError._QUEUE_FULL)), taken
    )
    wait = wait_without_pauses()
    assert await put(dead_letters(topic), record(), "invalid", "why", wait)
    assert len(topic.produced) == 3
    assert len(topic.kept) == 1
    assert wait.cause == "dead_letter"


async def test_a_dead_letter_without_a_delivery_report_is_not_written(
    dead_letters: Callable[[Topic], DeadLetters], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DELIVERY_SECONDS", 0.01)
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 0.01)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.001)
    topic = Topic(None, None, taken)
    assert await put(dead_letters(topic), record(), "invalid", "why")
    assert len(topic.produced) == 3
    assert topic.kept == topic.produced[2:]


async def test_a_dead_letter_whose_report_does_not_come_delays_no_other(
    dead_letters: Callable[[Topic], DeadLetters], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.001)
    topic = Topic(None, taken)
    kept = dead_letters(topic)
    silent = asyncio.create_task(kept.put(record(), "invalid", "first", wait_without_pauses()))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await kept.put(record(), "invalid", "second")
    assert not silent.done()
    silent.cancel()


async def test_a_dead_letter_of_a_revoked_partition_is_dropped(dead_letters: Callable[[Topic], DeadLetters]) -> None:
    gone = record()

    def revoked(_dead_letter: dict[str, Any]) -> KafkaError:
        gone.epoch.live = False
        return KafkaError(KafkaError.NOT_ENOUGH_REPLICAS)

    topic = Topic(revoked)
    async with asyncio.timeout(5):
        assert not await put(dead_letters(topic), gone, "invalid", "why")
    assert len(topic.produced) == 1


async def test_a_dead_letter_that_is_too_large_loses_the_middle_of_its_value_and_shows_it(
    dead_letters: Callable[[Topic], DeadLetters],
) -> None:
    value = bytes(range(256)) * 40
    topic = Topic(limit(4_000))
    assert await put(dead_letters(topic), record(value=value, headers=[("trace", b"x")]), "undecodable", "why")
    [kept] = topic.kept
    about = dict(kept["headers"])
    length = int(about["calsync.truncated"])
    assert length == len(kept["value"]) == 2_560
    assert kept["value"] == value[:1_280] + value[-1_280:]
    assert (about["calsync.size"], about["calsync.sha256"]) == (b"10240", hashlib.sha256(value).hexdigest().encode())
    assert (kept["key"], about["trace"]) == (b"J1", b"x")


async def test_headers_that_are_too_large_are_left_out_and_a_key_is_cut(
    dead_letters: Callable[[Topic], DeadLetters],
) -> None:
    headers = [("small", b"x"), ("large", bytes(20_000)), ("last", b"y")]
    topic = Topic(limit(2_000))
    assert await put(dead_letters(topic), record(key=b"k" * 9_000, value=None, headers=headers), "invalid", "why")
    [kept] = topic.kept
    about = dict(kept["headers"])
    assert (about["small"], about["last"], about["calsync.headers_left_out"]) == (b"x", b"y", b"1")
    assert (kept["key"], about["calsync.key_size"]) == (b"k" * 1_125, b"9000")
    assert kept["value"] is None
    assert "calsync.truncated" not in about


async def test_a_dead_letter_waits_while_its_topic_accepts_none(dead_letters: Callable[[Topic], DeadLetters]) -> None:
    topic = Topic(*[limit(10)] * 20, taken)
    wait = wait_without_pauses()
    assert await put(dead_letters(topic), record(value=bytes(1_000)), "invalid", "why", wait)
    assert wait.cause == "dead_letter"


async def test_a_compacted_topic_gets_a_key_for_a_record_without_one(
    dead_letters: Callable[[Topic], DeadLetters],
) -> None:
    def compacted(dead_letter: dict[str, Any]) -> KafkaError | None:
        return KafkaError(KafkaError.INVALID_RECORD) if dead_letter["key"] is None else None

    topic = Topic(compacted)
    assert await put(dead_letters(topic), record(key=None), "invalid", "why")
    [kept] = topic.kept
    assert kept["key"] == b"topic/1/2"
    found = Record("dlq", 0, 7, kept["key"], kept["value"], kept["headers"], 0.0, Epoch(0))
    assert dead_letter_of(found).record.key is None


async def test_the_topics_metadata_explain_a_dead_letter_that_timed_out(
    dead_letters: Callable[[Topic], DeadLetters], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[tuple[str, str | None]] = []

    def failed(_self: Wait, _cause: object, reason: str, hint: str | None) -> float:
        failures.append((reason, hint))
        return 0.0

    monkeypatch.setattr(Wait, "failed", failed)
    topic = Topic(fails(KafkaError._MSG_TIMED_OUT), fails(KafkaError.INVALID_RECORD), taken)
    topic.metadata = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert await put(dead_letters(topic), record(), "invalid", "why")
    [(reason, hint), (_, other)] = failures
    assert "dlq" in reason
    assert "create it" in str(hint)
    assert other


def test_each_dead_letter_is_compressed_and_alone_in_its_batch(dead_letters: Callable[[Topic], DeadLetters]) -> None:
    topic = Topic(taken)
    dead_letters(topic)
    assert topic.config["compression.type"] == "zstd"
    assert topic.config["batch.num.messages"] == 1
    assert topic.config["acks"] == "all"


def test_a_cut_dead_letter_that_fails_again_keeps_the_size_and_hash_of_the_whole_value() -> None:
    first = parcel(record(value=bytes(1_000)), "invalid: why", Room(100, 0, 2))
    again = Record("topic", 1, 2, b"J1", first.value, first.headers, 0.0, Epoch(1))
    second = dict(parcel(again, "invalid: still", Room.whole(again)).headers)
    assert (second["calsync.size"], second["calsync.truncated"], second["calsync.attempts"]) == (b"1000", b"100", b"2")
    assert second["calsync.sha256"] == hashlib.sha256(bytes(1_000)).hexdigest().encode()
    assert dead_letter_of(Record("dlq", 0, 0, b"J1", first.value, first.headers, 0.0, Epoch(0))).truncated


@pytest.mark.parametrize(("kept", "left"), [(0, b""), (1, b"a"), (3, b"abf"), (6, b"abcdef")])
def test_without_middle_keeps_both_ends(kept: int, left: bytes) -> None:
    assert without_middle(b"abcdef", kept) == left


def test_a_wait_logs_immediately_then_once_a_minute_and_its_pauses_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(waiting.log, "error", lambda _event, **fields: logged.append(fields))
    wait = Wait(record(), lambda: now, Backoff())
    pauses = []
    for _ in range(10):
        pauses.append(wait.failed("schema", "why", "what to do"))
        now += pauses[-1]
    assert pauses == [1.0, 2.0, 4.0, 8.0, *[10.0] * 6]
    assert len(logged) == 2
    assert logged[0] == {
        "partition": 1,
        "offset": 2,
        "waits_for": "schema",
        "seconds": 0,
        "reason": "why",
        "hint": "what to do",
    }


@pytest.mark.parametrize("count", [b"9" * 5_000, b"9" * 30, b"-1", "²".encode(), b"\xff", b"", None])
def test_a_number_that_kafka_cannot_have_counts_as_missing(count: bytes | None) -> None:
    headers: list[tuple[str, str | bytes | None]] = [
        (f"calsync.{name}", count) for name in ("partition", "offset", "attempts")
    ]
    found = dead_letter_of(Record("dlq", 3, 4, b"J1", b"v", headers, 0.0, Epoch(3)))
    assert (found.record.partition, found.record.offset, found.attempts) == (3, 4, 1)
    again = parcel(found.record, "invalid: still", Room.whole(found.record))
    assert dict(again.headers)["calsync.attempts"] == b"1"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), "WRITE on the dead-letter topic"),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), "check CALSYNC_KAFKA_BOOTSTRAP_SERVERS"),
        (None, "check the brokers of dlq"),
    ],
    ids=["the topic is refused", "no broker answers", "nothing is known"],
)
async def test_a_dead_letter_that_times_out_waits_with_a_hint_from_the_topics_metadata(
    dead_letters: Callable[[Topic], DeadLetters], metadata: Any, words: str
) -> None:
    class Asked(Topic):
        def list_topics(self, topic: str, timeout: float) -> Any:
            if isinstance(metadata, KafkaException):
                raise metadata
            self.metadata = metadata
            return super().list_topics(topic, timeout)

    with capture_logs() as logs:
        assert await put(dead_letters(Asked(fails(KafkaError._MSG_TIMED_OUT), taken)), record(), "invalid", "why")
    [waits] = [line for line in logs if line["event"] == "partition waits"]
    assert words in waits["hint"]


async def test_a_delivery_report_that_comes_after_the_next_try_is_ignored(
    dead_letters: Callable[[Topic], DeadLetters], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Topic):
        """Reports the first dead letter only with the second."""

        def poll(self, timeout: float) -> int:
            return super().poll(timeout) if len(self.produced) > 1 else 0

    monkeypatch.setattr(module, "_DELIVERY_SECONDS", 0.01)
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 0.01)
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    assert await put(dead_letters(Late(fails(KafkaError._MSG_TIMED_OUT), taken)), record(), "invalid", "why")
    await asyncio.sleep(0)
    assert failures == []
