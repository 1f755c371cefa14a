"""How many probes a refusal costs, and which token they use."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from consumer.domain.errors import ForbiddenError, MailboxRefusedError, SiteRefusedError, TransientError
from consumer.domain.site import Site
from consumer.sync.ports import WHOLE, WRITE, Asks
from consumer.sync.site_registry import SiteRegistry
from tests.simulation.world import SITES, Counts

ACME = SITES["acme"]
FORBIDDEN = ForbiddenError("ErrorAccessDenied")
MISSING = MailboxRefusedError("ResourceNotFound")


class Graph:
    """Refuses the mailboxes that a test names, and counts the probes."""

    def __init__(self, **refusals: Exception) -> None:
        self.refusals = refusals
        self.asked: Counter[str | None] = Counter()
        self.asks: list[Asks] = []
        self.tokens = 0

    async def probe(self, site: Site, address: str | None, asks: Asks, *, fresh: bool) -> None:
        self.asked[address] += 1
        self.asks.append(asks)
        self.tokens += fresh
        await asyncio.sleep(0)
        if address in self.refusals:
            raise self.refusals[address]

    async def roles(self, site: Site) -> frozenset[str]:
        return frozenset()


def states(graph: Graph, *answered: str) -> SiteRegistry:
    made = SiteRegistry(graph, Counts(), on_resumed=lambda _: None)  # type: ignore[arg-type]
    made.replace(SITES)
    for address in answered:
        made.served("acme", address)
    return made


async def nobody() -> Sequence[str]:
    return ()


async def test_simultaneous_refusals_are_judged_by_one_probe() -> None:
    refused = {f"refused-{number}": MISSING for number in range(300)}
    graph = Graph(**refused)
    sites = states(graph, "well")
    judged = await asyncio.gather(*(sites.judge(ACME, address, MISSING, nobody) for address in refused))
    assert set(judged) == {"mailbox"}
    assert graph.asked == {"well": 1}


async def test_many_403s_fetch_one_token_and_each_mailbox_is_read_with_it_before_it_is_parked() -> None:
    refused = {f"refused-{number}": FORBIDDEN for number in range(300)}
    graph = Graph(**refused)
    sites = states(graph, "well")
    judged = await asyncio.gather(*(sites.judge(ACME, address, FORBIDDEN, nobody) for address in refused))
    assert set(judged) == {"mailbox"}
    assert graph.asked == {"well": 1} | dict.fromkeys(refused, 1)
    assert graph.tokens == 1


async def test_a_probe_does_not_judge_a_refusal_that_came_after_it() -> None:
    graph = Graph(first=MISSING)
    sites = states(graph, "a", "b")
    assert await sites.judge(ACME, "first", MISSING, nobody) == "mailbox"
    graph.refusals |= dict.fromkeys(("a", "b", "second"), MISSING)
    judged = await sites.judge(ACME, "second", MISSING, nobody)
    assert isinstance(judged, SiteRefusedError)


async def test_a_mailbox_whose_403_came_from_the_old_token_is_tried_again() -> None:
    graph = Graph()
    with pytest.raises(TransientError, match="fresh token") as trouble:
        await states(graph, "well").judge(ACME, "refused", FORBIDDEN, nobody)
    assert trouble.value.retry_after == 0.0
    assert graph.tokens == 1


async def test_a_refused_write_is_compared_with_a_write() -> None:
    write = ForbiddenError("ErrorAccessDenied", write=True)
    graph = Graph(refused=write, well=write)
    assert isinstance(await states(graph, "well").judge(ACME, "refused", write, nobody), SiteRefusedError)
    assert set(graph.asks) == {WHOLE | WRITE}


async def test_with_too_few_mailboxes_known_others_are_found_and_asked() -> None:
    async def more() -> Sequence[str]:
        return ("linked", "waiting")

    graph = Graph(refused=MISSING, well=MISSING, linked=MISSING)
    assert await states(graph, "well").judge(ACME, "refused", MISSING, more) == "mailbox"
    assert graph.asked["waiting"] == 1


async def test_refusals_of_mailboxes_that_never_answered_are_compared_with_others_of_the_site() -> None:
    async def more() -> Sequence[str]:
        return ("good-1", "good-2", "good-3")

    bad = {f"bad-{number}": MISSING for number in range(5)}
    sites = states(Graph(**bad))
    judgements = await asyncio.gather(*(sites.judge(ACME, address, MISSING, more) for address in bad))
    assert set(judgements) == {"mailbox"}


async def test_a_sites_file_that_changes_meanwhile_voids_the_judgement() -> None:
    graph = Graph(refused=MISSING, well=MISSING)
    sites = states(graph, "well")

    async def more() -> Sequence[str]:
        sites.replace({site_id: Site(site_id, "", "UTC", "t", "c", "new") for site_id in SITES})
        return ()

    with pytest.raises(TransientError, match="sites file"):
        await sites.judge(ACME, "refused", MISSING, more)
    assert sites.suspended("acme") is None


REFUSED_TOKEN = ForbiddenError("InvalidAuthenticationToken", token=True)


async def test_a_probe_that_gets_a_401_resumes_no_site_and_reports_what_is_refused_now() -> None:
    graph = Graph(a=REFUSED_TOKEN, b=REFUSED_TOKEN)
    sites = states(graph, "a", "b")
    sites.suspend("acme", SiteRefusedError("AADSTS7000222", "renew the secret"))
    await sites._probes.probe("acme")
    fault = sites.suspended("acme")
    assert fault is not None
    assert fault.code == "InvalidAuthenticationToken"
    assert "check the tenant" in fault.hint
    del graph.refusals["a"]
    await sites._probes.probe("acme")
    assert sites.suspended("acme") is None


async def test_one_mailboxs_401_in_a_probe_does_not_suspend_its_site() -> None:
    expired = SiteRefusedError("ResourceNotFound", "check in Microsoft 365")
    graph = Graph(a=REFUSED_TOKEN, b=MISSING)
    sites = states(graph, "a", "b")
    sites.suspend("acme", expired)
    await sites._probes.probe("acme")
    assert sites.suspended("acme") == expired
