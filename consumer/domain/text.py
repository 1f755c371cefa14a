"""Text as calendars show it: one-line values, cuts that split no character, HTML read back as lines."""

import re
from html.parser import HTMLParser

ELLIPSIS = "…"
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_BREAKS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "body",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ]
)
_UNSHOWN = frozenset(("head", "script", "style", "title"))


def one_line(value: str | None, *, breaks: str = " ") -> str:
    """``value`` on one line: control characters and runs of space become one space, breaks become ``breaks``."""
    if not value:
        return ""
    lines = (_BLANKS.sub(" ", line).strip() for line in _BREAKS.split(value))
    return breaks.join(line for line in lines if line)


def lines_of(value: str | None) -> list[str]:
    """The lines of a text whose breaks are kept; blank lines at its ends are not."""
    if not value:
        return []
    lines = [_BLANKS.sub(" ", line).strip() for line in _BREAKS.split(value)]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def cut_utf16(value: str, limit: int) -> str:
    """``value`` in at most ``limit`` UTF-16 code units, the closing ``…`` included."""
    if len(value) * 2 <= limit or _units(value) <= limit:
        return value
    room = limit - _units(ELLIPSIS)
    kept = []
    for character in value:
        room -= _units(character)
        if room < 0:
            break
        kept.append(character)
    return "".join(kept) + ELLIPSIS


def _units(value: str) -> int:
    return len(value.encode("utf-16-le")) // 2


class _Lines(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 (the parser's signature)
        if tag in _UNSHOWN:
            self._hidden += 1
        if tag == "body":
            self._hidden = 0  # a head may be left unclosed
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSHOWN and self._hidden:
            self._hidden -= 1
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            # A break in HTML's source is a space on the page; only elements break lines.
            self.parts.append(_BLANKS.sub(" ", data))

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        # Browsers take every <![…]> for a comment; the parser knows some and raises AssertionError for the rest.
        return self.parse_bogus_comment(i, report)


def html_lines(html: str) -> tuple[str, ...]:
    """What a person reads in ``html``, line by line, without blank lines.

    Graph wraps and re-breaks the bodies it is given, so bodies are compared by this and never by their source
    (microsoft-graph-docs#8215, OutlookGoogleCalendarSync#2269).
    """
    parser = _Lines()
    parser.feed(html)
    parser.close()
    lines = (_BLANKS.sub(" ", line).strip() for line in "".join(parser.parts).split("\n"))
    return tuple(line for line in lines if line)
