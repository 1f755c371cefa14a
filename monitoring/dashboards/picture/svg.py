"""A small writer of SVG, and the colours: each has one for light and one for dark pages."""

from typing import Final
from xml.sax.saxutils import escape, quoteattr

COLOURS: Final = {
    "canvas": ("#f3f4f6", "#0f1115"),
    "panel": ("#ffffff", "#181b1f"),
    "border": ("#dfe3e8", "#2a2f36"),
    "grid": ("#e9ecf0", "#262b31"),
    "text": ("#24292f", "#d5d9e0"),
    "muted": ("#667080", "#8b94a3"),
    "green": ("#1a7f4b", "#3fb072"),
    "red": ("#cf222e", "#f4646c"),
    "orange": ("#bc5a10", "#f0883e"),
    "yellow": ("#946800", "#e3b341"),
    "blue": ("#2f6fd0", "#6ea8fe"),
    "grey": ("#667080", "#8b94a3"),
}
"""Of lines and texts, by name: on light and on dark ground."""
TILES: Final = {
    "green": "#207a4c",
    "red": "#c4262e",
    "orange": "#c4620f",
    "yellow": "#9a7200",
    "blue": "#3466b0",
    "grey": "#6b7280",
    "text": "#3466b0",
}
"""Of the grounds of numbers: white text can be read on them."""
LINES: Final = ("#3b82f6", "#e09112", "#22a06b", "#d6569f", "#8b5cf6", "#0ea5b7", "#e5484d", "#8b949e")
FONT: Final = "-apple-system,BlinkMacSystemFont,'Segoe UI',Inter,Roboto,'Helvetica Neue',Arial,sans-serif"


def _rules(which: int) -> str:
    return "".join(
        f".f-{name}{{fill:{pair[which]}}}.s-{name}{{stroke:{pair[which]}}}" for name, pair in COLOURS.items()
    )


def style() -> str:
    """The style sheet."""
    return f"<style>text{{font-family:{FONT}}}{_rules(0)}@media (prefers-color-scheme:dark){{{_rules(1)}}}</style>"


def number(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".removesuffix(".0")


def element(name: str, /, inside: str | None = None, **attributes: object) -> str:
    """An element: ``class_`` stands for ``class``, and an underscore within a name for a hyphen."""
    parts = [name]
    for key, value in attributes.items():
        shown = number(value) if isinstance(value, float) else str(value)
        parts.append(f"{key.rstrip('_').replace('_', '-')}={quoteattr(shown)}")
    opening = " ".join(parts)
    return f"<{opening}/>" if inside is None else f"<{opening}>{inside}</{name}>"


def label(x: float, y: float, text: str, size: int, room: float, /, **attributes: object) -> str:
    """A line of text that is cut to the room that it has."""
    return element("text", escape(cut(text, size, room)), x=float(x), y=float(y), font_size=size, **attributes)


def width_of(text: str, size: float) -> float:
    """About how wide a text is."""
    narrow = sum(character in "iljtfrI.,:;'|!() " for character in text)
    wide = sum(character in "mwMW@%" for character in text)
    return size * (0.57 * (len(text) - narrow - wide) + 0.32 * narrow + 0.87 * wide)


def cut(text: str, size: float, room: float) -> str:
    """A text that fits into the room."""
    if width_of(text, size) <= room:
        return text
    while text and width_of(text + "…", size) > room:
        text = text[:-1]
    return text.rstrip() + "…"
