"""JSON from outside: one document never fails because of one text in it."""

import json
from typing import Any, Final, NoReturn

import orjson

_LONGEST_INTEGER: Final = 20
"""Digits of the longest 64-bit integer, its sign included; orjson reads longer ones as floats too."""


class BrokenText(str):
    """A text that came broken: it held half of a surrogate pair, or bytes that are not UTF-8.

    The broken characters are shown escaped (``\\ud83d``), so that it can be hashed, logged and sent like any text.
    A reader for whom the exact text matters asks ``type(value) is str``.
    """

    __slots__ = ()


def loads(data: bytes | str) -> Any:
    """The document in ``data``.

    JSON's grammar allows ``"\\ud83d"``, half of a surrogate pair, which programs write that cut texts after N UTF-16
    units (RFC 8259, section 8.2); strict parsers refuse the whole document. Here such a text, and one whose bytes are
    not UTF-8, becomes a :class:`BrokenText`; everything else in the document is read as usual. A byte-order mark and
    NULs around the document, control characters inside texts, and UTF-16 are accepted too.

    Raises:
        ValueError: this is not one whole JSON document, or it is nested too deep. The message quotes nothing of it.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return _marked(_lenient(_text(data)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a JSON document: {type(error).__name__}") from None


def _text(data: bytes | str) -> str:
    if isinstance(data, bytes):
        encoding = json.detect_encoding(data)
        # Bytes that are not UTF-8 become lone surrogates, which mark their text as broken.
        data = data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass")
    return data.strip("\ufeff\x00 \t\r\n")


def _lenient(text: str) -> Any:
    return json.loads(text, strict=False, parse_int=_integer, parse_constant=_refused)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _refused(_constant: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _marked(value: Any) -> Any:
    """``value`` with every text that cannot be encoded replaced by a :class:`BrokenText`."""
    if isinstance(value, str):
        return _whole_or_broken(value)
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, dict):
        return {_whole_or_broken(key): _marked(item) for key, item in value.items()}
    return value


def _whole_or_broken(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return BrokenText(text.encode(errors="backslashreplace").decode())
    return text
