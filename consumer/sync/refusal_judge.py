"""The refusal judge: asks other mailboxes of a site whose fault it is that one of them is refused."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from consumer.domain.bounded_dict import BoundedDict
from consumer.domain.errors import (
    ForbiddenError,
    RequestRefusedError,
    RunAgainError,
    SiteRefusedError,
    TransientError,
)
from consumer.domain.site import Site
from consumer.sync.mailbox_answers import answer_of, served_answer_of
from consumer.sync.neighbours import ASKED, Neighbours
from consumer.sync.ports import WHOLE, WRITE, Asks, Calendars
from consumer.sync.refusals import Compared, Judgement, Refusal, lacks_writing, shared, whose
from consumer.sync.trouble import loop_time

ALONE_SECONDS: Final = 30.0
"""How long a refused mailbox waits for another one of its site to be compared with. Then it is parked as the only
mailbox of its site."""
_ASK_AGAIN_SECONDS: Final = 5.0
_TOKEN_SECONDS: Final = 10.0
"""A token fetched this recently is fresh."""
_WAITING: Final = 1000
"""How many refused mailboxes without a neighbour are remembered."""

More: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
"""Reads further addresses of a site, the likeliest to answer first."""


class JudgedSites(Protocol):
    """What judging needs of the sites."""

    def get(self, site_id: str) -> Site | None:
        """The site, or ``None`` if the sites file does not name it."""

    def suspended(self, site_id: str) -> SiteRefusedError | None:
        """Why the site is not served now."""

    def suspend(
        self, site_id: str, fault: SiteRefusedError, *, asks: Asks = WHOLE, codes: Collection[str] = ()
    ) -> None:
        """Stop serving the site until a mailbox answers ``asks``."""


class RefusalJudge:
    """Judges refusals. Bounded by the sites, with a few answers each, and by ``_WAITING`` mailboxes."""

    def __init__(self, sites: JudgedSites, neighbours: Mapping[str, Neighbours], calendars: Calendars) -> None:
        """``neighbours`` must have an entry for every site, or make it."""
        self._sites = sites
        self._neighbours = neighbours
        self._calendars = calendars
        self._judging: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asked: dict[tuple[str, Asks], tuple[float, dict[str, Compared]]] = {}
        """The last question about each site: when it began, and what the mailboxes answered."""
        self._renewed: dict[str, float] = {}
        """When each site's token was last fetched for a question."""
        self._alone: BoundedDict[tuple[str, str], float] = BoundedDict(_WAITING)
        """Since when a refused mailbox has no other to be compared with."""

    def keep_only(self, site_ids: Collection[str]) -> None:
        """Forget what was asked about any other site."""
        self._renewed = {site_id: renewed for site_id, renewed in self._renewed.items() if site_id in site_ids}
        self._asked = {key: asked for key, asked in self._asked.items() if key[0] in site_ids}

    def answered(self, site_id: str, address: str) -> None:
        """The mailbox has just answered: if it is refused later, its wait begins again."""
        if self._alone:
            self._alone.pop((site_id, address), None)

    async def judge(self, site: Site, address: str, refusal: Refusal, more: More) -> Judgement:
        """See :meth:`consumer.sync.site_registry.SiteRegistry.judge`."""
        try:
            return await self._judge(site, address, refusal, more)
        except SiteRefusedError as refused:
            self._sites.suspend(site.site_id, refused)
            return refused

    async def _judge(self, site: Site, address: str, refusal: Refusal, more: More) -> Judgement:
        refused_at = loop_time()
        if isinstance(refusal, RequestRefusedError):
            own = await self._own_answer(site, address)
            if own is None:
                return "request"
            refusal = own
        asks = WHOLE | WRITE if isinstance(refusal, ForbiddenError) and refusal.write else WHOLE
        self._neighbours[site.site_id].refused(address)
        async with self._judging[site.site_id]:
            if (known := self._sites.suspended(site.site_id)) is not None:
                return known
            compared = await self._compared(site, address, refusal, asks, refused_at, more)
            judged = whose(refusal, compared)
            if judged == "nobody to ask" and asks != WHOLE and lacks_writing(await self._calendars.roles(site)):
                judged = "site"
            if self._sites.get(site.site_id) is not site:
                raise RunAgainError("the sites file has changed")
            if judged == "site":
                fault = shared(refusal, compared)
                named = [other.answer.code for other in compared if isinstance(other.answer, Refusal)]
                self._sites.suspend(site.site_id, fault, asks=asks, codes=[refusal.code, *named])
                return fault
        if judged == "unclear":
            raise TransientError("other mailboxes of the site cannot be asked now")
        if isinstance(refusal, ForbiddenError):
            await self._check_again(site, address, WRITE if refusal.write else WHOLE)
        if judged == "nobody to ask" and not self._has_waited(site.site_id, address):
            raise TransientError("no other mailbox to compare the refused one with", retry_after=_ASK_AGAIN_SECONDS)
        self._alone.pop((site.site_id, address), None)
        return "mailbox"

    async def _own_answer(self, site: Site, address: str) -> Refusal | None:
        """How Graph refuses to read the mailbox; ``None`` if it answers. Raises ``SiteRefusedError``.

        Raises:
            TransientError: the mailbox cannot be asked now.
        """
        answer = await served_answer_of(self._calendars, site, address, WHOLE)
        if isinstance(answer, TransientError):
            raise answer
        return answer

    async def _compared(
        self, site: Site, address: str, refusal: Refusal, asks: Asks, refused_at: float, more: More
    ) -> list[Compared]:
        """What other mailboxes answer, asked after this one was refused. Raises ``SiteRefusedError``."""
        asked_at, answers = self._asked.get((site.site_id, asks), (float("-inf"), {}))
        if asked_at < refused_at or not answers.keys() - {address}:
            neighbours = self._neighbours[site.site_id]
            if sum(map(neighbours.has_answered, neighbours.besides(address))) < ASKED:
                # Mailboxes that were refused too prove little: their addresses may come from one wrong import.
                for other in reversed(await more()):
                    neighbours.met(other)
            await asyncio.sleep(0)  # the answers of one batch come in one turn of the loop: one question for all
            asked_at, answers = loop_time(), {}
            fresh = isinstance(refusal, ForbiddenError) and self._is_due_a_token(site.site_id)
            for other in neighbours.besides(address):
                answered_before = neighbours.has_answered(other)
                answer = await answer_of(self._calendars, site, other, asks, fresh=fresh)
                answers[other] = Compared(answered_before, answer)
                fresh = False
                if answer is None:
                    neighbours.answered(other)
                    break
            self._asked[site.site_id, asks] = asked_at, answers
        return [compared for other, compared in answers.items() if other != address]

    async def _check_again(self, site: Site, address: str, asks: Asks) -> None:
        """Ask a forbidden mailbox once more: its token may be older than the consent.

        Raises:
            RunAgainError: it answers now.
            TransientError: it cannot be asked now.
            SiteRefusedError: Entra refuses the site.
        """
        answer = await answer_of(self._calendars, site, address, asks, fresh=self._is_due_a_token(site.site_id))
        if answer is None:
            raise RunAgainError("the mailbox answers with a fresh token")
        if isinstance(answer, TransientError):
            raise answer

    def _is_due_a_token(self, site_id: str) -> bool:
        now = loop_time()
        if now - self._renewed.get(site_id, float("-inf")) < _TOKEN_SECONDS:
            return False
        self._renewed[site_id] = now
        return True

    def _has_waited(self, site_id: str, address: str) -> bool:
        now = loop_time()
        since = self._alone.setdefault((site_id, address), now)
        return now - since >= ALONE_SECONDS
