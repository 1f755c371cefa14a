"""The mailboxes' time-zone settings: read hourly, and done without where they cannot be read."""

import math
from typing import Final

import structlog

from consumer.domain.bounded_dict import BoundedDict
from consumer.domain.errors import ForbiddenError, MailboxRefusedError, RequestRefusedError, TransientError
from consumer.domain.mailbox import Mailbox
from consumer.sync.grant import Grant
from consumer.sync.ports import Clock
from consumer.sync.run_context import RunContext

log = structlog.get_logger(__name__)

ZONE_RETRY_SECONDS: Final = 60.0
"""For how long reading a setting may fail before the site's time zone is used instead."""
ZONE_AGAIN_SECONDS: Final = 3600.0
"""When a setting that cannot be read is tried again."""
_UNREADABLE_ZONES: Final = 10_000
"""How many mailboxes with such a setting are remembered."""


class ZoneSettings:
    """Reads the time-zone settings that the store has not, and remembers which cannot be read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failing_since: BoundedDict[Mailbox, float] = BoundedDict(_UNREADABLE_ZONES)
        self._again_at: BoundedDict[Mailbox, float] = BoundedDict(_UNREADABLE_ZONES)

    async def read(self, grant: Grant, run: RunContext) -> str:
        """The mailbox's setting, at most an hour old; the last one if it cannot be read, or an empty string.

        A setting that cannot be read does not keep events out of a calendar that can be written (MailboxInfoStale for
        shared mailboxes: microsoft-graph-explorer-v4#3143).

        Raises:
            TransientError: it has failed for less than ``ZONE_RETRY_SECONDS``.
            ForbiddenError: perhaps no mailbox of the site lets it be read: see ``SiteRegistry.judge``.
            SiteRefusedError: as any request.
        """
        if grant.zone is not None and grant.zone_is_fresh:
            return grant.zone
        mailbox, now = grant.lease.mailbox, self._clock.monotonic()
        if now < self._again_at.get(mailbox, -math.inf):
            return grant.zone or ""
        try:
            setting = run.outcome.zone = await run.calendar.time_zone()
        except ForbiddenError as error:
            raise ForbiddenError(error.code, setting=not error.token, token=error.token) from None
        except (MailboxRefusedError, RequestRefusedError):
            # Ignore this: if the mailbox is refused, the calendar request reports it.
            return grant.zone or ""
        except TransientError as error:
            if now - self._failing_since.setdefault(mailbox, now) < ZONE_RETRY_SECONDS:
                raise
            run.unread_zone = str(error)
            return grant.zone or ""
        self._failing_since.pop(mailbox, None)
        self._again_at.pop(mailbox, None)
        return setting

    def do_without(self, mailbox: Mailbox, reason: str) -> None:
        """Use the last known setting, or the site's time zone, and read the setting again in an hour."""
        self._again_at[mailbox] = self._clock.monotonic() + ZONE_AGAIN_SECONDS
        log.warning("time-zone setting unreadable", site=mailbox.site, reason=reason)
