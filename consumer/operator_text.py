"""Text that people and their tools write: settings, secrets and files, with the marks that editors leave in them."""

import codecs
import re
from pathlib import Path
from typing import Final

_ENCODINGS: Final = (
    # UTF-32's mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """``text`` without what tools add around it: white space, a final newline, a byte-order mark."""
    before = None
    while text != before:
        before, text = text, text.strip().strip("\ufeff")
    return text


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark as Windows' tools write it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is neither. The message names no content.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


def read_secret(path: Path) -> str:
    """The one secret that a file holds, cleaned.

    Raises:
        OSError: it cannot be read.
        ValueError: it is empty, holds more than one line, or is not text. The message names no content.
    """
    secret = clean(read_text(path))
    if not secret:
        raise ValueError("is empty")
    require_one_line(secret)
    return secret


def require_one_line(text: str) -> None:
    """Raises ``ValueError`` for control characters or line breaks inside ``text``, and for broken characters."""
    if _CONTROL.search(text):
        raise ValueError("must not hold control characters or line breaks")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8 text") from None
