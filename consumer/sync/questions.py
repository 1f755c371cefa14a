"""A sweep's questions to Core about single jobs: a few at a time, and none after the fuse has blown."""

import asyncio
from collections.abc import Iterable
from typing import Final

from consumer.domain.distinct import Distinct
from consumer.domain.errors import InvalidRecordError
from consumer.domain.fuse import is_blown
from consumer.domain.job import Job
from consumer.domain.mailbox import Mailbox
from consumer.sync.report import Report
from consumer.sync.sweep_ports import ScheduleSource, ServedSites

QUESTIONS_AT_ONCE: Final = 4
"""How many single jobs Core is asked for at a time, for one site."""


class UnansweredError(Exception):
    """Nothing follows for the job: Core was not asked, because the fuse has blown, or its row is unusable."""


class Questions:
    """Asks Core for single jobs, ``QUESTIONS_AT_ONCE`` at a time, and counts vanished jobs with an event to lose."""

    def __init__(self, core: ScheduleSource, sites: ServedSites, report: Report, *, allow_mass_delete: bool) -> None:
        self._core = core
        self._sites = sites
        self._report = report
        self.allow_mass_delete = allow_mass_delete
        self._room = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self.losing = Distinct()
        """Vanished jobs with an event to lose."""
        self.jobs = Distinct()
        """Jobs with an event in the window, as tags."""
        self.jobs_before = 0
        """The same as the last complete sweep counted them; set when one mailbox alone is swept."""
        self.left: set[str] = set()
        """Jobs whose marks stay for the next sweep: Core's answer is missing, they were handed over again, or Graph
        refuses their events. At most as many as there are marks and unlisted jobs."""

    @property
    def is_fuse_blown(self) -> bool:
        """Whether too many jobs have vanished at once, so that they keep their events."""
        return not self.allow_mass_delete and is_blown(len(self.losing), max(len(self.jobs), self.jobs_before))

    async def job(self, site_id: str, job_id: str, holders: Iterable[Mailbox]) -> Job | None:
        """Ask Core for a job, also at the other sites that have its event: it may have moved there.

        A site that has left the sites file is not asked for: Core may not know it any more either.

        Raises:
            UnansweredError: nothing follows for the job in this sweep.
            CoreUnavailableError: a failed read.
        """
        others = {mailbox.site for mailbox in holders if self._sites.get(mailbox.site)} - {site_id}
        async with self._room:
            for asked in (site_id, *sorted(others)):
                if self.is_fuse_blown:
                    self.left.add(job_id)
                    raise UnansweredError
                try:
                    job = await self._core.job(asked, job_id)
                except InvalidRecordError as error:
                    # An unusable row affects no other job. The job's events and marks stay.
                    self._report.unusable += 1
                    self.left.add(job_id)
                    raise UnansweredError from error
                if job is not None:
                    return job
        return None
