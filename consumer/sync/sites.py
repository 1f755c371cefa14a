"""Which sites are served: known from the sites file, less those suspended by a fault or paused by hand."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence

import structlog

from consumer.domain.compare import Unread
from consumer.domain.errors import ForbiddenError, SiteRefusedError, TransientError
from consumer.domain.site import Site
from consumer.sync.ports import Calendars, Meter

log = structlog.get_logger(__name__)

PROBE_SECONDS = 60.0
_JUDGED_SECONDS = 10.0
"""A site that has just answered with a fresh token is not asked again for the next 403."""
_ANSWERED, _OTHERS = 2, 3
"""So many addresses of a site are remembered to be asked."""


class SiteStates:
    """The sites of this replica and their state. A suspended one is probed every minute until it answers."""

    def __init__(self, calendars: Calendars, meter: Meter, *, on_resumed: Callable[[str], None]) -> None:
        """``on_resumed`` is called with the site's id when it can be served again."""
        self._calendars = calendars
        self._meter = meter
        self._on_resumed = on_resumed
        self._sites: dict[str, Site] = {}
        self._suspended: dict[str, SiteRefusedError] = {}
        self._paused: frozenset[str] = frozenset()
        self._answered: dict[str, list[str]] = {}
        self._others: dict[str, list[str]] = {}
        self._judging: dict[str, asyncio.Lock] = {}
        self._judged: dict[str, float] = {}
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

    def is_served(self, site_id: str) -> bool:
        """Whether the site is ours, and neither suspended nor paused."""
        return site_id in self._sites and site_id not in self._suspended and site_id not in self._paused

    def unserved(self, site_id: str) -> Unread:
        """Why a mailbox of this site is not read."""
        if fault := self._suspended.get(site_id):
            return Unread("not_served", f"suspended: {fault}")
        return Unread("not_served", "paused by hand" if site_id in self._paused else "not in the sites file")

    def served_now(self) -> list[Site]:
        """The sites that are neither suspended nor paused."""
        return [site for site in self._sites.values() if self.is_served(site.site_id)]

    def pause(self, site_ids: Collection[str]) -> None:
        """Take which sites are paused by hand now, all of them."""
        before, self._paused = self._paused, frozenset(site_ids)
        for site_id in sorted(self._paused - before):
            log.warning("site paused by hand", site=site_id)
        for site_id in sorted(before - self._paused):
            log.info("site resumed by hand", site=site_id)
            if self.is_served(site_id):
                self._on_resumed(site_id)

    def suspended(self, site_id: str) -> SiteRefusedError | None:
        """Why the site is not served now."""
        return self._suspended.get(site_id)

    def served(self, site_id: str, address: str) -> None:
        """A mailbox of the site has just answered: the one to ask when another is forbidden."""
        _remember(self._answered.setdefault(site_id, []), address, _ANSWERED)

    def turned_away(self, site_id: str, address: str) -> None:
        """A mailbox that was not tried, since its site is suspended: one more to probe the site with."""
        _remember(self._others.setdefault(site_id, []), address, _OTHERS)

    def suspend(self, site_id: str, fault: SiteRefusedError) -> None:
        """Stop serving the site, and say so once."""
        if site_id in self._sites and site_id not in self._suspended:
            self._suspended[site_id] = fault
            self._meter.site_up(site_id, up=False)
            log.error("site suspended", site=site_id, code=fault.code, remedy=fault.remedy)

    async def judge(self, site: Site, address: str, forbidden: ForbiddenError) -> SiteRefusedError | None:
        """What a mailbox's 403 means: the site's fault if, with a fresh token, every other one known is refused too.

        ``None`` when only the mailbox is refused, or when no other mailbox is known to compare it with. Many 403s at a
        time are judged by one question.

        Raises:
            TransientError: nothing can be told now.
        """
        async with self._judging.setdefault(site.site_id, asyncio.Lock()):
            if known := self._suspended.get(site.site_id):
                return known
            now = asyncio.get_running_loop().time()
            if now - self._judged.get(site.site_id, float("-inf")) < _JUDGED_SECONDS:
                return None
            others = [other for other in self._known(site.site_id) if other != address]
            _remember(self._others.setdefault(site.site_id, []), address, _OTHERS)
            try:
                answers = await self._answers(site, others or [address])
            except SiteRefusedError as fault:
                return fault
            if answers and not others:
                raise TransientError("the mailbox answers with a fresh token", retry_after=0.0)
            if answers:
                self._judged[site.site_id] = now
            elif others:
                refusal = SiteRefusedError(
                    forbidden.code,
                    "Graph refuses every mailbox of this site: grant admin consent for Calendars.ReadWrite and "
                    "MailboxSettings.Read to the app registration, and check its application access policy",
                )
                self.suspend(site.site_id, refusal)
                return refusal
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
            answers = await self._answers(site, self._known(site_id) or [None])
        except SiteRefusedError as fault:
            if site_id in self._suspended:
                self._suspended[site_id] = fault
            return
        except TransientError:
            return
        if answers and self._suspended.pop(site_id, None) is not None:
            self._meter.site_up(site_id, up=True)
            log.info("site resumed", site=site_id)
            self._on_resumed(site_id)

    def _known(self, site_id: str) -> list[str]:
        """Mailboxes to ask, the likeliest to answer first."""
        return list(dict.fromkeys([*self._answered.get(site_id, ()), *self._others.get(site_id, ())]))

    async def _answers(self, site: Site, addresses: Sequence[str | None]) -> bool:
        """Whether Graph lets the app at one of these mailboxes. Raises ``SiteRefusedError`` or ``TransientError``."""
        for address in addresses:
            try:
                await self._calendars.probe(site, address)
            except ForbiddenError:
                continue
            return True
        return False


def _remember(addresses: list[str], address: str, most: int) -> None:
    """Put the address at the head of a short list."""
    if addresses[:1] != [address]:
        addresses[:] = [address, *(known for known in addresses if known != address)][:most]
