"""The fuse: a table wiped or restored is not a thousand cancellations."""

from typing import Final

JOBS: Final = 20
SHARE: Final = 0.3


def is_blown(vanished: int, jobs: int) -> bool:
    """Whether so many of a site's jobs would lose their events, because they vanished, that Core may be wrong.

    Args:
        vanished: jobs that are gone from Core and have an event to lose: one that is linked or seen, and not past.
            A job with 200 workers is one job.
        jobs: all jobs of the site with an event in the window.
    """
    return vanished > JOBS and vanished > SHARE * jobs
