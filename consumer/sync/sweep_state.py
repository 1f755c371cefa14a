"""What is known of a site's sweeps, by every replica and command."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SweepState:
    """What the last sweeps of a site found; kept in Redis. ``None``: not known, or not to be changed."""

    succeeded_at: float | None = None
    """Unix time of the last complete sweep with nothing held, on Redis's clock."""
    held: int | None = None
    """Deletions that the fuse holds."""
    unavailable: int | None = None
    """Mailboxes that were unavailable in the last complete sweep."""
