"""A record in the form of a dead letter, cut to the room that the topic has. Pure.

The topic's limit is not known: the broker only refuses a dead letter that is too large. So the largest part of the
record is halved until the broker accepts the dead letter.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Final

from consumer import redaction
from consumer.kafka.record import Headers, Record

PREFIX: Final = "calsync."
UNREADABLE: Final = f"{PREFIX}headers_unreadable"
"""Replaces a record's headers that cannot be read, and holds the reason. A dead letter keeps it."""
_SMALLEST: Final = 64
"""A part of this many bytes is not cut further: a topic that refuses it accepts no dead letter."""
_REASON_CHARACTERS: Final = 1_000
_DIGITS: Final = 18
"""No real offset has more digits, and a number with more may not fit into 64 bits."""
_LEFT_OUT: Final = frozenset({"truncated", "headers_left_out", "key_size"})


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes are kept of a record's value, of its own headers and of its key."""

    value: int
    headers: int
    key: int

    @classmethod
    def whole(cls, record: Record) -> "Room":
        """Room for the whole record."""
        return cls(len(record.value or b""), sum(map(_size, own_headers(record))), len(record.key or b""))

    def smaller(self) -> "Room | None":
        """Half as much room for the largest part; ``None`` if no part can be cut further."""
        largest = max(self.value, self.headers, self.key)
        if largest <= _SMALLEST:
            return None
        for part in ("value", "headers", "key"):
            if getattr(self, part) == largest:
                return replace(self, **{part: largest // 2})
        raise AssertionError("one of the three is the largest")


@dataclass(frozen=True, slots=True)
class Parcel:
    """The key, value and headers of a dead letter."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]

    @property
    def shortened(self) -> bool:
        """Whether a part of the record was left out."""
        return any(name.removeprefix(PREFIX) in _LEFT_OUT for name, _ in self.headers)


def own_headers(record: Record) -> Headers:
    """The record's headers without those that this service adds to a dead letter."""
    return [(name, value) for name, value in record.headers if not name.startswith(PREFIX)]


def parcel(record: Record, reason: str, room: Room, *, make_key: bool = False) -> Parcel:
    """The record as a dead letter.

    Args:
        record: the record that could not be processed. If it was read from the dead-letter topic, its number of
            attempts grows by one, and the stored facts about its whole value and its headers are kept.
        reason: why; must not contain any of the record's values.
        room: a value larger than its room loses its middle, and gets ``calsync.size`` (bytes) and ``calsync.sha256``
            (hex) of the whole value, and ``calsync.truncated`` (the bytes kept). Own headers that do not fit are left
            out and counted in ``calsync.headers_left_out``. A key is cut, and its size is in ``calsync.key_size``.
        make_key: if the record has no key, use its topic, partition and offset as key, marked by ``calsync.key``. A
            compacted topic refuses records without a key.
    """
    before = {name.removeprefix(PREFIX): value for name, value in record.headers if name.startswith(PREFIX)}
    about: dict[str, str | bytes] = {
        "reason": redaction.text(reason)[:_REASON_CHARACTERS],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "attempts": str((number(before.get("attempts")) or 0) + 1),
    }
    for known in ("size", "sha256", "truncated", "headers_left_out", "headers_unreadable", "key_size"):
        earlier = before.get(known)
        if earlier is not None:
            about[known] = earlier
    key, value = record.key, record.value
    if value is not None and len(value) > room.value:
        about.setdefault("size", str(len(value)))
        about.setdefault("sha256", hashlib.sha256(value).hexdigest())
        about["truncated"] = str(room.value)
        value = without_middle(value, room.value)
    kept, left_out = _fitting(own_headers(record), room.headers)
    if left_out:
        about["headers_left_out"] = str(left_out + (number(before.get("headers_left_out")) or 0))
    if key is not None and len(key) > room.key:
        about.setdefault("key_size", str(len(key)))
        key = key[: room.key]
    if key is None and make_key:
        about["key"] = "none"
        key = f"{record.topic}/{record.partition}/{record.offset}".encode()
    return Parcel(key, value, [*kept, *((PREFIX + name, _bytes(text)) for name, text in about.items())])


def without_middle(value: bytes, kept: int) -> bytes:
    """The first and last bytes of a value, ``kept`` in total."""
    tail = kept // 2
    return value[: kept - tail] + value[len(value) - tail :]


def _fitting(headers: Headers, room: int) -> tuple[Headers, int]:
    """The headers that fit, in their order, and the number of those that do not."""
    fitting = []
    for header in headers:
        room -= _size(header)
        if room >= 0:
            fitting.append(header)
        else:
            room += _size(header)
    return fitting, len(headers) - len(fitting)


def _size(header: tuple[str, str | bytes | None]) -> int:
    name, value = header
    return len(name.encode()) + len(_bytes(value or b""))


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def number(header: str | bytes | None) -> int | None:
    """A number in a header, which any producer may have written; ``None`` if Kafka cannot have such a number."""
    text = header.decode(errors="replace") if isinstance(header, bytes) else header or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None
