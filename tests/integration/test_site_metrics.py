"""Metrics of a site disappear when the site leaves the sites file, and only one replica reports its sweeps."""

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx

from sandbox.stack import Service
from tests.company import Company, eventually, found_company, now
from tests.warm import Warm

SWEPT = {
    "calsync_sweep_last_success_timestamp_seconds",
    "calsync_sweep_held_deletions",
    "calsync_mailboxes_unavailable",
}
"""What the replica shows that sweeps the site."""
OF_A_SITE = SWEPT | {
    "calsync_site_up",
    "calsync_client_secret_expiry_timestamp_seconds",
    "calsync_sweep_seconds_count",
    "calsync_sweep_repairs_total",
    "calsync_assignments_dirty",
    "calsync_mailboxes_parked",
}
FAST = {"CALSYNC_SWEEP_INTERVAL_SECONDS": "1"}


async def shown(service: Service) -> dict[str, set[str]]:
    """The names of the series of each site."""
    async with httpx.AsyncClient(verify=False) as client:
        text = (await client.get(f"{service.url}/metrics")).text
    found: dict[str, set[str]] = {}
    for name, site_id in re.findall(r'^(\w+)\{[^}]*\bsite="([^"]+)"', text, re.MULTILINE):
        found.setdefault(site_id, set()).add(name)
    return found


async def test_nothing_is_shown_of_a_site_that_left_the_sites_file(company: Company) -> None:
    company.publish(company.generate(workers=2, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    expires = (now() + timedelta(days=90)).date().isoformat()
    text = company.stack.sites_file.read_text()
    company.stack.sites_file.write_text(
        re.sub(r"^(\s*client_id\s*=.*)$", rf"\1\nclient_secret_expires = {expires}", text, flags=re.MULTILINE)
    )
    service = await company.start(**FAST)
    await company.consumed()
    first, second = company.sites
    ours = await company.ours()
    for site_id in (first.site_id, second.site_id):
        address, event = next(held for held in ours if held[1]["tag"].startswith(f"{site_id}/"))
        await company.graph.user_edit(address, {"subject": "Mine"}, event_id=event["id"])
        address = next(address for address, held in ours if held["tag"].startswith(f"{site_id}/"))

    async def repaired() -> bool:
        found = await shown(service)
        return all("calsync_sweep_repairs_total" in found.get(site.site_id, set()) for site in company.sites)

    await eventually(repaired, "a repair of each site is counted")
    for site_id in (first.site_id, second.site_id):
        address = next(address for address, held in ours if held["tag"].startswith(f"{site_id}/"))
        assert (await company.command("mailbox", "park", address, "--site", site_id)).returncode == 0

    async def whole() -> bool:
        found = await shown(service)
        return all(found.get(site.site_id, set()) >= OF_A_SITE for site in company.sites)

    await eventually(whole, "every series of both sites is shown")
    company.stack.write_sites([first])

    async def gone() -> bool:
        return second.site_id not in await shown(service)

    await eventually(gone, "no series of the second site is shown")
    swept = await company.sweeps(service, first.site_id)

    async def looked_again() -> bool:
        return await company.sweeps(service, first.site_id) > swept + 6

    await eventually(looked_again, "parked mailboxes and marks were looked at again")
    assert list(await shown(service)) == [first.site_id]
    company.stack.write_sites(company.sites)

    async def back() -> bool:
        return (await shown(service)).get(second.site_id, set()) >= SWEPT

    await eventually(back, "the second site is swept again")


async def test_only_the_replica_that_sweeps_a_site_reports_its_sweeps(
    tmp_path: Path, broker: str, warm: Warm, valkey_url: str
) -> None:
    async with found_company(
        tmp_path,
        broker,
        valkey_url,
        name=f"moves-{uuid4().hex[:8]}",
        site_ids=tuple(f"site-{number}" for number in range(1, 9)),
        kafka_properties={"fetch.wait.max.ms": "10"},
        warm=warm,
    ) as company:
        company.publish(company.generate(workers=1, jobs=1))
        await company.open_mailboxes()
        await company.give_core_the_schedule()
        site_ids = {site.site_id for site in company.sites}
        replicas = [await company.start("one", **FAST)]

        async def speak() -> list[set[str]]:
            """The sites whose sweeps each replica shows."""
            answers = [await shown(replica) for replica in replicas]
            return [{site_id for site_id, names in found.items() if names & SWEPT} for found in answers]

        async def one_speaks_for_each() -> list[set[str]]:
            spoken = await speak()
            counts = Counter(site_id for sites in spoken for site_id in sites)
            return spoken if counts == dict.fromkeys(site_ids, 1) and all(spoken) else []

        await eventually(one_speaks_for_each, "the first replica shows every sweep")
        replicas.append(await company.start("two", **FAST))
        await eventually(one_speaks_for_each, "each site's sweeps are shown by one of two replicas", within=60)
        for replica in replicas:
            assert (await shown(replica)).keys() == site_ids, "what every replica knows is shown by each"
