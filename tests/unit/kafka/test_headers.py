"""Headers that cannot be read lose neither the record nor the process."""

import asyncio
import time
import uuid
from typing import Any

import pytest
from confluent_kafka import Producer

from consumer.kafka.dead_letter import dead_letter_of
from consumer.kafka.decode import Deleted
from consumer.kafka.feed_check import FeedCheck
from consumer.kafka.headers import headers_of
from consumer.kafka.offset_range import offset_range
from consumer.kafka.parcel import UNREADABLE, Room, parcel
from consumer.kafka.pump import Pump
from consumer.kafka.record import Epoch, Record
from tests.foreign_producer import send

FOREIGN = [(b"trace", b"42"), (b"\xff\xfe", b"x")]
UNREAD = [(UNREADABLE, b"a name is not UTF-8")]
ORDINARY = 100
OURS = (b"J1", b"ours", [("trace", b"43")])
READ = [*[OURS] * ORDINARY, (b"J1", b"foreign", UNREAD), OURS]


@pytest.fixture
def topic(broker: str) -> str:
    """Many ordinary records, then the foreign one: Python specialises a call that it has made often."""
    name = f"headers-{uuid.uuid4()}"
    producer = Producer({"bootstrap.servers": broker, "partitioner": "murmur2_random"})
    for _ in range(ORDINARY):
        producer.produce(name, key=b"J1", value=b"ours", headers=[("trace", b"43")])
    assert not producer.flush(10)
    send(broker, name, b"J1", b"foreign", FOREIGN)
    send(broker, name, b"J1", b"ours", [(b"trace", b"43")])
    return name


def test_the_commands_read_a_record_whose_header_name_is_not_utf_8(broker: str, topic: str) -> None:
    with offset_range({"bootstrap.servers": broker, "fetch.wait.max.ms": 10}, topic, "group") as found:
        found.newest(len(READ))
        records: list[Record] = []
        while batch := found.read():
            records += batch
    assert [(record.key, record.value, record.headers) for record in records] == READ


async def test_the_pump_reads_a_record_whose_header_name_is_not_utf_8(broker: str, topic: str) -> None:
    loop = asyncio.get_running_loop()
    records: list[Record] = []
    ended: asyncio.Future[str | None] = loop.create_future()
    pump = Pump(
        {
            "bootstrap.servers": broker,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "fetch.wait.max.ms": 10,
        },
        topic,
        loop,
        records.extend,
        ended.set_result,
        lambda _records: None,
        on_pressure=lambda: None,
        identify=lambda _seconds: "",
        monotonic=time.monotonic,
    )
    pump.start()
    async with asyncio.timeout(20):
        while len(records) < len(READ) and not ended.done():  # noqa: ASYNC110 (another thread delivers them)
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(pump.stop, 10)
    assert await ended is None
    assert [(record.key, record.value, record.headers) for record in records] == READ


@pytest.mark.parametrize(
    "error", [SystemError("returned a result with an exception set"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "?")]
)
def test_unreadable_headers_are_read_only_once(error: Exception) -> None:
    class Message:
        asked = 0

        def headers(self) -> Any:
            self.asked += 1
            raise error

    message: Any = Message()
    assert headers_of(message) == UNREAD
    assert message.asked == 1


def test_each_dead_letter_of_a_record_shows_that_its_headers_could_not_be_read() -> None:
    record = Record("topic", 1, 2, b"J1", b"v", list(UNREAD), 0.0, Epoch(1))
    first = parcel(record, "invalid: once", Room.whole(record))
    assert dict(first.headers)[UNREADABLE] == b"a name is not UTF-8"
    assert not first.shortened
    again = dead_letter_of(Record("dlq", 0, 0, b"J1", b"v", first.headers, 0.0, Epoch(0))).record
    second = dict(parcel(again, "invalid: still", Room.whole(again)).headers)
    assert (second[UNREADABLE], second["calsync.attempts"]) == (b"a name is not UTF-8", b"2")


def test_the_feed_check_reports_headers_that_cannot_be_read() -> None:
    check = FeedCheck(["acme"])
    check.read(Record("topic", 1, 2, b"J1", None, list(UNREAD), 0.0, Epoch(1)), Deleted("J1", None))
    check.unreadable(Record("topic", 1, 3, b"J1", b"?", list(UNREAD), 0.0, Epoch(1)), "no framing of ours")
    assert {(fault.what, fault.count, fault.offset) for fault in check.faults.values()} == {
        ("headers that cannot be read: a name is not UTF-8", 2, 3),
        ("no framing of ours", 1, 3),
    }
