"""Questions to Core about the jobs of incomplete records. A site without an answer does not delay the others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from consumer.domain.errors import CoreUnavailableError
from consumer.domain.job import Job

_AT_ONCE: Final = 4
"""The most questions under way for one site. A partition asks one at a time, which bounds them over all sites."""
REST_SECONDS: Final = 10.0
"""If Core did not answer for a site, it is not asked about that site for this long."""


class JobSource(Protocol):
    """Where a job's complete state can be read."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """The job, or ``None`` if Core has none. Raises ``CoreUnavailableError`` or ``InvalidRecordError``."""


@dataclass(slots=True)
class _Site:
    """The questions for one site."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    asking: int = 0
    """Questions that are under way or wait for a slot."""
    rests_until: float = 0.0
    """On the monotonic clock."""


class CoreQuestions:
    """Asks Core for single jobs: up to four at a time for each site, and none for a site without a recent answer."""

    def __init__(self, core: JobSource, monotonic: Callable[[], float]) -> None:
        self._core = core
        self._monotonic = monotonic
        self._sites: dict[str, _Site] = {}
        """At most one for each site in the sites file, because only they are asked about. A site without questions and
        without a rest is dropped when another one is added."""

    async def job(self, site_id: str, job_id: str) -> Job | None:
        """The job as Core has it, or ``None`` if Core has none.

        Raises:
            CoreUnavailableError: Core does not answer, or did not answer for this site a moment ago.
            InvalidRecordError: the values of Core's row are impossible.
        """
        site = self._of(site_id)
        site.asking += 1
        try:
            async with site.slots:
                if self._monotonic() < site.rests_until:
                    raise CoreUnavailableError("Core did not answer for this site a moment ago")
                try:
                    return await self._core.job(site_id, job_id)
                except CoreUnavailableError:
                    site.rests_until = self._monotonic() + REST_SECONDS
                    raise
        finally:
            site.asking -= 1

    def _of(self, site_id: str) -> _Site:
        site = self._sites.get(site_id)
        if site is None:
            now = self._monotonic()
            self._sites = {
                known: state for known, state in self._sites.items() if state.asking or now < state.rests_until
            }
            site = self._sites[site_id] = _Site()
        return site
