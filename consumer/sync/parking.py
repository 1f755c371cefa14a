"""Why a mailbox is parked."""

from dataclasses import dataclass, field
from typing import Final

BY_HAND: Final = "parked by hand"
"""The code of mailboxes that an operator parked."""


@dataclass(frozen=True, slots=True)
class Parking:
    """Why a mailbox must not be tried."""

    code: str
    """Graph's, or ``BY_HAND``."""
    hourly: bool
    """It is still tried every hour."""
    since: float = field(default=0.0, compare=False)
    """Unix time on the store's clock."""
    note: str = ""
    """The reason that the operator who parked it gave."""
