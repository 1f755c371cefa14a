"""JSON from outside: one bad text affects only itself, and no document is mistaken for another."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.json_reader import BrokenText, loads

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)

READABLE: dict[str, tuple[bytes | str, Any]] = {
    "plain": (b'{"a": 1}', {"a": 1}),
    "text": ('{"a": "\u00e9"}', {"a": "é"}),
    "a pair": (rb'["\ud83d\ude00", "\ud83e"]', ["😀", BrokenText("\\ud83e")]),
    "BOM": (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    "BOM in a text": ("\ufeff[1]", [1]),
    "two BOMs": ("\ufeff\ufeff[1]", [1]),
    "NULs behind": (b"[1]\x00\x00\n", [1]),
    "an escaped NUL": (rb'["a\u0000b"]', ["a\x00b"]),
    "a raw NUL": (b'["a\x00b"]', ["a\x00b"]),
    "raw control characters": (b'["a\tb\x1fc\nd"]', ["a\tb\x1fc\nd"]),
    "UTF-16": ('{"a": "é"}'.encode("utf-16"), {"a": "é"}),
    "UTF-16 without BOM": ('{"a": "é"}'.encode("utf-16-le"), {"a": "é"}),
    "half a pair": (rb'["call \ud83d", "b"]', [BrokenText("call \\ud83d"), "b"]),
    "the other half": (rb'["\ude00"]', [BrokenText("\\ude00")]),
    "halves the wrong way round": (rb'["\ude00\ud83d"]', [BrokenText("\\ude00\\ud83d")]),
    "half a pair in a name": (rb'{"\ud83d": 1, "b": 2}', {BrokenText("\\ud83d"): 1, "b": 2}),
    "half a pair, encoded": (b'["\xed\xa0\xbd", "b"]', [BrokenText("\\udced\\udca0\\udcbd"), "b"]),
    "Latin-1": (b'["caf\xe9", "b"]', [BrokenText("caf\\udce9"), "b"]),
    "cut within a character": (b'["\xf0\x9f\x98", "b"]', [BrokenText("\\udcf0\\udc9f\\udc98"), "b"]),
    "half a pair in UTF-16": ('["a\ud83d"]'.encode("utf-16-le", "surrogatepass"), [BrokenText("a\\ud83d")]),
    "a huge integer": (b"[" + b"9" * 5000 + b', "\\ud83d"]', [math.inf, BrokenText("\\ud83d")]),
    "a huge float": (rb'[1e999, "\ud83d"]', [math.inf, BrokenText("\\ud83d")]),
}


@pytest.mark.parametrize(("data", "document"), READABLE.values(), ids=READABLE)
def test_a_document_is_read_with_its_broken_texts_marked(data: bytes | str, document: Any) -> None:
    found = loads(data)
    assert found == document
    assert shape(found) == shape(document)
    json.dumps(found, ensure_ascii=False).encode()


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: (type(key), shape(item)) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


UNREADABLE: dict[str, bytes | str] = {
    "nothing": b"",
    "a BOM alone": b"\xef\xbb\xbf",
    "NULs alone": b"\x00\x00\x00\x00",
    "HTML": b"<html><body>default backend - 404</body></html>",
    "cut short": rb'{"a": ["s3cret \ud83d',
    "cut short in a pair": rb'{"a": "s3cret \ud8',
    "two documents": rb'["\ud83d"]["s3cret"]',
    "NaN": rb'["\ud83d", NaN]',
    "Infinity": rb'["\ud83d", -Infinity]',
    "a comma too many": rb'["\ud83d", ]',
    "single quotes": b"{'a': 's3cret'}",
    "nested too deep": b"[" * 100_000 + b"]" * 100_000,
    "nested too deep, with objects": b'{"a":' * 100_000,
    "gzip": b"\x1f\x8b\x08\x00s3cret",
    "bytes outside of texts": b'["a", \xff]',
    "odd UTF-16": b"\xff\xfe[\x001",
    "half a BOM": b"\xef\xbb[1]",
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_an_invalid_document_is_a_value_error_that_quotes_nothing(data: bytes | str) -> None:
    with pytest.raises(ValueError, match="not a JSON document") as caught:
        loads(data)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(JSON)
def test_well_formed_documents_are_read_as_they_are(document: Any) -> None:
    assert loads(json.dumps(document)) == document
    assert loads(b"\xef\xbb\xbf" + json.dumps(document, ensure_ascii=False).encode()) == document


@given(st.binary())
def test_any_bytes_are_a_document_or_a_value_error(data: bytes) -> None:
    try:
        document = loads(data)
    except ValueError:
        return
    json.dumps(document, ensure_ascii=False).encode()
