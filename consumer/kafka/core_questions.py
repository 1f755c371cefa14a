"""Questions to Core for the jobs of records that lack values; trouble with one site keeps no other waiting."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from consumer.domain.errors import CoreUnavailableError
from consumer.domain.job import Job

_AT_ONCE: Final = 4
"""Questions on their way for one site. Over all sites there are at most as many as partitions held: each asks one."""
_REST_SECONDS: Final = 10.0
"""After Core gave no answer for a site, it is not asked about that site for this long."""


class JobSource(Protocol):
    """Where a job's whole state can be read."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """The job, or ``None`` if Core has none. Raises ``CoreUnavailableError`` or ``InvalidRecordError``."""


@dataclass(slots=True)
class _Site:
    """The questions for one site."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    asking: int = 0
    """Questions that are on their way or wait for a slot."""
    rests_until: float = 0.0
    """On the monotonic clock."""


class CoreQuestions:
    """Asks Core for single jobs, each site on its own: a few at a time, and none while Core gives no answer for it."""

    def __init__(self, core: JobSource) -> None:
        self._core = core
        self._sites: dict[str, _Site] = {}
        """Bounded by the sites that the sites file names, as only they are asked about. One that neither asks nor
        rests is dropped when another is added."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """The job as Core has it, or ``None`` if Core has none.

        Raises:
            CoreUnavailableError: Core gives no answer; at once if it gave none for this site a moment ago.
            InvalidRecordError: Core's row says something impossible.
        """
        site = self._of(site_id)
        site.asking += 1
        try:
            async with site.slots:
                if time.monotonic() < site.rests_until:
                    raise CoreUnavailableError("Core gave no answer for this site a moment ago")
                try:
                    return await self._core.job(site_id, job_id)
                except CoreUnavailableError:
                    site.rests_until = time.monotonic() + _REST_SECONDS
                    raise
        finally:
            site.asking -= 1

    def _of(self, site_id: str) -> _Site:
        site = self._sites.get(site_id)
        if site is None:
            now = time.monotonic()
            self._sites = {known: each for known, each in self._sites.items() if each.asking or now < each.rests_until}
            site = self._sites[site_id] = _Site()
        return site
