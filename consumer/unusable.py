"""Unusable input of Core's: rows and workers that are left out so that they harm nothing else, counted and logged."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, Protocol, get_args

import structlog

log = structlog.get_logger(__name__)

What = Literal["row", "worker", "address"]
"""A job's row; a worker's entry without a readable calendar email; a calendar email that no mailbox can have."""
KINDS: Final = get_args(What)
_QUIET_SECONDS: Final = 60.0
_REMEMBERED: Final = 3000
"""Sites and kinds: records may name sites that nobody knows."""


class Found(Protocol):
    """Is called for each unusable input: the site, what it is, why, and the ids of the job or worker."""

    def __call__(self, site_id: str, what: What, reason: str, /, **where: str | None) -> None:
        """``reason`` and ``where`` hold nothing of the content."""


class Unusable:
    """Counts unusable input. Logs it at most once a minute for each site and kind, with the number met since."""

    def __init__(self, count: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """``count`` is called once for each, with its kind."""
        self._count = count
        self._clock = clock
        self._logged_at: dict[tuple[str, What], float] = {}
        self._since: Counter[tuple[str, What]] = Counter()

    def found(self, site_id: str, what: What, reason: str, /, **where: str | None) -> None:
        """See :class:`Found`."""
        self._count(what)
        if len(self._logged_at) >= _REMEMBERED:
            self._logged_at.clear()
            self._since.clear()
        self._since[site_id, what] += 1
        now = self._clock()
        if now - self._logged_at.get((site_id, what), float("-inf")) >= _QUIET_SECONDS:
            self._logged_at[site_id, what] = now
            count = self._since.pop((site_id, what))
            log.warning("unusable input of Core", site=site_id, what=what, reason=reason, count=count, **where)


def ignore(_site_id: str, _what: What, _reason: str, /, **_where: str | None) -> None:
    """For those who report unusable input in another way."""
