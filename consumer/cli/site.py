"""``calsync site``: which sites are served or paused."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from consumer.cli.console import Json, configured, moment, output, print_document, run_until_done
from consumer.cli.opened import named_sites, opened
from consumer.domain.errors import ConfigurationError
from consumer.settings import Settings
from consumer.sync.site_status import SiteStatus

cli = typer.Typer(help="Customers: served or paused.", no_args_is_help=True, add_completion=False)
SiteArgument = Annotated[str, typer.Argument(help="The site's id.")]


@cli.command("list")
def list_sites(as_json: Json = False) -> None:
    """The sites of the sites file: paused or served, and what waits for whom."""
    statuses = run_until_done(site_statuses(configured()))
    print_document(document(statuses)) if as_json else output.print(table(statuses))


@cli.command("pause")
def pause(site: SiteArgument) -> None:
    """Stop serving a site until it is resumed: its changes are handed over to the sweep."""
    run_until_done(pause_site(configured(), site))
    output.print(f"paused: {site}; every replica knows within five seconds")


@cli.command("resume")
def resume(site: SiteArgument) -> None:
    """Serve a paused site again; the replicas sweep it at once."""
    run_until_done(resume_site(configured(), site))
    output.print(f"resumed: {site}; every replica knows within five seconds")


async def site_statuses(settings: Settings) -> list[SiteStatus]:
    """Every site of the sites file, as the store knows it."""
    async with opened(settings) as (engine, sites):
        paused, parked = await engine.operators.paused(), await engine.operators.list_parked()
        return [
            SiteStatus(
                site,
                paused.get(site_id),
                await engine.status.events(site_id),
                sum(mailbox.site == site_id for mailbox, _ in parked),
                await engine.status.count_dirty(site_id),
            )
            for site_id, site in sites.items()
        ]


async def pause_site(settings: Settings, site_id: str) -> None:
    """Have no replica serve the site until it is resumed. Raises ``ConfigurationError`` if there is no such site."""
    async with opened(settings) as (engine, sites):
        named_sites([site_id], sites)
        await engine.operators.pause(site_id)


async def resume_site(settings: Settings, site_id: str) -> None:
    """End the pause of the site; the replicas sweep it at once. Raises ``ConfigurationError`` if it is not paused."""
    async with opened(settings) as (engine, _):
        if site_id not in await engine.operators.paused():
            raise ConfigurationError([f"{site_id}: not paused; see calsync site list"])
        await engine.operators.resume(site_id)


def table(statuses: Sequence[SiteStatus]) -> Table:
    """A row a site."""
    table = Table(title="Sites", title_justify="left")
    for column in ("site", "name", "state", "secret expires"):
        table.add_column(column, overflow="fold")
    for column in ("jobs", "parked mailboxes", "dirty"):
        table.add_column(column, justify="right")
    for status in statuses:
        site = status.site
        state = "served" if status.paused_since is None else f"paused since {moment(status.paused_since)}"
        counts = (status.events, status.parked, status.dirty)
        expires = site.client_secret_expires
        table.add_row(site.site_id, site.name, state, str(expires or ""), *(str(count) for count in counts))
    return table


def document(statuses: Sequence[SiteStatus]) -> dict[str, Any]:
    """``{"sites": [...]}``."""
    entries = [
        {
            "site": status.site.site_id,
            "name": status.site.name,
            "timezone": status.site.timezone,
            "paused_since": None if status.paused_since is None else moment(status.paused_since),
            "client_secret_expires": status.site.client_secret_expires,
            "events": status.events,
            "parked_mailboxes": status.parked,
            "dirty": status.dirty,
        }
        for status in statuses
    ]
    return {"sites": entries}
