"""Trouble: why a site is suspended, and how its end is recognised."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain.errors import SiteRefusedError
from consumer.sync.ports import Asks
from consumer.sync.refusals import is_same_code

BEGINNING_SECONDS: Final = 900.0
"""A shared trouble is recognised only some time after it has begun. Mailboxes that were parked for it up to this long
before are enabled when it is over."""
RECOVERY_SECONDS: Final = 3600.0
"""For how long after a trouble its code parks a mailbox for an hour only: mailboxes come back one after another."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a site is, or was, suspended. Times are in seconds on the loop's clock."""

    fault: SiteRefusedError
    began: float
    """The earliest that its first refusals may have come."""
    asks: Asks
    """What a mailbox must answer to show that the trouble is over."""
    codes: tuple[str, ...]
    """Every code that Graph or Entra has answered with."""
    ended: float | None = None

    def is_named(self, code: str) -> bool:
        """Whether Graph or Entra has answered with this code."""
        return any(is_same_code(code, known) for known in self.codes)

    def has_parked(self, code: str, parked_at: float) -> bool:
        """Whether a mailbox that was parked for this code at this time was parked for this trouble."""
        return parked_at >= self.began and self.is_named(code)

    def is_recent(self, code: str) -> bool:
        """Whether the trouble had this code, and has ended less than ``RECOVERY_SECONDS`` ago."""
        return self.ended is not None and self.is_named(code) and loop_time() - self.ended < RECOVERY_SECONDS

    def with_fault(self, fault: SiteRefusedError) -> "Trouble":
        """The same trouble, refused for another reason by now."""
        return replace(self, fault=fault, codes=tuple(dict.fromkeys((*self.codes, fault.code))))


def loop_time() -> float:
    """Seconds on the running event loop's clock."""
    return asyncio.get_running_loop().time()
