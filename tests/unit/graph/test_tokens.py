"""Tokens: only Entra's own refusals suspend a site, and a slow Entra of one tenant delays no other tenant."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from aiohttp.test_utils import TestServer

from consumer.domain.errors import SiteRefusedError, TransientError
from consumer.domain.site import Site
from consumer.foreign import ForeignAnswers
from consumer.graph import tokens as module
from consumer.graph.tokens import Tokens
from sandbox.control import GraphControl, Secret
from sandbox.graph.app import build
from sandbox.graph.world import App, World
from sandbox.graph.world import Secret as WorldsSecret
from tests.forward_proxy import forward_proxy

SITE = Site("acme", "Acme", "Europe/London", "tenant", "app", "secret")
OPENID, TOKEN = "/tenant/v2.0/.well-known/openid-configuration", "/tenant/oauth2/v2.0/token"


class Entra:
    """The sandbox's Entra, and the service's tokens from it."""

    def __init__(self, control: GraphControl, tokens: Tokens, foreign: list[str]) -> None:
        self.control = control
        self.tokens = tokens
        self.foreign = foreign

    async def asked(self, operation: str) -> int:
        requests = (await self.control.stats())["requests"].get(operation, {})
        return sum(requests.values())


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Entra]:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.0)
    foreign: list[str] = []
    async with TestServer(build(World())) as server, GraphControl(str(server.make_url("")).rstrip("/")) as control:
        await control.add_app("tenant", "app", [Secret("secret")])
        counted = ForeignAnswers(foreign.append, time.monotonic)
        tokens = Tokens(control.url, f"{control.url}/v1.0", None, counted)
        yield Entra(control, tokens, foreign)
        await tokens.close()


async def test_a_token_is_fetched_once_for_all_waiting_callers(entra: Entra) -> None:
    [first, *others] = await asyncio.gather(*(entra.tokens.get(SITE) for _ in range(20)))
    assert set(others) == {first}
    assert await entra.tokens.get(SITE) == first
    assert (await entra.asked("openid"), await entra.asked("token")) == (1, 1)


async def test_a_refused_token_is_replaced_by_a_new_one(entra: Entra) -> None:
    first = await entra.tokens.get(SITE)
    entra.tokens.refused(SITE, first)
    assert await entra.tokens.get(SITE) != first
    assert await entra.asked("token") == 2


FOREIGN: list[tuple[int, str, str, bool]] = [
    # status, content type, body, and whether it is counted as foreign
    (200, "text/html", "<html>Please sign in</html>", True),
    (200, "application/json", "", True),
    (200, "application/json", "{}", True),
    (200, "application/json", "[]", True),
    (200, "application/json", '{"error": "invalid_tenant"}', True),
    (204, "", "", True),
    (302, "text/html", "", True),
    (400, "", "", True),
    (400, "text/html", "<html>Bad Request</html>", True),
    (400, "application/json", '{"message": "no"}', True),
    (400, "application/json", '{"error": {"code": "invalid_tenant"}}', True),
    (400, "application/json", '{"error_description": "AADSTS90002: Tenant not found."}', True),
    (401, "text/html", "", True),
    (403, "text/html", "<html>Blocked by the firewall</html>", True),
    (403, "application/json", '{"error": "Forbidden"}', True),
    (404, "text/plain", "default backend - 404", True),
    (404, "application/json", '{"error": "not found"}', True),
    (404, "application/json", '{"error": "not_found"}', True),
    (403, "application/json", '{"error": "blocked_by_policy", "error_description": "by the gateway"}', True),
    (407, "text/html", "", True),
    (429, "text/html", "<html>Too many requests</html>", False),
    (429, "application/json", '{"error": "temporarily_unavailable", "error_description": "AADSTS90033: x"}', False),
    (500, "text/html", "", False),
    (503, "application/json", '{"error": "invalid_tenant", "error_description": "AADSTS90002: ?"}', False),
]


@pytest.mark.parametrize("path", [OPENID, TOKEN], ids=["openid", "token"])
@pytest.mark.parametrize(("status", "content_type", "body", "foreign"), FOREIGN)
async def test_a_foreign_refusal_suspends_no_site(
    entra: Entra, path: str, status: int, content_type: str, body: str, *, foreign: bool
) -> None:
    headers = {"Retry-After": "0"}
    await entra.control.ingress.answer(path, status=status, content_type=content_type, body=body, headers=headers)
    with pytest.raises(TransientError) as failed:
        await entra.tokens.get(SITE)
    assert failed.value.tenant_wide
    assert failed.value.foreign is foreign
    assert not failed.value.unknown
    assert entra.foreign == ["entra"] * foreign
    await entra.control.ingress.clear()
    assert await entra.tokens.get(SITE), "and nothing of it is remembered"


@pytest.mark.parametrize(
    ("site", "code"),
    [
        (replace(SITE, tenant_id="nobody"), "AADSTS90002"),
        (replace(SITE, client_id="other"), "AADSTS700016"),
        (replace(SITE, client_secret="wrong"), "AADSTS7000215"),
        (replace(SITE, tenant_id=""), "tenant_id"),
    ],
)
async def test_entras_own_refusal_suspends_the_site(entra: Entra, site: Site, code: str) -> None:
    for _ in range(2):
        with pytest.raises(SiteRefusedError) as refused:
            await entra.tokens.get(site)
        assert refused.value.code == code
        assert refused.value.hint
    assert entra.foreign == []


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_an_oauth_error_without_a_code_is_entras_own_refusal(entra: Entra, status: int) -> None:
    body = json.dumps({"error": "invalid_tenant"})
    await entra.control.ingress.answer(OPENID, status=status, content_type="application/json", body=body)
    with pytest.raises(SiteRefusedError) as refused:
        await entra.tokens.get(SITE)
    assert refused.value.code == "invalid_tenant"


async def test_a_tenant_that_is_made_is_served_at_once(entra: Entra) -> None:
    site = replace(SITE, tenant_id="later")
    with pytest.raises(SiteRefusedError):
        await entra.tokens.get(site)
    await entra.control.add_app("later", "app", [Secret("secret")])
    assert await entra.tokens.get(site), "MSAL alone would replay its 400 for a minute"


async def test_entra_is_not_asked_again_before_its_retry_after(entra: Entra) -> None:
    rule = await entra.control.ingress.answer(OPENID, status=429, body="", headers={"Retry-After": "30"})
    for _ in range(3):
        with pytest.raises(TransientError) as failed:
            await entra.tokens.get(SITE)
        assert failed.value.retry_after
        assert 25 < failed.value.retry_after <= 30
    assert await entra.control.ingress.hits(rule) == 1
    await entra.control.ingress.clear()
    entra.tokens.start_over(SITE)
    assert await entra.tokens.get(SITE), "a probe asks at once"


@pytest.mark.parametrize("path", [OPENID, TOKEN], ids=["openid", "token"])
@pytest.mark.parametrize(("status", "body"), [(429, ""), (503, "<html>"), (404, "<html>"), (500, '{"error": "Busy"}')])
async def test_a_foreign_answer_in_place_of_entras_counts_for_a_minute_at_most(
    entra: Entra, path: str, status: int, body: str
) -> None:
    await entra.control.ingress.answer(path, status=status, body=body, headers={"Retry-After": "3600"})
    for _ in range(2):
        with pytest.raises(TransientError) as failed:
            await entra.tokens.get(SITE)
        assert failed.value.retry_after
        assert 50 < failed.value.retry_after <= 60


@pytest.mark.parametrize("status", [429, 503])
async def test_entras_own_retry_after_is_obeyed_up_to_an_hour(entra: Entra, status: int) -> None:
    await entra.control.set_fault(status, operation="token", retry_after=1800)
    for _ in range(2):
        with pytest.raises(TransientError) as failed:
            await entra.tokens.get(SITE)
        assert failed.value.retry_after
        assert 1790 < failed.value.retry_after <= 1800


async def test_a_slow_entra_of_one_tenant_holds_up_neither_another_nor_the_other_threads(entra: Entra) -> None:
    apps = [replace(SITE, tenant_id="slow", client_id=f"app-{number}") for number in range(16)]
    for app in apps:
        await entra.control.add_app("slow", app.client_id, [Secret("secret")])
    fault = await entra.control.set_fault("slow", operation="openid", tenant="slow", hold_seconds=60)
    waiting = [asyncio.create_task(entra.tokens.get(app)) for app in apps]
    await entra.control.wait_for_fault(fault, len(apps))
    async with asyncio.timeout(5):
        assert await entra.tokens.get(SITE)
        await asyncio.to_thread(lambda: None)
    assert not any(task.done() for task in waiting)
    await entra.control.release(fault)
    assert len(set(await asyncio.gather(*waiting))) == len(apps)


async def test_a_cancelled_caller_does_not_cancel_the_token_of_the_others(entra: Entra) -> None:
    fault = await entra.control.set_fault("slow", operation="token", hold_seconds=60)
    first, second = (asyncio.create_task(entra.tokens.get(SITE)) for _ in range(2))
    await entra.control.wait_for_fault(fault)
    first.cancel()
    await entra.control.release(fault)
    assert await second
    assert await entra.asked("token") == 1


async def test_a_stop_does_not_wait_for_entra(entra: Entra) -> None:
    fault = await entra.control.set_fault("slow", operation="token", hold_seconds=60)
    waiting = asyncio.create_task(entra.tokens.get(SITE))
    await entra.control.wait_for_fault(fault)
    async with asyncio.timeout(5):
        await entra.tokens.close()
        with pytest.raises(TransientError):
            await waiting
    await entra.control.release(fault)


@pytest.mark.parametrize(
    "graph_url",
    ["https://graph.microsoft.us/v1.0", "https://Graph.Microsoft.US/v1.0", "https://graph.microsoft.us:443/v1"],
)
async def test_a_national_cloud_is_recognised_in_any_spelling_of_its_origin(entra: Entra, graph_url: str) -> None:
    tokens = Tokens(entra.control.url, graph_url, None)
    # The sandbox is the global cloud, and refuses the scope of another cloud.
    with pytest.raises(SiteRefusedError, match="AADSTS70011"):
        await tokens.get(SITE)
    await tokens.close()


async def test_an_unreachable_tenant_is_reported_with_only_its_network_reason(entra: Entra) -> None:
    tokens = Tokens("http://127.0.0.1:9", "https://graph.microsoft.com/v1.0", None)
    with pytest.raises(TransientError, match=r"^Entra: no connection to 127\.0\.0\.1:9: ") as failed:
        await tokens.get(SITE)
    assert (failed.value.tenant_wide, failed.value.foreign) == (True, False)
    await tokens.close()


async def test_entra_is_asked_through_the_proxy_with_the_private_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, ca_file, other = trustme.CA(), tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(ca_file)
    trustme.CA().cert_pem.write_to_path(other)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("login.internal").configure_cert(context)
    world = World()
    app = world.tenant("tenant").apps.setdefault("app", App("app"))
    app.secrets = [WorldsSecret("1", "secret", None)]
    server = TestServer(build(world))
    await server.start_server(ssl=context)
    async with forward_proxy(login="me:hunter2") as proxy:
        # The variables that the requests library would use instead of the configured file.
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(variable, str(other))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        tokens = Tokens(f"https://login.internal:{server.port}", "https://graph.microsoft.com/v1.0", ca_file)
        assert await tokens.get(SITE)
        await tokens.close()
        assert set(proxy.asked) == {f"CONNECT login.internal:{server.port}"}
    await server.close()
