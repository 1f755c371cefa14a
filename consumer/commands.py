"""What the one-shot commands do: sweep once, and what operators tell the service by way of the store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from consumer.domain.errors import ConfigurationError, RequestRefusedError
from consumer.domain.mailbox import Mailbox, normalise
from consumer.domain.site import Site
from consumer.engine import Engine
from consumer.settings import Settings
from consumer.sites import Sites, SitesFile
from consumer.sync.change import Change
from consumer.sync.ports import BY_HAND, Parking, SiteStanding
from consumer.sync.report import Report
from consumer.sync.rounds import SITES_AT_ONCE


@asynccontextmanager
async def opened(settings: Settings, *, dry_run: bool = False) -> AsyncIterator[tuple[Engine, Sites]]:
    """An engine for a command, with the sites as they are. Raises ``ConfigurationError``."""
    sites = SitesFile(settings.sites_file).load()

    async def told(_change: Change, _refusal: RequestRefusedError) -> None:
        """The lane has logged it; there is no record to dead-letter."""

    engine = Engine(settings, refuse=told, on_resumed=lambda _site_id: None, dry_run=dry_run)
    engine.states.replace(sites)
    renewing = asyncio.create_task(engine.renew_leases())
    try:
        yield engine, sites
    finally:
        renewing.cancel()
        await engine.close()


async def sweep(
    settings: Settings,
    site_ids: Sequence[str],
    *,
    mailbox: str | None = None,
    dry_run: bool = False,
    allow_mass_delete: bool = False,
    progress: Callable[[Report], None] = lambda _report: None,
) -> list[Report]:
    """Sweep sites once, now: those named, or all; in each everything, or one mailbox.

    ``progress`` is called with a site's report whenever a mailbox has been compared, and when the site is done.

    Raises:
        ConfigurationError: the sites file cannot be used or does not name one of the sites, or no site is known to
            have the mailbox.
        StoreUnavailableError: Redis cannot be reached or takes no writes: nothing was begun.
    """
    async with opened(settings, dry_run=dry_run) as (engine, sites):
        if not dry_run:
            await engine.store.check()
        chosen = _named(site_ids, sites)
        only = None if mailbox is None else _address(mailbox)
        paused = await engine.store.paused()
        turns = asyncio.Semaphore(SITES_AT_ONCE)

        async def swept(site: Site) -> Report:
            if site.site_id in paused:
                return Report(site.site_id, failure="paused by hand: see calsync site resume")
            async with turns:
                report = await engine.sweeper.sweep(
                    site,
                    allow_mass_delete=allow_mass_delete,
                    only=only,
                    named=len(chosen) == 1,
                    progress=progress,
                )
            fault = engine.states.suspended(site.site_id)
            if fault is not None:
                report.failure = report.failure or f"suspended: {fault}"
            elif only is not None and report.unserved:
                report.failure = report.failure or "the mailbox is parked: see calsync mailbox list"
            report.done = True
            progress(report)
            return report

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(swept(site)) for site in chosen]
        reports = [task.result() for task in tasks]
    if only is None:
        return reports
    found = [report for report in reports if report.mailboxes or report.failure]
    if not found:
        raise ConfigurationError([f"--mailbox {only}: neither Core nor a link names it; say whose it is with --site"])
    return found


async def parked_mailboxes(settings: Settings, site_ids: Sequence[str]) -> list[tuple[Mailbox, Parking]]:
    """Every parked mailbox of the sites named, or of all, the longest parked first."""
    async with opened(settings) as (engine, sites):
        chosen = {site.site_id for site in _named(site_ids, sites)}
        parked = [each for each in await engine.store.list_parked() if not site_ids or each[0].site in chosen]
    return sorted(parked, key=lambda each: (each[1].since, each[0]))


async def park_mailbox(settings: Settings, address: str, site_id: str | None, note: str) -> Mailbox:
    """Try the mailbox no more until it is enabled.

    Raises:
        ConfigurationError: it is not said, and not clear, whose it is; or that is not an address.
    """
    async with opened(settings) as (engine, sites):
        [site, *others] = _named([site_id] if site_id else [], sites)
        if others:
            raise ConfigurationError([f"{address}: say whose it is with --site"])
        mailbox = Mailbox(site.site_id, _address(address))
        if "@" not in mailbox.address:
            raise ConfigurationError([f"{address}: no mailbox's address, such as ann@acme.example"])
        await engine.store.park(mailbox, BY_HAND, hourly=False, note=note)
        return mailbox


async def enable_mailbox(settings: Settings, address: str, site_id: str | None) -> list[Mailbox]:
    """Park the mailbox no more; of several sites that have it parked, all, unless one is named.

    Raises:
        ConfigurationError: it is not parked.
    """
    async with opened(settings) as (engine, sites):
        chosen = {site.site_id for site in _named([site_id] if site_id else [], sites)}
        parked = sorted(mailbox for mailbox, _ in await engine.store.list_parked())
        found = [mailbox for mailbox in parked if mailbox.address == _address(address) and mailbox.site in chosen]
        if not found:
            raise ConfigurationError([f"{address}: not parked; see calsync mailbox list"])
        for mailbox in found:
            await engine.store.enable(mailbox)
        return found


async def site_standings(settings: Settings) -> list[SiteStanding]:
    """Every site of the sites file, as the store knows it."""
    async with opened(settings) as (engine, sites):
        store = engine.store
        paused, parked = await store.paused(), await store.list_parked()
        return [
            SiteStanding(
                site,
                paused.get(site_id),
                await store.events(site_id),
                sum(mailbox.site == site_id for mailbox, _ in parked),
                await store.count_dirty(site_id),
            )
            for site_id, site in sites.items()
        ]


async def pause_site(settings: Settings, site_id: str) -> None:
    """Have no replica serve the site until it is resumed. Raises ``ConfigurationError`` if there is no such site."""
    async with opened(settings) as (engine, sites):
        _named([site_id], sites)
        await engine.store.pause(site_id)


async def resume_site(settings: Settings, site_id: str) -> None:
    """Pause the site no more; the replicas sweep it at once. Raises ``ConfigurationError`` if it is not paused."""
    async with opened(settings) as (engine, _):
        if site_id not in await engine.store.paused():
            raise ConfigurationError([f"{site_id}: not paused; see calsync site list"])
        await engine.store.resume(site_id)


def _named(site_ids: Sequence[str], sites: Sites) -> list[Site]:
    """The sites of these ids, or all. Raises ``ConfigurationError`` for one that the sites file lacks."""
    unknown = [f"site {site_id}: CALSYNC_SITES_FILE does not name it" for site_id in site_ids if site_id not in sites]
    if unknown:
        raise ConfigurationError(unknown)
    return [sites[site_id] for site_id in (site_ids or sites)]


def _address(given: str) -> str:
    address = normalise(given)
    if address is None:
        raise ConfigurationError(["the mailbox's address is blank"])
    return address
