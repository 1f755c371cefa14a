"""``calsync sweep`` against calendars that cannot be read, and events that its view does not show."""

from datetime import timedelta
from typing import Any

import pytest

from tests.company import Company, now

SITE = "site-1"


@pytest.fixture
async def swept(company: Company) -> Company:
    """Calendars that equal the schedule."""
    company.generate(workers=4, jobs=5)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    assert (await company.sweep()).status == 0
    return company


async def event_of(company: Company) -> tuple[str, dict[str, Any]]:
    """An event of the site and its mailbox."""
    return next((address, event) for address, event in await company.ours() if event["tag"].startswith(f"{SITE}/"))


async def test_a_mailbox_that_fails_in_three_sweeps_is_named_and_no_longer_fails_the_sweep(swept: Company) -> None:
    address, _ = await event_of(swept)
    fault = await swept.graph.set_fault("move-in-progress", operation="view", mailbox=address)
    for status in (1, 1, 0, 0):
        done = await swept.sweep("--site", SITE)
        site = done.sites[SITE]
        assert (done.status, site["whole"], site["failure"] is None) == (status, status == 0, status == 0)
        assert [mailbox["mailbox"] for mailbox in site["unavailable"]] == ([] if status else [address])
    printed = await swept.command("sweep", "--site", SITE)
    assert printed.returncode == 0
    assert f"{SITE}  {address}  unavailable, in 5 sweeps in a row: " in printed.stdout
    await swept.graph.remove_fault(fault)
    done = await swept.sweep("--site", SITE)
    assert (done.status, done.sites[SITE]["unavailable"]) == (0, [])
    await swept.judge()


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
async def test_a_sweep_that_reads_nothing_ends_with_1_and_reports_why(swept: Company, options: tuple[str, ...]) -> None:
    assert (await swept.sweep()).status == 0  # it counts the events that the first sweep created
    counted = (await swept.command("site", "list", "--json")).stdout
    before = await swept.graph.events()
    for address in {address for address, _ in await swept.ours()}:
        await swept.graph.set_fault("invalid-request", operation="view", mailbox=address)
    done = await swept.sweep(*options)
    assert done.status == 1
    for site in done.sites.values():
        assert not site["whole"]
        assert "ErrorInvalidRequest" in site["failure"]
    assert await swept.graph.events() == before
    assert '"events": 0' not in counted
    assert (await swept.command("site", "list", "--json")).stdout == counted


@pytest.mark.parametrize("where", ["far away", "in another calendar", "in Deleted Items", "gone"])
@pytest.mark.parametrize("found_by_id", [False, True])
async def test_an_event_out_of_view_is_back_after_two_sweeps_and_a_dragged_event_keeps_its_categories(
    swept: Company, where: str, found_by_id: bool
) -> None:
    await swept.graph.set_switches(deleted_items_by_id=found_by_id)
    address, event = await event_of(swept)
    tag = event["tag"]
    await swept.graph.user_edit(address, {"categories": ["Red category"]}, tag=tag)
    match where:
        case "far away":
            times = [
                {"dateTime": (now() + timedelta(days=60, hours=hours)).strftime("%Y-%m-%dT%H:00:00"), "timeZone": "UTC"}
                for hours in (0, 1)
            ]
            await swept.graph.user_edit(address, {"start": times[0], "end": times[1]}, tag=tag)
        case "in another calendar":
            await swept.graph.user_move(address, "Other", tag=tag)
        case "in Deleted Items":
            await swept.graph.user_delete(address, tag=tag)
        case "gone":
            await swept.graph.act("purge", address, tag=tag)
    sweeps = 1 if where in ("far away", "gone") or (where == "in Deleted Items" and not found_by_id) else 2
    for _ in range(sweeps):
        assert (await swept.sweep("--site", SITE)).status == 0
    await swept.judge()
    if where == "far away":
        [kept] = [found for _, found in await swept.ours() if found["tag"] == tag]
        assert kept["id"] == event["id"]
        assert kept["categories"] == ["Red category"]
    assert (await swept.sweep("--site", SITE)).status == 0
    await swept.graph.reset_stats()
    assert (await swept.sweep("--site", SITE)).status == 0
    assert await swept.writes() == 0
