"""Calendar emails as people paste them, and what each of the readers makes of them: one table for all of them."""

from typing import Final, NamedTuple

from consumer.json_reader import BrokenText


class Pasted(NamedTuple):
    """A calendar email as it stands in Core, and what it is."""

    email: str
    address: str | None
    """Of the mailbox; ``None`` if it is blank."""
    usable: bool = True


PASTED: Final = {
    "plain": Pasted("ann@acme.example", "ann@acme.example"),
    "capitals": Pasted("Ann@ACME.Example", "ann@acme.example"),
    "spaces": Pasted("  ann@acme.example ", "ann@acme.example"),
    "leading tab": Pasted("\tann@acme.example", "ann@acme.example"),
    "trailing tab": Pasted("ann@acme.example\t", "ann@acme.example"),
    "final newline": Pasted("ann@acme.example\n", "ann@acme.example"),
    "Windows newline": Pasted("ann@acme.example\r\n", "ann@acme.example"),
    "vertical tab and form feed": Pasted("\v\fann@acme.example", "ann@acme.example"),
    "no-break space": Pasted("\xa0ann@acme.example\xa0", "ann@acme.example"),
    "next line": Pasted("\x85ann@acme.example", "ann@acme.example"),
    "ogham space": Pasted("\u1680ann@acme.example", "ann@acme.example"),
    "em space": Pasted("\u2003ann@acme.example\u2009", "ann@acme.example"),
    "line separator": Pasted("ann@acme.example\u2028", "ann@acme.example"),
    "narrow no-break space": Pasted("\u202fann@acme.example", "ann@acme.example"),
    "ideographic space": Pasted("\u3000ann@acme.example", "ann@acme.example"),
    "all kinds of it": Pasted(" \t\xa0\u3000 ann@acme.example \u2029\r\n", "ann@acme.example"),
    "letters beyond ASCII keep their case": Pasted("ZOË@acme.example", "zoË@acme.example"),
    "Turkish i": Pasted("İIı@acme.example", "İiı@acme.example"),
    "Kelvin sign": Pasted("\u212a@acme.example", "\u212a@acme.example"),
    "an emoji": Pasted("ann😀@acme.example", "ann😀@acme.example"),
    "apostrophe, plus and quotes": Pasted('o\'neil+"x"@acme.example', 'o\'neil+"x"@acme.example'),
    "no address, but Graph judges that": Pasted("N/A", "n/a"),
    "empty": Pasted("", None),
    "blank": Pasted("  ", None),
    "blank but for SQL": Pasted("\t\n", None),
    "blank, no-break": Pasted("\xa0", None),
    "space inside": Pasted("ann @acme.example", "ann @acme.example"),
    "tab inside": Pasted("ann@\tacme.example", "ann@\tacme.example", usable=False),
    "newline inside": Pasted("ann@acme.example\nbob@acme.example", "ann@acme.example\nbob@acme.example", usable=False),
    "no-break space inside": Pasted("ann\xa0b@acme.example", "ann\xa0b@acme.example"),
    "zero-width space in front": Pasted("\u200bann@acme.example", "\u200bann@acme.example", usable=False),
    "zero-width space behind": Pasted("ann@acme.example\u200b", "ann@acme.example\u200b", usable=False),
    "zero-width space inside": Pasted("ann\u200b@acme.example", "ann\u200b@acme.example", usable=False),
    "zero-width joiner": Pasted("ann\u200d@acme.example", "ann\u200d@acme.example", usable=False),
    "word joiner": Pasted("ann@acme.example\u2060", "ann@acme.example\u2060", usable=False),
    "BOM in front": Pasted("\ufeffann@acme.example", "\ufeffann@acme.example", usable=False),
    "BOM behind, then a newline": Pasted("ann@acme.example\ufeff\n", "ann@acme.example\ufeff", usable=False),
    "soft hyphen": Pasted("ann\xad@acme.example", "ann\xad@acme.example", usable=False),
    "right-to-left mark": Pasted("\u200fann@acme.example", "\u200fann@acme.example", usable=False),
    "bell": Pasted("ann\x07@acme.example", "ann\x07@acme.example", usable=False),
    "backspace in front": Pasted("\x08ann@acme.example", "\x08ann@acme.example", usable=False),
    "delete": Pasted("ann@acme.example\x7f", "ann@acme.example\x7f", usable=False),
    "C1 control": Pasted("ann@acme.example\x9f", "ann@acme.example\x9f", usable=False),
    "NUL": Pasted("ann@acme.example\x00", "ann@acme.example\x00", usable=False),
    "replacement character": Pasted("ann\ufffd@acme.example", "ann\ufffd@acme.example", usable=False),
    "half a surrogate pair": Pasted("ann\ud83d@acme.example", "ann\ud83d@acme.example", usable=False),
    "half a pair, read from JSON": Pasted(
        BrokenText("ann\\ud83d@acme.example"), "ann\\ud83d@acme.example", usable=False
    ),
    "a zero-width space alone": Pasted("\u200b", "\u200b", usable=False),
    "too long": Pasted("a" * 308 + "@acme.example", "a" * 308 + "@acme.example", usable=False),
    "as long as can be": Pasted("a" * 307 + "@acme.example", "a" * 307 + "@acme.example"),
}

STORABLE: Final = {
    name: pasted
    for name, pasted in PASTED.items()
    if type(pasted.email) is str and not set(pasted.email) & {"\x00", "\ud83d"}
}
"""Those that a PostgreSQL can hold."""
