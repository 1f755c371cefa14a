"""HTTPS with a private authority, as companies use it; and tokens go only to Graph and Core."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import trustme
from aiohttp import web

from sandbox.control import Secret
from tests.company import Company, eventually, found_company
from tests.tls_proxy import tls_in_front_of
from tests.warm import Warm

REDIRECTS = (301, 302, 307, 308)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def company(
    tmp_path: Path, broker: str, warm: Warm, valkey_url: str, authority: trustme.CA
) -> AsyncIterator[Company]:
    """A company of one site; its Entra and its Graph speak https."""
    async with found_company(
        tmp_path,
        broker,
        valkey_url,
        name=f"tls-{uuid4().hex[:8]}",
        kafka_properties={"fetch.wait.max.ms": "10"},
        warm=warm,
        authority=authority,
    ) as founded:
        yield founded


@dataclass
class Elsewhere:
    """A foreign server whose certificate the authority has signed too."""

    url: str = ""
    requests: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}, authorised by {request.headers.get('Authorization')}")
        return web.json_response({"value": [], "workers": [], "next_cursor": None, "access_token": "x"})


@pytest.fixture
async def elsewhere(authority: trustme.CA) -> AsyncIterator[Elsewhere]:
    server = Elsewhere()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.mark.parametrize("misled", [False, True])
async def test_calendars_are_kept_over_https_with_any_authorities_in_the_environment(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, misled: bool
) -> None:
    if misled:
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(variable, str(other))
    assert company.stack.graph_url.startswith("https://")
    company.publish(company.generate(workers=3, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.start()
    await company.consumed()
    await company.judge()
    address, event = (await company.ours())[0]
    await company.graph.user_delete(address, event_id=event["id"])
    swept = await company.sweep()
    site = swept.sites["site-1"]
    assert (swept.status, site["mailboxes"] > 0, site["unserved"]) == (0, True, 0)
    await company.judge()


async def test_redis_is_reached_over_tls_with_the_same_authority(company: Company, authority: trustme.CA) -> None:
    company.generate(workers=2, jobs=2)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    async with tls_in_front_of(urlsplit(company.stack.redis_url).port or 0, authority) as port:
        company.stack.redis_url = f"rediss://localhost:{port}/0"
        assert (await company.sweep()).status == 0
    await company.judge()


async def test_without_the_authority_host_and_setting_are_named_and_nothing_is_lost(company: Company) -> None:
    changes = company.generate(workers=3, jobs=3)
    # A cancelled job without an event needs nothing of Graph, so its record may be committed.
    company.publish(change for change in changes if change.after and change.after.status != "cancelled")
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    service = await company.start(CALSYNC_CA_FILE="")
    host = company.stack.graph_url.removeprefix("https://")

    async def reported() -> bool:
        log = service.process.log.read_text().splitlines()
        return any(host in line and "CALSYNC_CA_FILE" in line for line in log)

    await eventually(reported, "host and setting are reported")
    assert await company.metric(service, 'calsync_site_up{site="site-1"}') == 1, "the site itself is not at fault"
    assert await company.ours() == []
    assert max(company.committed()) <= 0
    await asyncio.to_thread(service.process.stop)
    # A new group without a commit: the embedded broker does not serve a group again that its members have left.
    company.stack.group += "-again"
    await company.start("trusting")
    await company.consumed()
    await company.judge()


async def test_a_sweep_without_the_authority_fails_with_host_and_setting(company: Company) -> None:
    company.generate(workers=2, jobs=2)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    company.stack.ca_file = None
    swept = await company.sweep()
    assert swept.status == 1
    assert company.stack.graph_url.removeprefix("https://") in swept.errors
    assert "CALSYNC_CA_FILE" in swept.errors


async def test_a_file_without_an_authority_is_a_configuration_error(company: Company, tmp_path: Path) -> None:
    company.stack.ca_file = tmp_path / "empty.pem"
    company.stack.ca_file.write_text("no certificate")
    done = await company.command("sweep")
    assert done.returncode == 2
    assert "CALSYNC_CA_FILE" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_next_link_to_another_origin_is_not_followed(company: Company, elsewhere: Elsewhere) -> None:
    company.publish(company.generate(workers=2, jobs=5))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    await company.start()
    await company.consumed()
    await company.graph.set_switches(page_cap=2, next_link_origin=elsewhere.url)
    await company.graph.reset_stats()
    swept = await company.sweep()
    assert swept.status == 1
    assert "leads away from Graph" in str(swept.sites["site-1"])
    assert elsewhere.requests == []
    assert await company.writes() == 0, "nothing is made or deleted from a read that failed"
    await company.graph.set_switches(next_link_origin="")
    assert (await company.sweep()).status == 0
    await company.judge()


async def test_no_redirect_of_graph_or_entra_is_followed(company: Company, elsewhere: Elsewhere) -> None:
    company.publish(company.generate(workers=4, jobs=1))
    await company.open_mailboxes()
    service = await company.start()
    await company.consumed()
    site, jobs = company.sites[0], list(company.schedule.jobs)

    async def one_change() -> None:
        company.publish(company.schedule.change_job(jobs[0], client_name=f"Fabrikam {company.random.random()}"))

    async def changes() -> None:
        name = f"Contoso {company.random.random()}"
        company.publish([each for job in jobs for each in company.schedule.change_job(job, client_name=name)])

    async def change_without_token() -> None:
        await company.graph.revoke_tokens()
        await one_change()

    async def change_with_another_secret() -> None:
        def taken() -> int:
            return service.process.log.read_text().count("sites file read again")

        before, secret = taken(), f"secret-{company.random.random()}"
        await company.graph.add_app(site.tenant_id, site.client_id, [Secret(secret)])
        company.stack.write_sites([replace(site, client_secret=secret)])

        async def newly_taken() -> bool:
            return taken() > before

        await eventually(newly_taken, "the new secret is in use")
        await one_change()

    causes = {
        "update": one_change,
        "batch": changes,
        "token": change_without_token,
        "openid": change_with_another_secret,
    }
    for status in REDIRECTS:
        for operation, cause in causes.items():
            location = f"{elsewhere.url}/v1.0/users/x/events"
            fault = await company.graph.set_fault(status, operation=operation, location=location)
            await cause()
            await company.graph.wait_for_fault(fault, within=30)
            await company.graph.clear_faults()
            await company.consumed()
    assert elsewhere.requests == []
    await company.judge()


async def test_no_redirect_of_core_is_followed(company: Company, elsewhere: Elsewhere) -> None:
    company.publish(company.generate(workers=2, jobs=2))
    await company.open_mailboxes()
    await company.start()
    await company.consumed()
    await company.give_core_the_schedule()
    await company.graph.reset_stats()
    for status in REDIRECTS:
        await company.core.set_fault("status", status=status, location=f"{elsewhere.url}/sites/site-1/schedule")
        assert (await company.sweep()).status == 1
        assert (await company.core.requests())[f"schedule {status}"] >= 1
        await company.core.clear_faults()
    assert elsewhere.requests == []
    assert await company.writes() == 0
    await company.judge()
