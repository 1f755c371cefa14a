"""Site probes: suspended sites are tried until one of their mailboxes answers."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from consumer.domain.errors import ForbiddenError, SiteRefusedError, TransientError
from consumer.domain.site import Site
from consumer.sync.mailbox_answers import served_answer_of
from consumer.sync.neighbours import Neighbours
from consumer.sync.ports import Calendars
from consumer.sync.refusals import Refusal, shared
from consumer.sync.trouble import Trouble

log = structlog.get_logger(__name__)

PROBE_SECONDS: Final = 60.0
_PROBES_AT_ONCE: Final = 100
"""How many suspended sites are probed at once."""


class SuspendedSites(Protocol):
    """What probing needs of the sites."""

    def get(self, site_id: str) -> Site | None:
        """The site, or ``None`` if the sites file does not name it."""

    def suspended_now(self) -> Mapping[str, Trouble]:
        """The suspended sites by id, and why."""

    def still_refused(self, site_id: str, fault: SiteRefusedError) -> None:
        """The site is still refused, perhaps for another reason by now."""

    def resume(self, site_id: str) -> None:
        """Serve the site again."""


class SiteProbes:
    """Probes suspended sites, up to ``_PROBES_AT_ONCE`` at a time."""

    def __init__(self, sites: SuspendedSites, neighbours: Mapping[str, Neighbours], calendars: Calendars) -> None:
        """``neighbours`` must have an entry for every suspended site, or make it."""
        self._sites = sites
        self._neighbours = neighbours
        self._calendars = calendars
        self._try_now = asyncio.Event()

    def try_now(self) -> None:
        """Probe at once, not only when the minute is over."""
        self._try_now.set()

    async def run(self) -> None:
        """Probe suspended sites every minute, and whenever :meth:`try_now` was called. Never returns."""
        room = asyncio.Semaphore(_PROBES_AT_ONCE)

        async def probe(site_id: str) -> None:
            async with room:
                try:
                    await self.probe(site_id)
                except Exception as error:
                    # One site's probe must not end the others'.
                    log.critical("unexpected error in a probe", site=site_id, exc_info=error)

        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._try_now.wait(), PROBE_SECONDS)
            self._try_now.clear()
            async with asyncio.TaskGroup() as probes:
                for site_id in list(self._sites.suspended_now()):
                    probes.create_task(probe(site_id))

    async def probe(self, site_id: str) -> None:
        """Resume the site if one of its mailboxes answers everything that was refused."""
        site, trouble = self._sites.get(site_id), self._sites.suspended_now().get(site_id)
        if site is None or trouble is None:
            return
        addresses: list[str | None] = [*self._neighbours[site_id].to_probe()]
        answers: list[Refusal | TransientError] = []
        for number, address in enumerate(addresses or [None]):
            try:
                answer = await served_answer_of(self._calendars, site, address, trouble.asks, fresh=number == 0)
            except SiteRefusedError as fault:
                self._sites.still_refused(site_id, fault)
                return
            if answer is None and self._sites.get(site_id) is site:
                self._sites.resume(site_id)
                return
            if isinstance(answer, TransientError) and answer.tenant_wide:
                return
            if answer is not None:
                answers.append(answer)
        refused = [answer for answer in answers if isinstance(answer, ForbiddenError) and answer.token]
        if refused and len(refused) == len(answers):
            # Entra issues tokens again, and no mailbox accepts them.
            self._sites.still_refused(site_id, shared(refused[0], ()))
