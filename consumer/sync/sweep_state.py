"""What is known of a site's sweeps, whichever replica or command did them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SweepState:
    """What the last sweeps of a site found; kept in Redis."""

    succeeded_at: float = 0.0
    """Unix time of the last complete sweep with nothing held; 0 if there was none."""
    held: int = 0
    """Deletions that the fuse held in the last complete sweep."""
    unavailable: int = 0
    """Mailboxes that were unavailable in the last complete sweep."""
