"""``calsync mailbox``: which mailboxes are parked, and what operators say of them."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from consumer.cli.console import Json, SiteOptions, configured, moment, output, print_document, run_until_done
from consumer.cli.opened import address_of, named_sites, opened
from consumer.cli.sweep import report_sweeps, sweep_once
from consumer.domain.errors import ConfigurationError
from consumer.domain.mailbox import Mailbox
from consumer.settings import Settings
from consumer.sync.parking import BY_HAND, Parking

cli = typer.Typer(help="Mailboxes that are not tried.", no_args_is_help=True, add_completion=False)
Address = Annotated[str, typer.Argument(help="The calendar email.")]


@cli.command("list")
def list_mailboxes(site: SiteOptions = None, as_json: Json = False) -> None:
    """Which mailboxes are not tried, why, and since when."""
    parked = run_until_done(parked_mailboxes(configured(), site or []))
    print_document(document(parked)) if as_json else output.print(table(parked))


@cli.command("park")
def park(
    address: Address,
    site: Annotated[
        str | None,
        typer.Option("--site", help="Whose mailbox it is. May be left out if the sites file has one site."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for those who find it parked.")] = "",
) -> None:
    """Do not try a mailbox any more, until it is enabled; its events stay as they are."""
    mailbox = run_until_done(park_mailbox(configured(), address, site, reason))
    output.print(f"parked: {mailbox.address} of {mailbox.site}")


@cli.command("enable")
def enable(
    address: Address,
    site: Annotated[
        str | None,
        typer.Option("--site", help="Whose mailbox it is. Without it, every site that has it parked."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Try a parked mailbox again, and sweep it at once."""
    settings = configured()
    enabled = run_until_done(enable_mailbox(settings, address, site))
    reports = [
        report
        for mailbox in enabled
        for report in run_until_done(sweep_once(settings, [mailbox.site], mailbox=mailbox.address))
    ]
    report_sweeps(reports, planned=None, as_json=as_json)


async def parked_mailboxes(settings: Settings, site_ids: Sequence[str]) -> list[tuple[Mailbox, Parking]]:
    """Every parked mailbox of the sites named, or of all, the longest parked first."""
    async with opened(settings) as (engine, sites):
        chosen = {site.site_id for site in named_sites(site_ids, sites)}
        parked = [each for each in await engine.operators.list_parked() if not site_ids or each[0].site in chosen]
    return sorted(parked, key=lambda each: (each[1].since, each[0]))


async def park_mailbox(settings: Settings, address: str, site_id: str | None, note: str) -> Mailbox:
    """Stop trying the mailbox until it is enabled.

    Raises:
        ConfigurationError: it is not said, and not clear, whose it is; or that is not an address.
    """
    async with opened(settings) as (engine, sites):
        [site, *others] = named_sites([site_id] if site_id else [], sites)
        if others:
            raise ConfigurationError([f"{address}: say whose it is with --site"])
        mailbox = Mailbox(site.site_id, address_of(address))
        if "@" not in mailbox.address:
            raise ConfigurationError([f"{address}: no mailbox's address, such as ann@acme.example"])
        await engine.operators.park(mailbox, BY_HAND, hourly=False, note=note)
        return mailbox


async def enable_mailbox(settings: Settings, address: str, site_id: str | None) -> list[Mailbox]:
    """Stop parking the mailbox: at every site that has it parked, unless one is named.

    Raises:
        ConfigurationError: it is not parked.
    """
    async with opened(settings) as (engine, sites):
        chosen = {site.site_id for site in named_sites([site_id] if site_id else [], sites)}
        parked = sorted(mailbox for mailbox, _ in await engine.operators.list_parked())
        found = [mailbox for mailbox in parked if mailbox.address == address_of(address) and mailbox.site in chosen]
        if not found:
            raise ConfigurationError([f"{address}: not parked; see calsync mailbox list"])
        for mailbox in found:
            await engine.operators.enable(mailbox)
        return found


def table(parked: Sequence[tuple[Mailbox, Parking]]) -> Table:
    """A row a parked mailbox."""
    table = Table(title="Parked mailboxes", title_justify="left")
    for column in ("site", "mailbox", "since", "reason", "tried"):
        table.add_column(column, overflow="fold")
    for mailbox, parking in parked:
        reason = ": ".join(part for part in (parking.code, parking.note) if part)
        tried = "hourly" if parking.hourly else "when enabled"
        table.add_row(mailbox.site, mailbox.address, moment(parking.since), reason, tried)
    return table


def document(parked: Sequence[tuple[Mailbox, Parking]]) -> dict[str, Any]:
    """``{"parked": [...]}``."""
    entries = [
        {
            "site": mailbox.site,
            "mailbox": mailbox.address,
            "since": moment(parking.since),
            "code": parking.code,
            "note": parking.note,
            "hourly": parking.hourly,
        }
        for mailbox, parking in parked
    ]
    return {"parked": entries}
