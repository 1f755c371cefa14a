"""Links come back from Redis as they were stored."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.domain.job import rank
from consumer.domain.link import Link, Pending, Tombstone
from consumer.store.codec import pack_link, pack_rank, unpack

MOMENT = datetime(2026, 12, 1, 9, 0, 0, 123456, tzinfo=UTC)
MOMENTS = st.datetimes(timezones=st.just(UTC))
RANKS = st.builds(lambda revision, deleted: rank(revision, deleted=deleted), st.integers(0, 2**62 - 1), st.booleans())
BASE64 = st.binary(max_size=120).map(lambda raw: base64.b64encode(raw).decode())
BASE64_URL = st.binary(max_size=120).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
IDS = st.text() | BASE64 | BASE64_URL | st.text("AQab09+/-_= \n", max_size=12)
ETAGS = IDS | IDS.map(lambda inner: f'W/"{inner}"') | st.text('W/"', max_size=5)
LINKS = st.builds(
    Link,
    event_id=IDS,
    etag=ETAGS,
    fingerprint=st.binary(min_size=16, max_size=16),
    rank=RANKS,
    start=MOMENTS,
    end=MOMENTS,
    rendering=st.integers(0, 255),
    zone_mark=st.integers(0, 2**16 - 1),
    settled=st.just(b"") | st.binary(min_size=16, max_size=16),
)


def link(event_id: str = "E", etag: str = "") -> Link:
    return Link(event_id, etag, bytes(range(16)), rank(3), MOMENT, MOMENT, 1)


@given(LINKS)
@example(link(etag='W/"'))
@example(link(etag='W/""'))
@example(link(etag="x" * 20_000))
@example(link(event_id="QQ", etag='W/"QR=="'))
def test_a_link_comes_back_as_it_was(kept: Link) -> None:
    assert unpack(pack_link(kept)) == kept


@given(st.text(), RANKS)
def test_pending_links_and_tombstones_come_back_as_the_scripts_write_them(transaction_id: str, at: int) -> None:
    stamp = (1_764_000_000_123).to_bytes(8, "big")
    pending = unpack(b"P" + pack_rank(at) + stamp + transaction_id.encode())
    assert pending == Pending(transaction_id, at)
    assert pending.written_at == 1_764_000_000.123
    assert unpack(b"T" + pack_rank(at) + stamp) == Tombstone(at)


def test_a_missing_key_is_read_as_no_state() -> None:
    assert unpack(b"") is None


@given(RANKS, RANKS)
def test_ranks_sort_as_bytes(one: int, other: int) -> None:
    assert (pack_rank(one) < pack_rank(other)) == (one < other)
    assert len(pack_rank(one)) == 8


@given(LINKS)
def test_a_links_rank_is_where_the_scripts_read_it(kept: Link) -> None:
    packed = pack_link(kept)
    assert packed[:9] == b"L" + pack_rank(kept.rank)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_graphs_ids_are_stored_in_fewer_bytes(encode: object) -> None:
    event_id = encode(bytes(range(150, 255)) + b"xyz").decode()  # type: ignore[operator]
    assert len(pack_link(link(event_id))) <= len(pack_link(link("")) + event_id.encode()) * 0.85
