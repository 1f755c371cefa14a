"""Rewrites an event's body as Exchange does (docs/facts/graph.md 1.9)."""

import html
import re
from itertools import count

_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|li|tr|h[1-6])\s*>", re.IGNORECASE)
_INVISIBLE = re.compile(r"<(?:!--.*?--|(style|script|head|title)\b.*?</\1\s*)>", re.IGNORECASE | re.DOTALL)
_SCRIPT = re.compile(r"<script\b.*?</script\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_SPACE = re.compile(r"[ \t\r\n\f]+")
_NEWLINE = re.compile(r"\r\n|\r|\n")
_SLASHED_BREAK = re.compile(r"<br\s*/>", re.IGNORECASE)
_BODY = re.compile(r"<body\b[^>]*>(.*)</body\s*>", re.IGNORECASE | re.DOTALL)

_META = '<meta http-equiv="Content-Type" content="text/html; charset=utf-8">\r\n'
_CONVERTED = (
    '<meta name="Generator" content="Microsoft Exchange Server">\r\n<!-- converted from text -->\r\n'
    "<style><!-- .EmailQuote { margin-left: 1pt; padding-left: 4pt; border-left: #800000 2px solid; } --></style>"
    "\r\n"
)
_HEADS = {"minimal": "", "converted-text": _CONVERTED}
_BANNER = '<div style="color:#9C6500">CAUTION: this item was made outside of your organisation.</div>\n'
_NUMBERS = count(1)


def stored(kind: str, content: str, style: str) -> str:
    """Returns the html that is stored for a body. `kind` is text or html; `style` is one of Switches.body_style."""
    if kind == "text":
        content = _NEWLINE.sub("<br>\n", html.escape(content, quote=False))
    if style == "none":
        return content
    inner = _BODY.search(content) if "<" in content else None
    inside = inner[1].strip("\r\n") if inner else content
    inside = _NEWLINE.sub("\r\n", _rewritten(inside, style))
    return f"<html>\r\n<head>\r\n{_HEADS.get(style, _META)}</head>\r\n<body>\r\n{inside}\r\n</body>\r\n</html>\r\n"


def _rewritten(inside: str, style: str) -> str:
    """Returns the content of the body element, rewritten."""
    if style == "joined":
        return f"<p>{html.escape(' '.join(to_text(inside).split()), quote=False)}</p>"
    if style == "strange":
        lines = (html.escape(line, quote=False) for line in to_text(inside).split("\r\n"))
        return "\n".join(f'<div class="x"><span>{line or "&nbsp;"}</span></div>' for line in lines)
    if "&" in inside:
        inside = _ENTITY.sub(_respelled, inside)
    inside = _SLASHED_BREAK.sub("<br>", _SCRIPT.sub("", inside))
    if style == "banner":
        return _BANNER + inside
    if style == "stamped":
        return f"{inside}<br>Item {next(_NUMBERS)}"
    return inside


def to_text(content: str) -> str:
    """Returns the text that a reader of the html sees, with CRLF line ends."""
    start = content.find("<body")
    visible = _SPACE.sub(" ", _INVISIBLE.sub("", content if start < 0 else content[start:]))
    lines = _TAG.sub("", _BREAK.sub("\n", visible)).split("\n")
    return html.unescape("\r\n".join([line.strip(" ") for line in lines])).strip("\r\n ")


def preview(content: str) -> str:
    """Returns the first 255 characters of the text. The first few thousand characters of a body contain them."""
    return to_text(content[:4000])[:255]


def _respelled(entity: re.Match[str]) -> str:
    """Rewrites an entity as Exchange does: only characters that must be escaped stay escaped."""
    char = html.unescape(entity[0])
    return {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\xa0": "&nbsp;"}.get(char, char)
