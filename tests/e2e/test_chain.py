"""From a commit in Core's database to the calendars: PostgreSQL, Debezium, Kafka, the registry, the service."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from statistics import quantiles
from typing import Any

import fastavro
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

import schemas
from sandbox.chain import TOPICS, Chain
from sandbox.control import Mailbox
from sandbox.core.rows import instant
from tests.company import Company, eventually, found_company, now
from tests.e2e.planners import JOBS, Planners

TOPIC = next(iter(TOPICS))
SITES = ("site-1", "site-2")
TRANSACTIONS = 2_000
SHOWN_WITHIN = 30.0

DELETE_SOME = """
    delete from jobs where job_id in (
        select job_id from calendar_job
        where starts_at is not null and status <> 'cancelled' and workers #>> '{0, calendar_email}' is not null
        order by job_id limit 5
    )
"""
LAST = "last@site-1.example"
LAST_TRANSACTION = f"""
    begin;
    insert into workers values ('last', 'site-1', 'Last', '{LAST}');
    insert into jobs (job_id, site_id, starts_at, ends_at)
        values ('last', 'site-1', now() + interval '1 day', now() + interval '2 days');
    insert into assignments values ('last', 'last');
    commit
"""
"""Committed after all others: the feed keeps the order of the commits, so its record arrives last."""


@asynccontextmanager
async def company_of(chain: Chain, redis_url: str, folder: Path, *sites: str) -> AsyncIterator[Company]:
    """A company whose Core is the chain's database. After the first sweep, only a test starts sweeps."""
    environment = {
        "CALSYNC_SCHEMA_REGISTRY_URL": chain.registry.confluent_url,
        "CALSYNC_SWEEP_INTERVAL_SECONDS": "86400",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        bootstrap_servers = chain.kafka.bootstrap_servers
        async with found_company(folder, bootstrap_servers, redis_url, name=TOPIC, site_ids=sites) as company:
            yield company


async def start(company: Company, chain: Chain) -> None:
    """Starts the feed, and then the service."""
    await asyncio.to_thread(chain.start_feed)
    await read_core(company, chain)
    await company.start()


async def read_core(company: Company, chain: Chain) -> None:
    """From now on, Core's API and the test's checks use what is committed in the database now."""
    company.schedule = await asyncio.to_thread(chain.core.schedule, now)
    await company.give_core_the_schedule()


async def commit(company: Company, chain: Chain, sql: str) -> None:
    """Runs one transaction; returns when the calendars show it, without the help of a sweep."""
    await asyncio.to_thread(chain.core.run, sql)
    await read_core(company, chain)
    await company.equal(SHOWN_WITHIN)


async def subjects(company: Company, address: str) -> list[str]:
    return [event["subject"] for mailbox, event in await company.ours() if mailbox == address]


async def test_rows_committed_in_cores_database_reach_the_calendars(
    tmp_path: Path, chain: Chain, redis_url: str
) -> None:
    tomorrow = (now() + timedelta(days=1)).replace(microsecond=0)
    hours = f"'{tomorrow.isoformat()}', '{(tomorrow + timedelta(hours=2)).isoformat()}'"
    columns = "job_id, site_id, client_id, place_id, contact_id, starts_at, ends_at"
    ann, new_ann, bob = "ann@acme.example", "ann.new@acme.example", "bob@acme.example"
    async with company_of(chain, redis_url, tmp_path, "acme") as company:
        (site,) = company.sites
        await company.graph.add_mailboxes(site.tenant_id, [Mailbox(address) for address in (ann, new_ann, bob)])
        chain.core.run(
            f"""
            insert into sites values ('acme', 'Acme', 'Europe/London');
            insert into clients values ('c1', 'acme', 'Northwind');
            insert into places values ('p1', 'c1', 'Plant 4', '1 Mill Lane');
            insert into contacts values ('k1', 'c1', 'Sam', '07700 900001', null, null);
            insert into workers values ('w1', 'acme', 'Ann', '{ann}'), ('w2', 'acme', 'Bob', '{bob}')
            """
        )
        await start(company, chain)
        await commit(
            company,
            chain,
            f"""
            insert into jobs ({columns}) values ('j1', 'acme', 'c1', 'p1', 'k1', {hours});
            insert into jobs ({columns}) values ('j2', 'acme', 'c1', null, null, {hours});
            insert into assignments values ('j1', 'w1'), ('j2', 'w1')
            """,
        )
        assert await subjects(company, ann) == ["Core Job — Northwind (Plant 4)", "Core Job — Northwind"]
        await commit(company, chain, "update clients set name = 'Contoso'")
        assert await subjects(company, ann) == ["Core Job — Contoso (Plant 4)", "Core Job — Contoso"]
        await commit(company, chain, "update assignments set worker_id = 'w2' where job_id = 'j1'")
        assert await subjects(company, ann) == ["Core Job — Contoso"]
        assert await subjects(company, bob) == ["Core Job — Contoso (Plant 4)"]
        await commit(company, chain, f"update workers set calendar_email = '{new_ann}' where worker_id = 'w1'")
        assert await subjects(company, ann) == []
        assert await subjects(company, new_ann) == ["Core Job — Contoso"]
        await commit(company, chain, "update jobs set status = 'cancelled' where job_id = 'j1'")
        assert await subjects(company, bob) == []
        # A new column in the middle of the table makes a new schema, of which the service reads the fields it knows.
        await commit(
            company,
            chain,
            "alter table calendar_job add column priority text;update jobs set subject = 'Evolved' where job_id = 'j2'",
        )
        assert json.loads(chain.registry.schema(f"{TOPIC}-value")) != schema("job-changed-value")
        await commit(company, chain, "delete from jobs where job_id = 'j2'")
        assert await company.ours() == []
        await company.consumed()  # the tombstone too
        await company.judge()
        checked = await company.command("check-feed", "--json")
        assert checked.returncode == 0, checked.stdout
        heartbeat = "calsync_cdc_heartbeat_timestamp_seconds"
        await eventually(lambda: company.metric(company.services[0], heartbeat), "a heartbeat was seen", 30)


async def test_the_feed_registers_the_schemas_of_the_repository_and_a_signal_starts_a_snapshot(chain: Chain) -> None:
    chain.core.run("insert into sites values ('acme', 'Acme', 'UTC')")
    chain.core.run("insert into jobs (job_id, site_id) values ('j1', 'acme')")
    await asyncio.to_thread(chain.start_feed)
    with closing(reader(chain, TOPIC)) as topic:
        (first,) = await asyncio.to_thread(topic.consume, 1, 30)
        for subject, name in (
            (f"{TOPIC}-value", "job-changed-value"),
            (f"{TOPIC}-key", "job-changed-key"),
            ("__debezium-heartbeat.core-value", "heartbeat-value"),
        ):
            assert json.loads(chain.registry.schema(subject)) == schema(name)
        chain.core.run(
            "insert into calendar_feed_signal values ('again', 'execute-snapshot',"
            """ '{"type": "incremental", "data-collections": ["public.calendar_job"]}')"""
        )
        (again,) = await asyncio.to_thread(topic.consume, 1, 30)
        assert again.key() == first.key()
        assert [envelope(message)["source"]["snapshot"] for message in (first, again)] == ["last", "incremental"]
        assert envelope(first)["after"] == envelope(again)["after"]


def reader(chain: Chain, topic: str) -> Consumer:
    """A consumer that reads the whole topic."""
    consumer = Consumer({"bootstrap.servers": chain.kafka.bootstrap_servers, "group.id": "reader"})
    partitions = range(TOPICS[topic]["partitions"])
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    return consumer


def envelope(message: Message) -> dict[str, Any]:
    """The content of a record, read with the schema of the repository."""
    confluent_header = 5
    body = BytesIO((message.value() or b"")[confluent_header:])
    content = fastavro.schemaless_reader(body, fastavro.parse_schema(schema("job-changed-value")), None)
    assert isinstance(content, dict)
    return content


def schema(name: str) -> Any:
    return json.loads((schemas.FOLDER / f"{name}.avsc").read_text(encoding="utf-8"))


async def test_two_thousand_transactions_while_each_part_of_the_feed_fails(
    tmp_path: Path, chain: Chain, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with company_of(chain, redis_url, tmp_path, *SITES) as company:
        planners = Planners(company.random, SITES, now() + timedelta(days=1))
        for site in company.sites:
            boxes = [Mailbox(address) for address in [*planners.mailboxes(site.site_id), LAST]]
            await company.graph.add_mailboxes(site.tenant_id, boxes)
        with chain.core.session() as core:
            core.run(planners.found())
        await start(company, chain)
        await company.equal(60)
        with capsys.disabled():
            print(f"\nfrom commit to calendar: {await latency(company, chain)}")

        def plan() -> None:
            with chain.core.session() as core:
                for _ in range(TRANSACTIONS // 8):
                    core.run(planners.transaction())

        async def planned_during(*faults: Callable[[], None]) -> None:
            """The planners continue during these failures, one after another. Then the feed catches up, unswept."""
            await asyncio.gather(asyncio.to_thread(plan), asyncio.to_thread(in_turn, *faults))
            await asyncio.to_thread(chain.await_feed)
            await read_core(company, chain)
            await company.equal(60)

        await planned_during()
        await planned_during(chain.connect.kill, chain.connect.start)
        await planned_during(chain.connect.restart)
        await planned_during(chain.kafka.kill, chain.kafka.start)
        await planned_during(chain.registry.kill, chain.registry.start)
        # All clients of PostgreSQL, including the planners, lose their connections.
        await asyncio.to_thread(in_turn, plan, chain.postgres.kill, chain.postgres.start)
        await planned_during()
        # Commits without a replication slot are in no log. A snapshot contains them, but not the rows deleted then.
        await asyncio.to_thread(in_turn, chain.connect.stop, chain.drop_slot, plan)
        chain.core.run(DELETE_SOME)
        await asyncio.to_thread(in_turn, chain.connect.start, chain.await_feed)
        chain.core.run(LAST_TRANSACTION)
        await eventually(lambda: subjects(company, LAST), "the last transaction is in its calendar", 60)

        await company.consumed()
        await read_core(company, chain)
        left = await company.differences()
        done = await company.sweep()
        with capsys.disabled():
            print(f"left for the sweep: {len(left)}; it repaired {[done.repairs(site) for site in SITES]}")
        assert left
        assert all(": surplus: " in difference for difference in left), left
        assert done.status == 0, done.errors
        await company.judge()


def in_turn(*steps: Callable[[], None]) -> None:
    for step in steps:
        step()


async def latency(company: Company, chain: Chain) -> str:
    """Measures the time from a commit to Graph's acceptance, at up to 25 commits a second, each a reschedule."""

    def move_every_job() -> None:
        with chain.core.session() as core:
            for number in range(JOBS):
                core.run(
                    f"update jobs set starts_at = starts_at - interval '1 minute' where job_id = 'site-1-j{number}';"
                    "select pg_sleep(0.04)"
                )

    await asyncio.to_thread(move_every_job)
    await read_core(company, chain)
    await company.equal(SHOWN_WITHIN)
    committed = json.loads(
        chain.core.run(
            "select json_object_agg(site_id || '/' || job_id, pg_xact_commit_timestamp(xmin)) from calendar_job"
            " where site_id = 'site-1'"
        )
    )
    milliseconds = [
        (instant(event["lastModifiedDateTime"]) - instant(committed[event["tag"]])) / timedelta(milliseconds=1)
        for _, event in await company.ours()
        if event["tag"] in committed
    ]
    percentiles = quantiles(milliseconds, n=100)
    return f"p50 {percentiles[49]:.0f} ms, p99 {percentiles[98]:.0f} ms of {len(milliseconds)} changes"
