"""The fuse: a table wiped or restored is not a thousand cancellations."""

from typing import Final

EVENTS: Final = 20
SHARE: Final = 0.3


def is_blown(vanished: int, events: int) -> bool:
    """Whether so many of a site's events would go, because their jobs vanished, that Core may be wrong.

    Args:
        vanished: events whose jobs are gone from Core; past ones never count.
        events: all events of the site in the window.
    """
    return vanished > EVENTS and vanished > SHARE * events
