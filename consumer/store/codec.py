"""The packed form of links in Redis: a large customer has hundreds of thousands of them.

Every form starts with a letter (``L`` link, ``P`` pending, ``T`` tombstone), the rank and the time of writing in
milliseconds, eight bytes each, big-endian, so that the scripts can compare ranks byte by byte and write the time.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Final

from consumer.domain.link import Link, Memory, Pending, Tombstone

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HEAD: Final = Struct(">cQQ16sqqHBBH")
# The scripts rely on the positions of the fingerprint and the end, and on the end being in microseconds.
_COMMON: Final = Struct(">cQQ")
_TEXT, _BASE64, _BASE64_URL = 0, 1, 2
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_ETAG_START, _ETAG_END = 'W/"', '"'


def pack_rank(rank: int) -> bytes:
    """Eight bytes that sort in the order of the ranks."""
    return rank.to_bytes(8, "big")


def pack_link(link: Link) -> bytes:
    """The stored form of a link."""
    etag = link.etag
    bare = etag.startswith(_ETAG_START) and etag.endswith(_ETAG_END) and len(etag) > len(_ETAG_START)
    etag_bytes = _pack_text(etag[len(_ETAG_START) : -len(_ETAG_END)] if bare else etag)
    head = _HEAD.pack(
        b"L",
        link.rank,
        0,  # the script that writes the link fills in the time
        link.fingerprint,
        (link.start - _EPOCH) // _MICROSECOND,
        (link.end - _EPOCH) // _MICROSECOND,
        link.zone_mark,
        link.rendering,
        len(link.settled),
        len(etag_bytes) << 1 | bare,
    )
    return head + link.settled + etag_bytes + _pack_text(link.event_id)


def pack_event_id(event_id: str) -> bytes:
    """The end of a stored link to this event."""
    return _pack_text(event_id)


def unpack(data: bytes) -> Memory | None:
    """The memory that was stored; ``None`` for an empty form."""
    if not data:
        return None
    if data[:1] != b"L":
        kind, rank, milliseconds = _COMMON.unpack_from(data)
        written_at = milliseconds / 1000
        return Tombstone(rank, written_at) if kind == b"T" else Pending(data[_COMMON.size :].decode(), rank, written_at)
    head = _HEAD.unpack_from(data)
    _, rank, milliseconds, fingerprint, start, end, zone_mark, rendering, settled_size, etag_size = head
    settled_end = _HEAD.size + settled_size
    etag_end = settled_end + (etag_size >> 1)
    etag = _unpack_text(data[settled_end:etag_end])
    return Link(
        event_id=_unpack_text(data[etag_end:]),
        etag=f"{_ETAG_START}{etag}{_ETAG_END}" if etag_size & 1 else etag,
        fingerprint=fingerprint,
        rank=rank,
        start=_EPOCH + start * _MICROSECOND,
        end=_EPOCH + end * _MICROSECOND,
        rendering=rendering,
        settled=data[_HEAD.size : settled_end],
        zone_mark=zone_mark,
        written_at=milliseconds / 1000,
    )


def _pack_text(text: str) -> bytes:
    """Graph's ids are base64 in one of two alphabets, and a quarter smaller as bytes. Other texts stay as they are."""
    for kind, decode, encode in (
        (_BASE64, base64.b64decode, base64.b64encode),
        (_BASE64_URL, base64.urlsafe_b64decode, base64.urlsafe_b64encode),
    ):
        try:
            raw = decode(text)
        except (binascii.Error, ValueError):
            continue
        if encode(raw).decode() == text:
            return bytes((kind,)) + raw
    return bytes((_TEXT,)) + text.encode()


def _unpack_text(data: bytes) -> str:
    kind, raw = data[0], data[1:]
    if kind == _TEXT:
        return raw.decode()
    text = binascii.b2a_base64(raw, newline=False)
    return (text if kind == _BASE64 else text.translate(_TO_URL)).decode()
