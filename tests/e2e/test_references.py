"""Schemas that a real registry stores in parts, as Apicurio's converter registers them by default."""

import asyncio
from datetime import timedelta
from pathlib import Path

from sandbox.chain import CONNECTOR, Chain
from sandbox.control import Mailbox
from tests.company import now
from tests.e2e.test_chain import commit, company_of, read_core, subjects

IN_PARTS = {f"{part}.converter.apicurio.registry.dereference-schema": "false" for part in ("key", "value")}


async def test_changes_whose_schema_is_registered_in_parts_reach_the_calendars(
    tmp_path: Path, chain: Chain, redis_url: str
) -> None:
    start = now() + timedelta(days=1)
    ann = "ann@acme.example"
    async with company_of(chain, redis_url, tmp_path, "acme") as company:
        (site,) = company.sites
        await company.graph.add_mailboxes(site.tenant_id, [Mailbox(ann)])
        chain.core.run(
            "insert into sites values ('acme', 'Acme', 'Europe/London');"
            "insert into clients values ('c1', 'acme', 'Northwind');"
            f"insert into workers values ('w1', 'acme', 'Ann', '{ann}')"
        )
        chain.connect.put_connector({"name": CONNECTOR["name"], "config": {**CONNECTOR["config"], **IN_PARTS}})
        await asyncio.to_thread(chain.await_feed)
        await read_core(company, chain)
        await company.start()
        await commit(
            company,
            chain,
            "insert into jobs (job_id, site_id, client_id, starts_at, ends_at)"
            f" values ('in-parts', 'acme', 'c1', '{start.isoformat()}', '{(start + timedelta(hours=1)).isoformat()}');"
            "insert into assignments values ('in-parts', 'w1')",
        )
        assert await subjects(company, ann) == ["Core Job — Northwind"]
        assert "core.public.calendar_job.Value" in chain.registry.subjects()
        # A new version of a part: the old one can still be read.
        await commit(
            company,
            chain,
            "alter table calendar_job add column priority text; update clients set name = 'Contoso'",
        )
        assert await subjects(company, ann) == ["Core Job — Contoso"]
        assert "priority" in chain.registry.schema("core.public.calendar_job.Value")
        checked = await company.command("check-feed", "--json")
        assert checked.returncode == 0, checked.stdout
        await commit(company, chain, "delete from jobs")
        assert await company.ours() == []
