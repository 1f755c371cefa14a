"""What an operator sees of a site."""

from dataclasses import dataclass

from consumer.domain.site import Site


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """A site as operators see it."""

    site: Site
    paused_since: float | None
    """Unix time."""
    events: int
    """Jobs with an event in the window, as the last complete sweep found them."""
    parked: int
    """Mailboxes."""
    dirty: int
    """Assignments that wait for a sweep."""
