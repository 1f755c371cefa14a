"""Which sites are served: known from the sites file, less those suspended by a fault or paused by hand."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from consumer.domain.errors import ForbiddenError, SiteRefusedError, TransientError
from consumer.domain.site import Site
from consumer.sync.ports import Calendars, Meter

log = structlog.get_logger(__name__)

PROBE_SECONDS = 60.0


class SiteStates:
    """The sites of this replica and their state. A suspended one is probed every minute until it answers."""

    def __init__(self, calendars: Calendars, meter: Meter, *, on_resumed: Callable[[str], None]) -> None:
        """``on_resumed`` is called with the site's id when it can be served again."""
        self._calendars = calendars
        self._meter = meter
        self._on_resumed = on_resumed
        self._sites: dict[str, Site] = {}
        self._suspended: dict[str, SiteRefusedError] = {}
        self._last_good: dict[str, str] = {}
        self._try_now = asyncio.Event()

    def replace(self, sites: dict[str, Site]) -> None:
        """Take a new sites file. Suspended sites are tried at once: what was wrong may be what changed."""
        self._sites = sites
        for site_id in list(self._suspended):
            if site_id not in sites:
                del self._suspended[site_id]
        for site_id in sites:
            self._meter.site_up(site_id, up=site_id not in self._suspended)
        self._try_now.set()

    def get(self, site_id: str) -> Site | None:
        """The site, or ``None`` if the sites file does not name it."""
        return self._sites.get(site_id)

    def served_now(self) -> list[Site]:
        """The sites that are not suspended."""
        return [site for site in self._sites.values() if site.site_id not in self._suspended]

    def suspended(self, site_id: str) -> SiteRefusedError | None:
        """Why the site is not served now."""
        return self._suspended.get(site_id)

    def served(self, site_id: str, address: str) -> None:
        """A mailbox of the site has just answered: the one to ask when another is forbidden."""
        self._last_good[site_id] = address

    def suspend(self, site_id: str, fault: SiteRefusedError) -> None:
        """Stop serving the site, and say so once."""
        if site_id in self._sites and site_id not in self._suspended:
            self._suspended[site_id] = fault
            self._meter.site_up(site_id, up=False)
            log.error("site suspended", site=site_id, code=fault.code, remedy=fault.remedy)

    async def judge(self, site: Site, forbidden: ForbiddenError) -> SiteRefusedError | None:
        """What a 403 means: the site's fault if, with a fresh token, its last good mailbox is refused too.

        ``None`` when only the mailbox is refused, or when no other mailbox is known to compare it with.

        Raises:
            TransientError: nothing can be told now.
        """
        address = self._last_good.get(site.site_id)
        try:
            await self._calendars.probe(site, address)
        except SiteRefusedError as fault:
            return fault
        except ForbiddenError:
            return SiteRefusedError(
                forbidden.code,
                "Graph refuses every mailbox of this site: grant admin consent for Calendars.ReadWrite and "
                "MailboxSettings.Read to the app registration, and check its application access policy",
            )
        return None

    async def probe_forever(self) -> None:
        """Probe suspended sites every minute, and at once when the sites file changed."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._try_now.wait(), PROBE_SECONDS)
            self._try_now.clear()
            await asyncio.gather(*(self._probe(site_id) for site_id in list(self._suspended)))

    async def _probe(self, site_id: str) -> None:
        site = self._sites.get(site_id)
        if site is None:
            return
        try:
            await self._calendars.probe(site, self._last_good.get(site_id))
        except SiteRefusedError as fault:
            self._suspended[site_id] = fault
        except (ForbiddenError, TransientError):
            return
        else:
            if self._suspended.pop(site_id, None) is not None:
                self._meter.site_up(site_id, up=True)
                log.info("site resumed", site=site_id)
                self._on_resumed(site_id)
