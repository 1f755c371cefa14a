"""Which sites are served: known from the sites file, less those suspended by a fault or paused by hand."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from consumer.domain.compare import Unread
from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    RunAgainError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.site import Site
from consumer.sync.neighbours import ASKED, Neighbours
from consumer.sync.ports import SETTING, WHOLE, WRITE, Asks, Calendars, Meter
from consumer.sync.refusals import Compared, Judgement, Refusal, is_same_code, lacks_writing, shared, whose

log = structlog.get_logger(__name__)

PROBE_SECONDS: Final = 60.0
_PROBES_AT_ONCE: Final = 100
"""How many suspended sites are probed at once."""
BEGINNING_SECONDS: Final = 900.0
"""A shared trouble is recognised only some time after it has begun. Mailboxes that were parked for it up to this long
before are enabled when it is over."""
RECOVERY_SECONDS: Final = 3600.0
"""For how long after a trouble its code parks a mailbox for an hour only: mailboxes come back one after another."""
ALONE_SECONDS: Final = 30.0
"""How long a refused mailbox waits for another one of its site to be compared with. Then it is parked as the only
mailbox of its site."""
_ASK_AGAIN_SECONDS: Final = 5.0
_TOKEN_SECONDS: Final = 10.0
"""A token fetched this recently is fresh."""
_WAITING: Final = 1000
"""How many refused mailboxes without a neighbour are remembered."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a site is, or was, suspended. Times are in seconds on the loop's clock."""

    fault: SiteRefusedError
    began: float
    """The earliest that its first refusals may have come."""
    asks: Asks
    """What a mailbox must answer to show that the trouble is over."""
    codes: tuple[str, ...]
    """Every code that Graph or Entra has answered with."""
    ended: float | None = None

    def is_named(self, code: str) -> bool:
        """Whether Graph or Entra has answered with this code."""
        return any(is_same_code(code, known) for known in self.codes)

    def has_parked(self, code: str, parked_at: float) -> bool:
        """Whether a mailbox that was parked for this code at this time was parked for this trouble."""
        return parked_at >= self.began and self.is_named(code)


class SiteRegistry:
    """The sites of this replica and their state. A suspended site is probed every minute until a mailbox answers.

    Bounded by the sites of the sites file, with a few mailboxes each.
    """

    def __init__(self, calendars: Calendars, meter: Meter, *, on_resumed: Callable[[str], None]) -> None:
        """``on_resumed`` is called with the site's id when it can be served again."""
        self._calendars = calendars
        self._meter = meter
        self._on_resumed = on_resumed
        self._sites: dict[str, Site] = {}
        self._suspended: dict[str, Trouble] = {}
        self._past: dict[str, Trouble] = {}
        self._paused: frozenset[str] = frozenset()
        self._neighbours: defaultdict[str, Neighbours] = defaultdict(Neighbours)
        self._judging: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asked: dict[tuple[str, Asks], tuple[float, dict[str, Compared]]] = {}
        """The last question about each site: when it began, and what the mailboxes answered."""
        self._renewed: dict[str, float] = {}
        """When each site's token was last fetched for a question."""
        self._alone: dict[tuple[str, str], float] = {}
        """Since when a refused mailbox has no other to be compared with."""
        self._try_now = asyncio.Event()

    def replace(self, sites: dict[str, Site]) -> None:
        """Use a new sites file. Suspended sites are tried at once: the change may have corrected what was wrong."""
        self._sites = sites
        for known in (self._suspended, self._past, self._neighbours, self._renewed):
            for site_id in known.keys() - sites.keys():
                del known[site_id]
        self._asked = {key: asked for key, asked in self._asked.items() if key[0] in sites}
        for site_id in sites:
            self._meter.site_up(site_id, up=site_id not in self._suspended)
        self._try_now.set()

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

    def past_trouble(self, site_id: str) -> Trouble | None:
        """The trouble for which the site was last suspended, once it is over."""
        return self._past.get(site_id)

    def is_recovering(self, site_id: str, code: str) -> bool:
        """Whether the site was suspended for this code until recently: mailboxes come back one after another."""
        past = self._past.get(site_id)
        if past is None or past.ended is None:
            return False
        return past.is_named(code) and _now() - past.ended < RECOVERY_SECONDS

    def served(self, site_id: str, address: str) -> None:
        """A mailbox of the site has just answered: it is asked first when another one is refused."""
        self._neighbours[site_id].answered(address)
        if self._alone:
            self._alone.pop((site_id, address), None)

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
            self._suspended[site_id] = Trouble(fault, _now() - BEGINNING_SECONDS, asks, (fault.code, *codes))
            self._meter.site_up(site_id, up=False)
            log.error("site suspended", site=site_id, code=fault.code, hint=fault.hint)

    async def judge(
        self, site: Site, address: str, refusal: Refusal, more: Callable[[], Awaitable[Sequence[str]]]
    ) -> Judgement:
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
        try:
            return await self._judge(site, address, refusal, more)
        except SiteRefusedError as refused:
            self.suspend(site.site_id, refused)
            return refused

    async def _judge(
        self, site: Site, address: str, refusal: Refusal, more: Callable[[], Awaitable[Sequence[str]]]
    ) -> Judgement:
        refused_at = _now()
        if isinstance(refusal, RequestRefusedError):
            own = await self._own_answer(site, address)
            if own is None:
                return "request"
            refusal = own
        asks = WHOLE | WRITE if isinstance(refusal, ForbiddenError) and refusal.write else WHOLE
        self._neighbours[site.site_id].refused(address)
        async with self._judging[site.site_id]:
            if (known := self._suspended.get(site.site_id)) is not None:
                return known.fault
            compared = await self._compared(site, address, refusal, asks, refused_at, more)
            judged = whose(refusal, compared)
            if judged == "nobody to ask" and asks != WHOLE and lacks_writing(await self._calendars.roles(site)):
                judged = "site"
            if self._sites.get(site.site_id) is not site:
                raise RunAgainError("the sites file has changed")
            if judged == "site":
                fault = shared(refusal, compared)
                named = [other.answer.code for other in compared if isinstance(other.answer, Refusal)]
                self.suspend(site.site_id, fault, asks=asks, codes=[refusal.code, *named])
                return fault
        if judged == "unclear":
            raise TransientError("other mailboxes of the site cannot be asked now")
        if isinstance(refusal, ForbiddenError):
            await self._check_again(site, address, WRITE if refusal.write else WHOLE)
        if judged == "nobody to ask" and not self._has_waited(site.site_id, address):
            raise TransientError("no other mailbox to compare the refused one with", retry_after=_ASK_AGAIN_SECONDS)
        self._alone.pop((site.site_id, address), None)
        return "mailbox"

    async def probe_forever(self) -> None:
        """Probe suspended sites every minute, and at once when the sites file changed."""
        room = asyncio.Semaphore(_PROBES_AT_ONCE)

        async def probe(site_id: str) -> None:
            async with room:
                try:
                    await self._probe(site_id)
                except Exception as error:
                    # One site's probe must not end the others'.
                    log.critical("unexpected error in a probe", site=site_id, exc_info=error)

        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._try_now.wait(), PROBE_SECONDS)
            self._try_now.clear()
            async with asyncio.TaskGroup() as probes:
                for site_id in list(self._suspended):
                    probes.create_task(probe(site_id))

    async def _probe(self, site_id: str) -> None:
        """Resume the site if one of its mailboxes answers everything that was refused."""
        site, trouble = self._sites.get(site_id), self._suspended.get(site_id)
        if site is None or trouble is None:
            return
        addresses: list[str | None] = [*self._neighbours[site_id].to_probe()]
        answers: list[Refusal | TransientError] = []
        for number, address in enumerate(addresses or [None]):
            try:
                answer = await self._served_answer(site, address, trouble.asks, fresh=number == 0)
            except SiteRefusedError as fault:
                self._still(site_id, fault)
                return
            if answer is None and self._sites.get(site_id) is site:
                self._resume(site_id)
                return
            if isinstance(answer, TransientError) and answer.tenant_wide:
                return
            if answer is not None:
                answers.append(answer)
        refused = [answer for answer in answers if isinstance(answer, ForbiddenError) and answer.token]
        if refused and len(refused) == len(answers):
            # Entra issues tokens again, and no mailbox accepts them.
            self._still(site_id, shared(refused[0], ()))

    def _still(self, site_id: str, fault: SiteRefusedError) -> None:
        """The site is still refused, perhaps for another reason by now."""
        trouble = self._suspended.get(site_id)
        if trouble is not None and fault != trouble.fault:
            codes = dict.fromkeys((*trouble.codes, fault.code))
            self._suspended[site_id] = replace(trouble, fault=fault, codes=tuple(codes))
            log.error("site suspended for another reason", site=site_id, code=fault.code, hint=fault.hint)

    def _resume(self, site_id: str) -> None:
        trouble = self._suspended.pop(site_id, None)
        if trouble is not None:
            self._past[site_id] = replace(trouble, ended=_now())
            self._meter.site_up(site_id, up=True)
            log.info("site resumed", site=site_id)
            self._on_resumed(site_id)

    async def _compared(
        self,
        site: Site,
        address: str,
        refusal: Refusal,
        asks: Asks,
        refused_at: float,
        more: Callable[[], Awaitable[Sequence[str]]],
    ) -> list[Compared]:
        """What other mailboxes answer, asked after this one was refused. Raises ``SiteRefusedError``."""
        neighbours = self._neighbours[site.site_id]
        asked_at, answers = self._asked.get((site.site_id, asks), (float("-inf"), {}))
        if asked_at < refused_at or not answers.keys() - {address}:
            if sum(map(neighbours.has_answered, neighbours.besides(address))) < ASKED:
                # Mailboxes that were refused too prove little: their addresses may come from one wrong import.
                for other in reversed(await more()):
                    neighbours.met(other)
            await asyncio.sleep(0)  # the answers of one batch come in one turn of the loop: one question for all
            asked_at, answers = _now(), {}
            fresh = isinstance(refusal, ForbiddenError) and self._is_due_a_token(site.site_id)
            for other in neighbours.besides(address):
                answered_before = neighbours.has_answered(other)
                answers[other] = Compared(answered_before, await self._answer(site, other, asks, fresh=fresh))
                fresh = False
                if answers[other].answer is None:
                    neighbours.answered(other)
                    break
            self._asked[site.site_id, asks] = asked_at, answers
        return [compared for other, compared in answers.items() if other != address]

    async def _own_answer(self, site: Site, address: str) -> Refusal | None:
        """How Graph refuses to read the mailbox; ``None`` if it answers. Raises ``SiteRefusedError``.

        Raises:
            TransientError: the mailbox cannot be asked now.
        """
        answer = await self._served_answer(site, address, WHOLE)
        if isinstance(answer, TransientError):
            raise answer
        return answer

    async def _served_answer(
        self, site: Site, address: str | None, asks: Asks, *, fresh: bool = False
    ) -> Refusal | TransientError | None:
        """What a mailbox answers now. A setting that fails does not count: the calendar can be served without it."""
        answer = await self._answer(site, address, asks, fresh=fresh)
        if isinstance(answer, TransientError) and not answer.tenant_wide:
            return await self._answer(site, address, asks - SETTING)
        return answer

    async def _check_again(self, site: Site, address: str, asks: Asks) -> None:
        """Ask a forbidden mailbox once more: its token may be older than the consent.

        Raises:
            RunAgainError: it answers now.
            TransientError: it cannot be asked now.
            SiteRefusedError: Entra refuses the site.
        """
        answer = await self._answer(site, address, asks, fresh=self._is_due_a_token(site.site_id))
        if answer is None:
            raise RunAgainError("the mailbox answers with a fresh token")
        if isinstance(answer, TransientError):
            raise answer

    def _is_due_a_token(self, site_id: str) -> bool:
        now = _now()
        if now - self._renewed.get(site_id, float("-inf")) < _TOKEN_SECONDS:
            return False
        self._renewed[site_id] = now
        return True

    async def _answer(
        self, site: Site, address: str | None, asks: Asks, *, fresh: bool = False
    ) -> Refusal | TransientError | None:
        """What a mailbox answers now; ``None`` if it answers everything. Raises ``SiteRefusedError``."""
        try:
            await self._calendars.probe(site, address, asks, fresh=fresh)
        except (MailboxRefusedError, ForbiddenError, RequestRefusedError, TransientError) as answer:
            return answer
        return None

    def _has_waited(self, site_id: str, address: str) -> bool:
        now = _now()
        since = self._alone.setdefault((site_id, address), now)
        if len(self._alone) > _WAITING:
            del self._alone[next(iter(self._alone))]
        return now - since >= ALONE_SECONDS


def _now() -> float:
    return asyncio.get_running_loop().time()
