"""Mailboxes: a calendar email of a site."""

from typing import NamedTuple

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
    """The form in which addresses are compared everywhere; ``None`` for a blank one.

    Only ASCII letters are folded: a full Unicode case fold would unite addresses that Exchange holds apart.
    """
    if address is None:
        return None
    return address.strip().translate(_ASCII_LOWER) or None
