"""Proxies and ingresses answer instead of a service: nothing is deleted, doubled, parked, refused or dead-lettered."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from sandbox.core.feed import Encoder, confluent
from sandbox.core.rows import Change, Job, Site, Worker
from sandbox.registry import Registry
from sandbox.stack import Service
from schemas import FOLDER
from tests.company import Company, eventually, now

SITE = "site-1"


async def dead_letters(company: Company, service: Service) -> float:
    return await company.metric(service, 'calsync_events_total{result="dead_lettered"}')


async def foreign(company: Company, service: Service, part: str) -> float:
    return await company.metric(service, f'calsync_foreign_answers_total{{part="{part}"}}')


async def parked(company: Company) -> list[Any]:
    done = await company.command("mailbox", "list", "--json")
    return list(json.loads(done.stdout)["parked"])


async def one_job(company: Company, name: str = "J") -> list[Change]:
    """A worker with a mailbox and a job."""
    company.schedule.put_site(Site(SITE, SITE.title(), "Europe/London"))
    worker = Worker(name, SITE, f"{name.lower()}@site-1.example")
    company.schedule.put_worker(worker)
    await company.open_mailboxes()
    start = now() + timedelta(days=2)
    return company.schedule.add_job(
        Job(job_id=name, site_id=SITE, starts_at=start, ends_at=start + timedelta(hours=1)), [name]
    )


async def test_an_ingress_in_place_of_core_deletes_nothing_and_fails_the_sweep(company: Company) -> None:
    company.publish(company.generate(workers=4, jobs=4))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.start()
    await company.consumed()
    await company.judge()
    before = await company.ours()
    await company.graph.reset_stats()
    # Core's list lacks all jobs, and jobs cannot be read by their ids.
    await company.core.set_fault("missing_rows", site_id=SITE, times=None)
    rule = await company.core.ingress.answer("/sites/*/jobs/")
    swept = await company.sweep()
    assert swept.status == 1
    assert "HTTP 404" in swept.errors
    assert await company.core.ingress.hits(rule) > 0
    # A framework's own problem document for an unknown route says nothing about a job.
    await company.core.ingress.clear()
    problem = json.dumps({"type": "about:blank", "title": "Not Found", "status": 404})
    await company.core.ingress.answer("/sites/*/jobs/", content_type="application/problem+json", body=problem)
    assert (await company.sweep()).status == 1
    assert (await company.writes(), await company.ours()) == (0, before)
    await company.core.ingress.clear()
    await company.core.clear_faults()
    assert (await company.sweep()).status == 0
    await company.judge()


async def test_an_ingress_in_place_of_core_loses_no_record_that_needs_core(company: Company) -> None:
    company.publish(await one_job(company))
    await company.give_core_the_schedule()
    service = await company.start()
    await company.consumed()
    [change] = company.schedule.change_job("J", notes="Bring a ladder.")
    await company.core.ingress.answer("/sites/*/jobs/")
    company.publish_raw(*company.encoder.records(change, unavailable=("notes",)))
    await company.give_core_the_schedule()

    async def asked() -> bool:
        return await foreign(company, service, "core") > 0

    await eventually(asked, "Core was asked")
    assert await company.metric(service, 'calsync_events_total{result="stale"}') == 0
    await company.core.ingress.clear()
    await company.consumed()
    assert (await company.sweep("--site", SITE)).status == 0
    await company.judge()
    assert await dead_letters(company, service) == 0


@pytest.fixture
async def registry() -> AsyncIterator[tuple[Registry, str]]:
    held = Registry()
    async with TestServer(held.app()) as server:
        yield held, str(server.make_url("/"))


async def test_an_ingress_in_place_of_the_registry_loses_no_record(
    company: Company, registry: tuple[Registry, str]
) -> None:
    held, url = registry
    schema_id = held.register("jobs-value", (FOLDER / "job-changed-value.avsc").read_text(encoding="utf-8"))
    company.encoder = Encoder(value_framing=confluent(schema_id))
    changes = company.generate(workers=3, jobs=10)
    await company.open_mailboxes()
    rule = held.ingress.add(content_type="text/html", body="<html>404 page not found</html>")
    company.publish(changes)
    # Nothing listens on the first URL. The second is the registry behind its ingress.
    service = await company.start(CALSYNC_SCHEMA_REGISTRY_URL=f"http://127.0.0.1:9/, {url}")

    async def asked() -> bool:
        return held.ingress.hits(rule) >= 3

    await eventually(asked, "the registry is asked again and again")
    assert await dead_letters(company, service) == 0
    assert max(company.committed()) <= 0
    assert await foreign(company, service, "registry") >= 3
    log = service.process.log.read_text()
    assert "404" in log
    assert "text/html" in log
    held.ingress.clear()
    await company.consumed()
    await company.judge()
    assert await dead_letters(company, service) == 0


ANSWERS: dict[str, dict[str, Any]] = {
    "an HTML 404": {"status": 404, "content_type": "text/html", "body": "<html>404</html>"},
    "an empty 400": {"status": 400, "content_type": "", "body": ""},
    "an HTML 403": {"status": 403, "content_type": "text/html", "body": "<html>403</html>"},
    "an empty 405": {"status": 405, "content_type": "", "body": ""},
    "an empty 413": {"status": 413, "content_type": "text/plain", "body": ""},
    "somebody's JSON 404": {"status": 404, "content_type": "application/json", "body": '{"error": "not found"}'},
    "a 200 page": {"status": 200, "content_type": "text/html", "body": "<html>Sign in</html>"},
    "a 204": {"status": 204, "content_type": "", "body": ""},
    "a redirect": {"status": 302, "content_type": "", "body": "", "headers": {"Location": "https://sso.example/"}},
    "a 408": {"status": 408, "content_type": "", "body": ""},
    "a 401 page": {"status": 401, "content_type": "text/html", "body": "<html>401</html>"},
}


async def strike_each_write(company: Company, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Each kind of write gets each answer once, before and after Graph carries it out; the calendars stay right."""
    company.publish(await one_job(company, "first"))
    service = await company.start()
    await company.consumed()
    path = "/v1.0/users/"
    for number, (what, answer) in enumerate(answers.items()):
        for when in ("before", "after"):
            name = f"{when[0]}{number}"
            for method in ("POST", "PATCH", "DELETE"):
                if (method, answer["status"]) == ("DELETE", 204):
                    continue  # that is Graph's own answer to it
                rule = await company.graph.ingress.answer(path, method=method, times=1, when=when, **answer)
                if method == "POST":
                    company.publish(await one_job(company, name))
                elif method == "PATCH":
                    company.publish(company.schedule.change_job(name, notes="Bring a ladder."))
                else:
                    company.publish(company.schedule.cancel(name))
                await company.graph.ingress.wait(rule)
                await company.equal()
                await company.judge()
                assert await company.graph.ingress.hits(rule) == 1, (what, when, method)
    await company.consumed()
    assert await dead_letters(company, service) == 0
    assert await parked(company) == []
    assert await company.metric(service, f'calsync_site_up{{site="{SITE}"}}') == 1
    assert await foreign(company, service, "graph") >= len(answers) * 5
    assert "sso.example" not in service.process.log.read_text()


async def test_an_ingress_in_place_of_graph_makes_no_second_event_and_loses_none(company: Company) -> None:
    """With three of the answers; tests/long/test_every_foreign_answer.py gives them all."""
    await strike_each_write(company, {what: ANSWERS[what] for what in ("an HTML 404", "a 200 page", "a redirect")})


async def test_an_ingress_in_place_of_graphs_lists_parks_no_mailbox(company: Company) -> None:
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start()
    await company.consumed()
    await company.graph.reset_stats()
    for answer in ANSWERS.values():
        rule = await company.graph.ingress.answer("/v1.0/", **answer)
        swept = await company.sweep("--site", SITE)
        assert swept.status == 1, answer
        assert await company.graph.ingress.hits(rule) > 0
        await company.graph.ingress.clear()
    assert await parked(company) == []
    assert await company.writes() == 0
    assert await company.metric(service, f'calsync_site_up{{site="{SITE}"}}') == 1
    assert (await company.sweep()).status == 0
    await company.judge()


@pytest.mark.parametrize("status", [429, 404, 400, 403])
async def test_an_ingress_in_place_of_entra_suspends_no_site(company: Company, status: int) -> None:
    tenant = company.sites[0].tenant_id
    rule = await company.graph.ingress.answer(
        f"/{tenant}/v2.0/.well-known/openid-configuration", status=status, content_type="text/html", body="<html>"
    )
    company.publish(await one_job(company))
    await company.give_core_the_schedule()
    service = await company.start()
    await company.graph.ingress.wait(rule, 2, within=30)
    assert await company.metric(service, f'calsync_site_up{{site="{SITE}"}}') == 1
    assert "AADSTS" not in service.process.log.read_text()
    assert (await foreign(company, service, "entra") > 0) is (status != 429)
    assert max(company.committed()) <= 0
    await company.graph.ingress.clear()
    await company.consumed()
    await company.judge()


async def test_a_token_of_core_that_is_rotated_is_used_without_a_restart(company: Company, tmp_path: Path) -> None:
    file = tmp_path / "core-token"
    file.write_text("old\n")
    company.publish(await one_job(company))
    await company.give_core_the_schedule()
    service = await company.start(
        CALSYNC_CORE_API_TOKEN="", CALSYNC_CORE_API_TOKEN_FILE=str(file), CALSYNC_SWEEP_INTERVAL_SECONDS="1"
    )

    async def refused() -> bool:
        return (await company.core.requests()).get("schedule 401", 0) > 0

    await eventually(refused, "the old token is refused")
    file.write_text("core-token\n")

    async def swept() -> bool:
        sample = f'calsync_sweep_last_success_timestamp_seconds{{site="{SITE}"}}'
        return await company.metric(service, sample) > 0

    await eventually(swept, "the new token is used")


@pytest.mark.parametrize("zone", ["sent", "mailbox"])
async def test_an_answer_in_another_zone_than_utc_costs_no_second_write(company: Company, zone: str) -> None:
    await company.graph.set_switches(answer_zone=zone)
    company.publish(company.generate(workers=3, jobs=5))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.start()
    await company.consumed()
    await company.judge()
    requests = (await company.graph.stats())["requests"]
    assert "update" not in requests, requests
    jobs = [job.job_id for job in company.schedule.jobs.values()]
    await company.graph.reset_stats()
    company.publish([each for job_id in jobs for each in company.schedule.change_job(job_id, notes="Ladder.")])
    await company.consumed()
    await company.judge()
    updates = (await company.graph.stats())["requests"]["update"]
    assert sum(updates.values()) == len(await company.ours())
    zones = {event["start_zone"] for _, event in await company.ours()}
    assert zones == {"GMT Standard Time"}
