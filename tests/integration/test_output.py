"""What the service and its commands write: lines of their own only, and no secret, address or content in any output."""

import asyncio
import base64
import json
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
import trustme

from sandbox.core.feed import Record
from tests.company import Company, eventually
from tests.tls_proxy import tls_in_front_of

WATCHED_SECONDS = 4.0


def started(company: Company, arguments: Sequence[str], environment: dict[str, str], output: Path) -> "Popen[bytes]":
    """A command in a process of its own, as people start it."""
    process = company.stack.service(**environment).process
    command = [process.command[0], *arguments]
    with output.open("wb") as file:
        return Popen(command, env={**os.environ, **process.environment}, stdout=file, stderr=file)


async def written(company: Company, *arguments: str, environment: dict[str, str], toggles: int = 0) -> str:
    """What a real process of this command writes; ``run`` is stopped some seconds after it began."""
    output = company.stack.folder / f"{uuid4().hex}.out"
    running = started(company, arguments, environment, output)

    async def ended() -> bool:
        return running.poll() is not None

    async def begun() -> bool:
        return "running" in output.read_text() or await ended()

    try:
        if arguments == ("run",):
            await eventually(begun, "it runs", within=60)
            await asyncio.sleep(WATCHED_SECONDS)
            for _ in range(toggles):
                running.send_signal(signal.SIGUSR1)
                await asyncio.sleep(WATCHED_SECONDS / 2)
            running.send_signal(signal.SIGTERM)
        await eventually(ended, "it ends", within=90)
    finally:
        running.kill()
    return output.read_text()


def events_in(errors: str) -> list[dict[str, Any]]:
    """The service's lines. Fails if one of them is not its own."""
    found = []
    for line in errors.splitlines():
        if not line.startswith("calsync: "):
            found.append(json.loads(line))
            assert list(found[-1])[:3] == ["event", "level", "timestamp"], line
    return found


@pytest.mark.parametrize("trouble", ["brokers unavailable", "wrong authority", "wrong login"])
async def test_every_line_on_stderr_is_the_services_own_whatever_kafka_does(
    company: Company, tmp_path: Path, trouble: str
) -> None:
    authority = trustme.CA()
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    properties = tmp_path / "trouble.properties"
    port = int(company.stack.bootstrap_servers.rpartition(":")[2])
    async with tls_in_front_of(port, authority) as secured:
        server, lines, expected = {
            "brokers unavailable": ("127.0.0.1:1", "debug=broker\n", "no Kafka broker answers"),
            "wrong authority": (
                f"localhost:{secured}",
                f"security.protocol=ssl\nssl.ca.location={other}\n",
                "check security.protocol and ssl",
            ),
            "wrong login": (
                company.stack.bootstrap_servers,
                "security.protocol=sasl_plaintext\nsasl.mechanisms=PLAIN\nsasl.username=u\nsasl.password=planted-pw\n",
                "no Kafka broker answers",
            ),
        }[trouble]
        properties.write_text(lines)
        kafka = {"CALSYNC_KAFKA_BOOTSTRAP_SERVERS": server, "CALSYNC_KAFKA_CONFIG_FILE": str(properties)}
        service, command = await asyncio.gather(
            written(company, "run", environment=kafka, toggles=2), written(company, "check-feed", environment=kafka)
        )
    events = events_in(service)
    assert [line["to"] for line in events if line["event"] == "log level changed"] == ["debug", "info"]
    assert "librdkafka" in {line["event"] for line in events}
    assert expected in service
    assert events[-1]["event"] == "stopped"
    said = [line for line in events if line["event"] in {"no Kafka broker answers", "Kafka error"}]
    assert len(said) <= 4, said
    events_in(command)


SECRETS = {
    "redis": "planted-redis-pw",
    "core": "planted-core-token-0123456789",
    "client": "planted~client.secret-0123456789abcdef",
    "sasl": "planted-sasl-pw",
    "registry": "planted-registry-pw",
    "proxy": "planted-proxy-pw",
}
CONTENT = {
    "subject": "Planted boiler inspection",
    "notes": "The key is under the planted mat",
    "contact_phone": "+44 7700 900987",
    "contact_name": "Mrs Planted Brown",
    "address": "1 Planted Street",
}


def assert_none_shows(output: str, *, addresses: bool = False) -> None:
    """Fails if the output shows something planted, in any spelling."""
    for name, secret in SECRETS.items():
        login = base64.b64encode(f"user:{secret}".encode()).decode().rstrip("=")
        for spelling in {secret, quote(secret, safe=""), login}:
            assert spelling not in output, f"the {name} secret"
    for name, content in CONTENT.items():
        assert content not in output, name
    assert "lanted" not in output
    assert re.search(r"eyJ[\w-]+\.", output) is None, "a token"
    if not addresses:
        assert re.search(r"@[\w-]+\.(?:example|test)", output) is None, "an address"


async def test_no_secret_shows_when_every_server_refuses_it(company: Company, tmp_path: Path) -> None:
    stack = company.stack
    properties = tmp_path / "its.properties"
    properties.write_text(
        "security.protocol=sasl_plaintext\nsasl.mechanisms=PLAIN\nsasl.username=user\n"
        f"sasl.password={SECRETS['sasl']}\ndebug=all\n"
    )
    sites = stack.sites_file.read_text()
    stack.sites_file.write_text(re.sub(r'client_secret = ".*?"', f'client_secret = "{SECRETS["client"]}"', sites))
    planted = {
        "CALSYNC_REDIS_URL": stack.redis_url.replace("://", f"://user:{SECRETS['redis']}@"),
        "CALSYNC_CORE_API_TOKEN": SECRETS["core"],
        "CALSYNC_KAFKA_CONFIG_FILE": str(properties),
        "CALSYNC_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
        "CALSYNC_SCHEMA_REGISTRY_USER_INFO": f"user:{SECRETS['registry']}",
        "HTTP_PROXY": f"http://user:{SECRETS['proxy']}@127.0.0.1:1",
        "CALSYNC_LOG_LEVEL": "debug",
    }
    working = {**planted, "CALSYNC_REDIS_URL": stack.redis_url}
    runs = [written(company, "run", environment={**planted, "CALSYNC_LOG_FORMAT": form}) for form in ("json", "text")]
    runs += [written(company, "run", environment={**working, "CALSYNC_SWEEP_INTERVAL_SECONDS": "1"})]
    runs += [
        written(company, *command, environment=planted) for command in (["site", "list"], ["mailbox", "list", "--json"])
    ]
    runs += [
        written(company, *command, environment=working) for command in (["sweep", "--json"], ["dead-letters", "list"])
    ]
    for output in await asyncio.gather(*runs):
        assert output
        assert_none_shows(output)


async def test_no_content_shows_in_any_output_of_a_service_at_work(company: Company) -> None:
    company.publish(company.generate(workers=3, jobs=3))
    jobs = list(company.schedule.jobs.values())
    company.publish([change for job in jobs for change in company.schedule.change_job(job.job_id, **CONTENT)])
    # A value that decodes up to a broken field, with content in it and in its key and headers.
    encoded = company.encoder.records(company.schedule.change_job(jobs[0].job_id, notes=CONTENT["notes"])[0])[0]
    broken = Record(b"J-broken", (encoded.value or b"")[:-30] + CONTENT["notes"].encode())
    company.publish_raw(broken)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start(CALSYNC_LOG_LEVEL="debug", CALSYNC_SWEEP_INTERVAL_SECONDS="1")
    await company.consumed()
    address, event = (await company.ours())[0]
    await company.graph.user_edit(address, {"subject": "Planted by hand"}, event_id=event["id"])

    async def repaired() -> bool:
        return '"cause":"edited"' in service.process.log.read_text()

    await eventually(repaired, "the edited event is repaired")
    async with httpx.AsyncClient(verify=False) as client:
        pages = [(await client.get(f"{service.url}/{page}")).text for page in ("metrics", "readyz", "livez")]
    commands = [
        ["dead-letters", "list"],
        ["dead-letters", "list", "--json"],
        ["check-feed", "--json"],
        ["site", "list"],
    ]
    done = [await company.command(*command) for command in commands]
    log = service.process.log.read_text()
    assert_none_shows("\n".join([log, *pages, *(one.stdout + one.stderr for one in done)]))
    letters = company.dead_letters()
    assert letters
    assert_none_shows(str([letter.headers() for letter in letters]))

    audits = [line for line in events_in(log) if line.get("audit")]
    assert {line["event"] for line in audits} >= {"event created", "event updated"}
    created = next(line for line in audits if line["event"] == "event created")
    assert list(created)[3:] == ["audit", "site", "job", "event_id", "cause", "revision"]
    assert len(audits) == await company.writes()
