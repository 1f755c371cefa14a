"""The oracle's text functions: one-line fields, the lines of an HTML body, and texts that were cut."""

import unicodedata
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from typing import Final

BODY_LIMIT: Final = 32_000
"""The most characters of an event's body."""

_CUT = "…"
_SLACK = 16
"""UTF-16 units that may be missing before a cut: a character that would be split, or trimmed white space."""
_BODY_SLACK = 1_000
"""The same for a body, where markup of unknown length may count too."""
_BREAKING = frozenset({"br", "p", "div", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4", "pre", "hr"})
_UNSEEN = frozenset({"head", "style", "script", "title"})


def one_line(text: str | None) -> str:
    """Returns the text on one line, trimmed. Control characters, line breaks and runs of space become one space."""
    if not text:
        return ""
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text)
    return " ".join(text.split())


def units(text: str) -> int:
    """Returns the text's length in UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, limit: int) -> str:
    """Returns the text, cut to `limit` UTF-16 units if it is longer. The cut text ends with `…`."""
    if units(text) <= limit:
        return text
    kept = text[: limit - 1]
    while units(kept) > limit - 1:
        kept = kept[:-1]
    return kept + _CUT


def line_agrees(wanted: str, actual: str, limit: int) -> bool:
    """Returns whether a line is the wanted one. `wanted` is cut to `limit` UTF-16 units, `actual` possibly earlier."""
    line = one_line(actual)
    if line == wanted:
        return True
    was_cut = wanted.endswith(_CUT) and units(wanted) + 2 > limit and line.endswith(_CUT)
    return was_cut and wanted.startswith(line[:-1].rstrip()) and units(line) >= limit - _SLACK


def body_agrees(wanted: Sequence[str], actual: Sequence[str]) -> bool:
    """Returns whether a body's lines are the wanted ones, or are correctly cut if they are too long."""
    whole, text = "\n".join(wanted), "\n".join(actual)
    if len(text) > BODY_LIMIT:
        return False
    if whole == text:
        return True
    was_cut = _html_size(whole) > BODY_LIMIT - _BODY_SLACK and text.endswith(_CUT)
    return was_cut and whole.startswith(text[:-1].rstrip()) and _html_size(text) >= BODY_LIMIT - _BODY_SLACK


def text_lines(html: str) -> list[str]:
    """Returns the lines that a reader of the HTML sees, without blank lines. Runs of space become one space."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return [line for line in map(one_line, "".join(reader.parts).split("\n")) if line]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag in _BREAKING:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen -= 1
        elif tag in _BREAKING:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data.replace("\n", " "))


def _html_size(text: str) -> int:
    """Estimates the length of the text as HTML, in UTF-16 units, with a `<br>` and some markup for each line."""
    return units(escape(text)) + 16 * (text.count("\n") + 1)
