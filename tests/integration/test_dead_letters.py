"""Unreadable records through the real service: blocked partitions, dead letters, replays, and the check of the feed."""

import asyncio
import json
from dataclasses import replace

import pytest

from consumer import settings
from consumer.cli import dead_letters, replayer
from consumer.domain.errors import ConfigurationError, TransientError
from consumer.kafka import offset_range
from consumer.kafka.topic import TopicIdentity
from sandbox.core.feed import Record
from sandbox.core.producer import FeedProducer
from tests.company import Company, eventually


def unreadable(count: int) -> list[Record]:
    """This many unreadable records of one key, and so of one partition."""
    return [Record(b"J-unreadable", b"\x07 no framing of ours") for _ in range(count)]


async def blocked(company: Company) -> list[dict[str, int]]:
    listed = await company.command("dead-letters", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return list(json.loads(listed.stdout)["blocked"])


async def test_a_run_of_unreadable_records_blocks_its_partition_until_it_is_resumed(company: Company) -> None:
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start()
    await company.consumed()
    company.publish_raw(*unreadable(60))

    async def dead_lettered() -> bool:
        return await company.metric(service, 'calsync_dead_letters_total{reason="undecodable"}') >= 50

    await eventually(dead_lettered, "fifty are dead letters")
    [block] = await blocked(company)
    sample = f'calsync_kafka_blocked{{partition="{block["partition"]}",topic="{company.stack.topic}"}}'

    async def reported() -> bool:
        return await company.metric(service, sample) == 1

    await eventually(reported, "the block is reported")
    # All other partitions are read on. Records on this one wait.
    changes = [
        change
        for job in list(company.schedule.jobs.values())
        for change in company.schedule.change_job(job.job_id, notes="Bring a ladder.")
    ]
    company.publish(changes)
    await company.consumed(besides={block["partition"]})
    assert 0 < len(await company.differences()) < len(changes)
    assert len(company.dead_letters()) == 50
    resumed = await company.command("dead-letters", "resume")
    assert resumed.returncode == 0, resumed.stderr
    await company.consumed()
    await company.judge()
    assert len(company.dead_letters()) == 60
    assert await blocked(company) == []
    strange = await company.command("dead-letters", "resume", "--partition", "0")
    assert strange.returncode == 2
    assert "not blocked" in strange.stderr


async def test_a_partition_blocked_at_its_last_record_continues_when_it_is_resumed(company: Company) -> None:
    company.publish_raw(*unreadable(50))
    service = await company.start()

    async def is_blocked() -> bool:
        return bool(await blocked(company))

    await eventually(is_blocked, "the partition is blocked")
    await company.consumed()
    assert (await company.command("dead-letters", "resume")).returncode == 0

    async def reported() -> bool:
        return "partition unblocked" in service.process.log.read_text()

    await eventually(reported, "the service reads on")
    company.publish_raw(*unreadable(1))
    await company.consumed()
    assert len(company.dead_letters()) == 51


async def test_dead_letters_are_listed_and_replayed_and_a_repeated_failure_keeps_its_count(
    company: Company,
) -> None:
    """All records were unreadable in an earlier version of the service, and one still is."""
    changes = company.generate(workers=2, jobs=2)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    good = [record for change in changes for record in company.encoder.records(change)]
    about = (("calsync.reason", b"undecodable: once"), ("calsync.attempts", b"3"))
    beside = FeedProducer(company.stack.bootstrap_servers, f"{company.stack.topic}.dlq")
    beside.send(replace(record, headers=about) for record in [*good, *unreadable(1)])
    beside.flush()
    listed = json.loads((await company.command("dead-letters", "list", "--json")).stdout)["letters"]
    assert {(letter["attempts"], letter["reason"]) for letter in listed} == {(3, "undecodable: once")}
    assert len(listed) == len(good) + 1
    assert "undecodable" in (await company.command("dead-letters", "list")).stdout
    done = await company.command("dead-letters", "replay", "--json")
    assert done.returncode == 1, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["records"], printed["results"]["dead_lettered"]) == (len(good) + 1, 1)
    assert printed["results"]["applied"] > 0
    await company.judge()
    again = json.loads((await company.command("dead-letters", "list", "--json")).stdout)["letters"]
    assert [letter["attempts"] for letter in again] == [4]
    everything = json.loads((await company.command("dead-letters", "list", "--all", "--json")).stdout)["letters"]
    assert len(everything) == len(listed) + 1
    assert "dead_lettered" in (await company.command("dead-letters", "replay")).stdout


async def test_a_replay_ends_during_a_graph_outage_and_leaves_its_dead_letters_for_the_next_replay(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = company.generate(workers=1, jobs=2)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    beside = FeedProducer(company.stack.bootstrap_servers, f"{company.stack.topic}.dlq")
    records = [record for change in changes for record in company.encoder.records(change)]
    beside.send(replace(record, headers=(("calsync.reason", b"undecodable: once"),)) for record in records)
    beside.flush()
    fault = await company.graph.set_fault("service-unavailable")
    for name, value in company.stack.service().process.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(replayer, "_SILENT_SECONDS", 2.0)
    with pytest.raises(TransientError, match="replay again"):
        await dead_letters.replay_letters(settings.load(), lambda _done, _all: None)
    await company.graph.wait_for_fault(fault)
    await company.graph.clear_faults()
    assert (await company.command("dead-letters", "replay")).returncode == 0
    await company.judge()


async def test_dead_letters_are_not_replayed_while_the_topics_id_is_unknown_and_a_missing_topic_is_still_named(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.generate(workers=1, jobs=1)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    beside = FeedProducer(company.stack.bootstrap_servers, f"{company.stack.topic}.dlq")
    beside.send(unreadable(1))
    beside.flush()
    for name, value in company.stack.service().process.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(TopicIdentity, "ask", lambda _identity: None)
    with pytest.raises(TransientError, match="is not known"):
        await dead_letters.replay_letters(settings.load(), lambda _done, _all: None)
    with pytest.raises(TransientError, match="is not known"):
        await dead_letters.read_dead_letters(settings.load(), everything=False)
    everything, _ = await dead_letters.read_dead_letters(settings.load(), everything=True)
    assert len(everything) == 1

    def missing(_consumer: object, topic: str) -> None:
        raise ConfigurationError([f"topic {topic} cannot be read: unknown topic"])

    monkeypatch.setattr(offset_range, "OffsetRange", missing)
    with pytest.raises(ConfigurationError):
        await dead_letters.replay_letters(settings.load(), lambda _done, _all: None)
    with pytest.raises(ConfigurationError):
        await dead_letters.read_dead_letters(settings.load(), everything=False)


async def test_faults_of_the_feed_are_reported_with_the_next_step(company: Company) -> None:
    changes = company.generate(workers=2, jobs=3)
    company.publish(changes)
    well = json.loads((await company.command("check-feed", "--json")).stdout)
    assert well["records"] == len(changes)
    assert {fault["fault"] for fault in well["faults"]} <= {"the topic is not compacted"}
    company.publish([changes[-1], *reversed(changes)])
    company.publish_raw(*unreadable(3))
    # At once, because each waits ten seconds for the topic's configuration, which the embedded broker does not give.
    async with asyncio.TaskGroup() as commands:
        as_json = commands.create_task(company.command("check-feed", "--json"))
        as_table = commands.create_task(company.command("check-feed"))
    found, table = as_json.result(), as_table.result().stdout
    assert found.returncode == 1
    faults = {fault["fault"]: fault for fault in json.loads(found.stdout)["faults"]}
    assert faults["the first bytes are neither a schema-registry id nor an Avro single object"]["records"] == 3
    assert "what to do" in table
