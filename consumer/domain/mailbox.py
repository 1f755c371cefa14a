"""Mailboxes: a calendar email of a site."""

import unicodedata
from typing import Final, NamedTuple

LONGEST_ADDRESS: Final = 320
"""Characters: 64 before the @ and 255 behind it (RFC 3696, erratum 1690)."""
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of control, format and surrogate characters, and of line separators."""
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Mailbox(NamedTuple):
    """One calendar email of one site; the unit of ordering, of leases and of lanes."""

    site: str
    address: str
    """Trimmed and ASCII-lower-cased, see :func:`normalise`."""

    def __str__(self) -> str:
        return f"{self.site}/{self.address}"

    @classmethod
    def parse(cls, text: str) -> "Mailbox":
        """The inverse of ``str``: a site id never holds a slash, so the first one divides."""
        site, _, address = text.partition("/")
        return cls(site, address)


def normalise(address: str | None) -> str | None:
    """The form in which addresses are compared everywhere: trimmed and ASCII-lower-cased; ``None`` for a blank one.

    Trimmed of what Unicode calls white space, as pasted addresses have it at their ends (tab, line break, no-break
    space). Zero-width characters are not white space: see :func:`is_usable`. Only ASCII letters are folded: a full
    Unicode case fold would unite addresses that Exchange holds apart.
    """
    if address is None:
        return None
    return lowered(address.strip()) or None


def lowered(text: str) -> str:
    """``text`` with A to Z lower-cased, and no other letter."""
    return text.translate(_ASCII_LOWER)


def is_usable(address: str) -> bool:
    """Whether any mailbox can have this address, once it is trimmed; ask of the address *as it came*.

    No mailbox has an address with a control character or an invisible format character inside (a tab, a zero-width
    space, a byte-order mark, a soft hyphen), with characters that came broken, or of more than ``LONGEST_ADDRESS``
    characters. Such an address says nothing about which mailbox is meant: repairing it would be a guess, and a wrong
    guess shows one person's work to another. Everything else is for Graph to judge, a space inside too: it refuses
    the address, and `calsync mailbox list` then shows it as parked, with the reason.
    """
    trimmed = address.strip()
    if type(address) is not str or len(trimmed) > LONGEST_ADDRESS:  # a BrokenText has a type of its own
        return False
    if trimmed.isascii():
        return trimmed.isprintable()
    return "\N{REPLACEMENT CHARACTER}" not in trimmed and _INVISIBLE.isdisjoint(map(unicodedata.category, trimmed))
