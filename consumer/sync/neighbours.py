"""Neighbours: which mailboxes of a site to ask when one of them is refused."""

from typing import Final

from consumer.domain.bounded_dict import BoundedDict

ANSWERED: Final = 10
"""How many addresses that answered most recently are kept for each site."""
OTHERS: Final = 10
"""How many refused addresses are kept for each site, the most recent ones, and how many untried ones."""
ASKED: Final = 3
"""How many other mailboxes are asked when one is refused."""


class Neighbours:
    """A few addresses of one site, the likeliest to answer first. Holds at most ``ANSWERED + 2 * OTHERS``."""

    def __init__(self) -> None:
        # Dicts as ordered sets: the newest is last.
        self._answered: BoundedDict[str, None] = BoundedDict(ANSWERED)
        self._untried: BoundedDict[str, None] = BoundedDict(OTHERS)
        self._refused: BoundedDict[str, None] = BoundedDict(OTHERS)
        self._turn = 0

    def answered(self, address: str) -> None:
        """The mailbox has just answered."""
        self._untried.pop(address, None)
        self._refused.pop(address, None)
        self._answered[address] = None

    def refused(self, address: str) -> None:
        """The mailbox has just been refused."""
        self._answered.pop(address, None)
        self._untried.pop(address, None)
        self._refused[address] = None

    def met(self, address: str) -> None:
        """The mailbox exists; it is not known how it answers."""
        if address not in self._answered and address not in self._refused:
            self._untried[address] = None

    def has_answered(self, address: str) -> bool:
        """Whether the mailbox answered when it was last asked."""
        return address in self._answered

    def besides(self, address: str) -> list[str]:
        """Up to ``ASKED`` other addresses, the likeliest to answer first."""
        return [other for other in self._all() if other != address][:ASKED]

    def to_probe(self) -> list[str]:
        """Addresses to try a suspended site with: the likeliest ones, and in turn a few of the others.

        Mailboxes that answered recently may have been deleted since, so every known address has its turn.
        """
        known = self._all()
        first, rest = known[:ASKED], known[ASKED:]
        if not rest:
            return first
        self._turn = (self._turn + ASKED) % len(rest)
        return first + (rest[self._turn :] + rest[: self._turn])[:ASKED]

    def _all(self) -> list[str]:
        return [*reversed(self._answered), *reversed(self._untried), *reversed(self._refused)]
