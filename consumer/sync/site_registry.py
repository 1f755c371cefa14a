"""Which sites are served: known from the sites file, less those suspended by a fault or paused by hand."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import structlog

from consumer.domain.compare import Unread
from consumer.domain.errors import SiteRefusedError
from consumer.domain.site import Site
from consumer.sync.neighbours import Neighbours
from consumer.sync.ports import WHOLE, Asks, Calendars, Meter
from consumer.sync.refusal_judge import More, RefusalJudge
from consumer.sync.refusals import Judgement, Refusal
from consumer.sync.site_probes import SiteProbes
from consumer.sync.trouble import BEGINNING_SECONDS, Trouble, loop_time

log = structlog.get_logger(__name__)


class SiteRegistry:
    """The sites of this replica and their state. A suspended site is probed every minute until a mailbox answers.

    Bounded by the sites of the sites file, with a few mailboxes each.
    """

    def __init__(self, calendars: Calendars, meter: Meter, *, on_resumed: Callable[[str], None]) -> None:
        """``on_resumed`` is called with the site's id when it can be served again."""
        self._meter = meter
        self._on_resumed = on_resumed
        self._sites: dict[str, Site] = {}
        self._suspended: dict[str, Trouble] = {}
        self._past: dict[str, Trouble] = {}
        self._paused: frozenset[str] = frozenset()
        self._neighbours: defaultdict[str, Neighbours] = defaultdict(Neighbours)
        self._judge = RefusalJudge(self, self._neighbours, calendars)
        self._probes = SiteProbes(self, self._neighbours, calendars)

    def replace(self, sites: dict[str, Site]) -> None:
        """Use a new sites file. Suspended sites are tried at once: the change may have corrected what was wrong."""
        self._sites = sites
        for known in (self._suspended, self._past, self._neighbours):
            for site_id in known.keys() - sites.keys():
                del known[site_id]
        self._judge.keep_only(sites)
        for site_id in sites:
            self._meter.site_up(site_id, up=site_id not in self._suspended)
        self._probes.try_now()

    def get(self, site_id: str) -> Site | None:
        """The site, or ``None`` if the sites file does not name it."""
        return self._sites.get(site_id)

    def is_served(self, site_id: str) -> bool:
        """Whether the sites file names the site, and it is neither suspended nor paused."""
        return site_id in self._sites and site_id not in self._suspended and site_id not in self._paused

    def unserved(self, site_id: str) -> Unread:
        """Why a mailbox of this site is not read."""
        if trouble := self._suspended.get(site_id):
            return Unread("not_served", f"suspended: {trouble.fault}")
        return Unread("not_served", "paused by hand" if site_id in self._paused else "not in the sites file")

    def served_now(self) -> list[Site]:
        """The sites that are neither suspended nor paused."""
        return [site for site in self._sites.values() if self.is_served(site.site_id)]

    def pause(self, site_ids: Collection[str]) -> None:
        """Replace the set of sites that are paused by hand."""
        before, self._paused = self._paused, frozenset(site_ids)
        for site_id in sorted(self._paused - before):
            log.warning("site paused by hand", site=site_id)
        for site_id in sorted(before - self._paused):
            log.info("site resumed by hand", site=site_id)
            if self.is_served(site_id):
                self._on_resumed(site_id)

    def suspended(self, site_id: str) -> SiteRefusedError | None:
        """Why the site is not served now."""
        trouble = self._suspended.get(site_id)
        return trouble.fault if trouble else None

    def suspended_now(self) -> Mapping[str, Trouble]:
        """The suspended sites by id, and why."""
        return self._suspended

    def past_trouble(self, site_id: str) -> Trouble | None:
        """The trouble for which the site was last suspended, once it is over."""
        return self._past.get(site_id)

    def is_recovering(self, site_id: str, code: str) -> bool:
        """Whether the site was suspended for this code until recently: mailboxes come back one after another."""
        past = self._past.get(site_id)
        return past is not None and past.is_recent(code)

    def served(self, site_id: str, address: str) -> None:
        """A mailbox of the site has just answered: it is asked first when another one is refused."""
        self._neighbours[site_id].answered(address)
        self._judge.answered(site_id, address)

    def turned_away(self, site_id: str, address: str) -> None:
        """A mailbox was not tried because its site is suspended: the site can be probed with it."""
        self._neighbours[site_id].met(address)

    def suspend(
        self, site_id: str, fault: SiteRefusedError, *, asks: Asks = WHOLE, codes: Collection[str] = ()
    ) -> None:
        """Stop serving the site, and log it once.

        Args:
            site_id: the site.
            fault: why.
            asks: what a mailbox must answer for the site to be served again.
            codes: with which other codes Graph has refused its mailboxes.
        """
        if site_id in self._sites and site_id not in self._suspended:
            self._suspended[site_id] = Trouble(fault, loop_time() - BEGINNING_SECONDS, asks, (fault.code, *codes))
            self._meter.site_up(site_id, up=False)
            log.error("site suspended", site=site_id, code=fault.code, hint=fault.hint)

    def still_refused(self, site_id: str, fault: SiteRefusedError) -> None:
        """A suspended site is still refused, perhaps for another reason by now."""
        trouble = self._suspended.get(site_id)
        if trouble is not None and fault != trouble.fault:
            self._suspended[site_id] = trouble.with_fault(fault)
            log.error("site suspended for another reason", site=site_id, code=fault.code, hint=fault.hint)

    def resume(self, site_id: str) -> None:
        """Serve a suspended site again."""
        trouble = self._suspended.pop(site_id, None)
        if trouble is not None:
            self._past[site_id] = replace(trouble, ended=loop_time())
            self._meter.site_up(site_id, up=True)
            log.info("site resumed", site=site_id)
            self._on_resumed(site_id)

    async def judge(self, site: Site, address: str, refusal: Refusal, more: More) -> Judgement:
        """Whose fault it is that Graph has refused a mailbox, or a request in it. Suspends a site whose fault it is.

        Up to three other mailboxes are asked the same; see :func:`consumer.sync.refusals.whose`. A refused write is
        compared with a write. Refusals that come at the same time are judged by one question.

        Args:
            site: whose mailbox it is.
            address: the refused mailbox.
            refusal: Graph's answer.
            more: further addresses of the site, the likeliest to answer first; called if too few have answered.

        Raises:
            TransientError: nothing can be concluded now.
            RunAgainError: the mailbox answers by now, or the sites file has changed.
        """
        return await self._judge.judge(site, address, refusal, more)

    async def probe_forever(self) -> None:
        """Probe suspended sites every minute, and at once when the sites file changed."""
        await self._probes.run()
