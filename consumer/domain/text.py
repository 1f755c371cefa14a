"""Text as calendars show it: one-line values, cuts that split no character, HTML read back as lines."""

import hashlib
import re
from collections.abc import Iterator
from html import unescape
from typing import Final

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
READ_LIMIT: Final = 1 << 19
"""Characters of HTML that are read; 16 times the longest body we write, since Exchange adds markup to each line."""
_REST_OF_TAG: Final = r"""(?: [^>"'=]++ | =\s*+ (?: "[^"]*+ (?:"|\Z) | '[^']*+ (?:'|\Z) )?+ | ["'] )*+ (?:>|\Z)"""
"""Attributes, up to the end of the tag; a ``>`` inside a quoted value does not end it."""
_TOKEN: Final = re.compile(
    rf"""
      (?P<text> [^<]++ | < (?![a-z/!?]) )
    | <!-- (?: -?> | .*? (?: --!?> | \Z ) )
    | < (?P<unshown> script | style | title ) (?= [\s/>] ) {_REST_OF_TAG} (?<!/>)
        .*? (?: </ (?P=unshown) (?= [\s/>] ) {_REST_OF_TAG} | \Z )
    | < (?P<closing> /? ) (?P<tag> [a-z][^\s/>]*+ ) {_REST_OF_TAG}
    | < [/!?] [^>]*+ >?+
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
"""One piece of HTML. The pieces of any text lie end to end and none is searched twice, so reading takes linear time."""
_LONG_NUMBER: Final = re.compile(r"&#([0-9]{8,});?")


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
    filled = [number for number, line in enumerate(lines) if line]
    return lines[filled[0] : filled[-1] + 1] if filled else []


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


def html_lines(html: str) -> tuple[str, ...]:
    """What a person reads in ``html``, line by line, without blank lines.

    Graph wraps and re-breaks the bodies it is given, so bodies are compared by this and never by their source
    (microsoft-graph-docs#8215, OutlookGoogleCalendarSync#2269).

    Time and memory are linear in the length: Python's own ``HTMLParser`` takes quadratic time for some inputs before
    3.13.15 (python/cpython#135462). HTML of more than ``READ_LIMIT`` characters is not a body that this service
    wrote. It is not read: one line with its hash stands for it, which equals no body that we write.
    """
    if len(html) > READ_LIMIT:
        return (f"\x00{len(html)} {hashlib.sha256(html.encode(errors='surrogatepass')).hexdigest()}",)
    lines = (_BLANKS.sub(" ", line).strip() for line in "".join(_shown(html)).split("\n"))
    return tuple(line for line in lines if line)


def pieces(html: str) -> Iterator[re.Match[str]]:
    """The pieces of ``html`` (texts, tags, comments) as browsers cut it: in order, without gap or overlap."""
    return _TOKEN.finditer(html)


def _shown(html: str) -> Iterator[str]:
    """The shown texts, with ``\\n`` where an element breaks the line."""
    in_head = False
    for piece in pieces(html):
        text, tag = piece["text"], piece["tag"]
        if text is not None:
            if not in_head:
                # A break in HTML's source is a space on the page; only elements break lines.
                yield _BLANKS.sub(" ", unescape(_LONG_NUMBER.sub(_short_number, text)))
        elif tag is not None:
            tag = tag.lower()
            if tag == "head":
                in_head = not piece["closing"] and not piece[0].endswith("/>")
            elif tag == "body":
                in_head = False  # a head may be left unclosed
            if tag in _BLOCKS:
                yield "\n"


def _short_number(reference: re.Match[str]) -> str:
    """A numeric reference that ``unescape`` can take: int() refuses numbers of thousands of digits."""
    digits = reference[1].lstrip("0")
    return f"&#{digits or '0'};" if len(digits) < 8 else "\N{REPLACEMENT CHARACTER}"
