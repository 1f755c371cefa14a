"""What a command works with: an engine, the sites, and what the user has named."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumer.domain.errors import ConfigurationError, RequestRefusedError
from consumer.domain.mailbox import normalise
from consumer.domain.site import Site
from consumer.engine import Engine
from consumer.settings import Settings
from consumer.sites import Sites, SitesFile
from consumer.sync.change import Change
from consumer.sync.dry_run import PlanSink
from consumer.sync.lane_runs import RefusedChanges


class NoRecords:
    """Takes refused changes that no record has brought. The lane has logged them; there is nothing to dead-letter."""

    async def refuse(self, change: Change, refusal: RequestRefusedError) -> None:
        """Nothing more to do."""


@asynccontextmanager
async def opened(
    settings: Settings, *, refused: RefusedChanges | None = None, on_plan: PlanSink | None = None
) -> AsyncIterator[tuple[Engine, Sites]]:
    """An engine for a command, with the sites as they are. Raises ``ConfigurationError``."""
    sites = SitesFile(settings.sites_file).load()
    engine = Engine(settings, refused=refused or NoRecords(), on_resumed=lambda _site_id: None, on_plan=on_plan)
    engine.sites.replace(sites)
    renewing = asyncio.create_task(engine.renew_leases())
    try:
        yield engine, sites
    finally:
        renewing.cancel()
        await engine.close()


def named_sites(site_ids: Sequence[str], sites: Sites) -> list[Site]:
    """The sites of these ids, or all. Raises ``ConfigurationError`` for one that the sites file does not name."""
    unknown = [f"site {site_id}: CALSYNC_SITES_FILE does not name it" for site_id in site_ids if site_id not in sites]
    if unknown:
        raise ConfigurationError(unknown)
    return [sites[site_id] for site_id in (site_ids or sites)]


def address_of(given: str) -> str:
    """The address as it is compared everywhere. Raises ``ConfigurationError`` if it is blank."""
    address = normalise(given)
    if address is None:
        raise ConfigurationError(["the mailbox's address is blank"])
    return address
