"""The fuse: a table wiped or restored is not a thousand cancellations."""

from typing import Final

JOBS: Final = 20
SHARE: Final = 0.3


def is_blown(vanished: int, jobs: int) -> bool:
    """Whether too many of a site's jobs vanished at once, and would lose their events, to believe Core.

    Args:
        vanished: jobs that are gone from Core and have an event to lose: one that is linked or seen, and not past.
            A job with 200 workers is one job.
        jobs: all jobs of the site with an event in the window.
    """
    return vanished > JOBS and vanished > SHARE * jobs
