"""What a mailbox answers when it is probed. A refusal is an answer here; only a refusal of the whole site is raised."""

from consumer.domain.errors import ForbiddenError, MailboxRefusedError, RequestRefusedError, TransientError
from consumer.domain.site import Site
from consumer.sync.ports import SETTING, Asks, Calendars
from consumer.sync.refusals import Refusal


async def answer_of(
    calendars: Calendars, site: Site, address: str | None, asks: Asks, *, fresh: bool = False
) -> Refusal | TransientError | None:
    """What a mailbox answers now; ``None`` if it answers everything. Raises ``SiteRefusedError``."""
    try:
        await calendars.probe(site, address, asks, fresh=fresh)
    except (MailboxRefusedError, ForbiddenError, RequestRefusedError, TransientError) as answer:
        return answer
    return None


async def served_answer_of(
    calendars: Calendars, site: Site, address: str | None, asks: Asks, *, fresh: bool = False
) -> Refusal | TransientError | None:
    """As :func:`answer_of`, but a setting that fails does not count: the calendar can be served without it."""
    answer = await answer_of(calendars, site, address, asks, fresh=fresh)
    if isinstance(answer, TransientError) and not answer.tenant_wide:
        return await answer_of(calendars, site, address, asks - SETTING)
    return answer
