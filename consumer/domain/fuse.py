"""The fuse: a wiped or restored table must not count as a thousand cancellations."""

from typing import Final

JOBS: Final = 20
"""Up to this many vanished jobs are always believed."""
SHARE: Final = 0.3
"""Up to this share of a site's jobs is always believed, however many they are."""


def is_blown(vanished: int, jobs: int) -> bool:
    """Whether too many of a site's jobs vanished at once for Core to be believed. Their events are then kept.

    Args:
        vanished: jobs that Core does not have any more and that have an event to lose: linked or seen, and not past.
            A job with 200 workers is one job.
        jobs: all jobs of the site with an event in the window.
    """
    return vanished > JOBS and vanished > SHARE * jobs
