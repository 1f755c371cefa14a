"""Tokens, permissions, and MSAL against the sandbox's Entra."""

import asyncio
import base64
from typing import Any

import msal
import orjson
import pytest
import requests

from sandbox.control import Secret
from tests.unit.sandbox.graph.client import Outlook

TENANT, APP = "11111111-2222-4333-8444-555555555555", "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "99999999-2222-4333-8444-555555555555"
ANN = "ann@acme.example"
SCOPE = "https://graph.microsoft.com/.default"


async def test_the_openid_document_names_the_real_authority(outlook: Outlook) -> None:
    answer = await outlook.http.get(f"/{TENANT}/v2.0/.well-known/openid-configuration")
    document = answer.json()
    assert document["issuer"] == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert document["token_endpoint"] == f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
    missing = await outlook.http.get("/nowhere/v2.0/.well-known/openid-configuration")
    assert (missing.status_code, missing.json()["error"]) == (400, "invalid_tenant")
    assert missing.json()["error_codes"] == [90002]


async def test_a_token_is_issued(outlook: Outlook) -> None:
    document = (await outlook.log_in()).json()
    assert document.keys() == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 3599)
    assert len(document["access_token"]) == 1500


@pytest.mark.parametrize(
    ("wrong", "status", "error", "code"),
    [
        ({"secret": "guess"}, 401, "invalid_client", 7000215),
        ({"secret": "the-id"}, 401, "invalid_client", 7000215),
        ({"secret": "old"}, 401, "invalid_client", 7000222),
        ({"app": "nobody"}, 400, "unauthorized_client", 700016),
        ({"tenant": "nowhere"}, 400, "invalid_tenant", 90002),
        ({"scope": "openid"}, 400, "invalid_scope", 70011),
        ({"secret": ""}, 400, "invalid_request", 900144),
    ],
)
async def test_a_refused_token_request_gets_its_aadsts_error(
    outlook: Outlook, wrong: dict[str, Any], status: int, error: str, code: int
) -> None:
    await outlook.control.add_app(TENANT, APP, [Secret("s3cret", id="the-id"), Secret("old", expires=1_700_000_000)])
    answer = await outlook.log_in(**wrong)
    document = answer.json()
    assert (answer.status_code, document["error"], document["error_codes"]) == (status, error, [code])
    assert document["error_description"].startswith(f"AADSTS{code}: ")
    assert {"trace_id", "correlation_id", "timestamp", "error_uri"} <= document.keys()
    assert (await outlook.log_in()).status_code == 200


async def test_tokens_expire_and_are_revoked(outlook: Outlook) -> None:
    await outlook.control.set_switches(token_lifetime_seconds=0)
    await outlook.log_in()
    answer = await outlook.ask("GET", "/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")
    await outlook.control.set_switches(token_lifetime_seconds=60)
    await outlook.log_in()
    assert (await outlook.ask("GET", "/events")).status_code == 200
    assert await outlook.control.revoke_tokens(tenant=TENANT) >= 1
    assert (await outlook.ask("GET", "/events")).status_code == 401
    outlook.token = "nonsense"
    assert (await outlook.ask("GET", "/events")).status_code == 401


@pytest.mark.parametrize(
    ("roles", "calendar", "settings"),
    [
        ([], 403, 403),
        (["Calendars.ReadWrite"], 201, 403),
        (["MailboxSettings.Read"], 403, 200),
        (["Calendars.Read"], 403, 403),
    ],
)
async def test_roles_open_their_paths(outlook: Outlook, roles: list[str], calendar: int, settings: int) -> None:
    await outlook.control.add_app(TENANT, APP, roles=roles)
    assert (await outlook.create()).status_code == 201  # the token keeps the roles it was issued with
    await outlook.log_in()
    for answer, status in (
        (await outlook.create(), calendar),
        (await outlook.ask("GET", "/mailboxSettings/timeZone"), settings),
    ):
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "ErrorAccessDenied"


async def test_a_token_opens_its_own_tenant_only(outlook: Outlook) -> None:
    await outlook.control.add_app(OTHER, APP, [Secret("other")])
    await outlook.log_in(tenant=OTHER, secret="other")
    answer = await outlook.ask("GET", "/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ErrorInvalidUser")


@pytest.mark.parametrize(
    ("state", "status", "code", "words"),
    [
        ("no-licence", 404, "MailboxNotEnabledForRESTAPI", "inactive"),
        ("unknown", 404, "ErrorInvalidUser", ANN),
        ("policy-blocked", 403, "ErrorAccessDenied", "[RAOP]"),
        ("moving", 503, "ErrorMailboxMoveInProgress", "Mailbox move"),
        ("over-quota", 403, "ErrorQuotaExceeded", "Cannot save"),
        ("access-denied", 403, "ErrorAccessDenied", "credentials"),
    ],
)
async def test_states_of_a_mailbox(outlook: Outlook, state: str, status: int, code: str, words: str) -> None:
    await outlook.control.set_mailbox(TENANT, ANN, state=state)
    answer = await outlook.create()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert words in answer.json()["error"]["message"]
    await outlook.control.set_mailbox(TENANT, ANN, state="ok")
    assert (await outlook.create()).status_code == 201


@pytest.mark.parametrize("zone", ["Tokyo Standard Time", "Europe/Amsterdam", "", "Customized Time Zone"])
async def test_the_time_zone_of_a_mailbox(outlook: Outlook, zone: str) -> None:
    await outlook.control.set_mailbox(TENANT, ANN, time_zone=zone)
    answer = await outlook.ask("GET", "/mailboxSettings/timeZone")
    assert answer.json()["value"] == zone
    whole = (await outlook.ask("GET", "/mailboxSettings")).json()
    assert whole["timeZone"] == zone
    custom = whole["workingHours"]["timeZone"].get("@odata.type")
    assert custom == ("#microsoft.graph.customTimeZone" if zone.startswith("Custom") else None)


class Redirected:
    """An http_client for MSAL that sends every request for the real authority to the sandbox."""

    def __init__(self, url: str) -> None:
        self.url, self.session = url, requests.Session()

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.session.get(self._here(url), **options)

    def post(self, url: str, **options: Any) -> requests.Response:
        return self.session.post(self._here(url), **options)

    def close(self) -> None:
        self.session.close()

    def _here(self, url: str) -> str:
        return url.replace("https://login.microsoftonline.com", self.url, 1)


async def test_msal_gets_tokens(outlook: Outlook) -> None:
    def acquire(tenant: str, secret: str) -> dict[str, Any]:
        client = Redirected(outlook.url)
        try:
            app = msal.ConfidentialClientApplication(
                APP,
                client_credential=secret,
                authority=f"https://login.microsoftonline.com/{tenant}",
                http_client=client,
            )
            granted: dict[str, Any] = app.acquire_token_for_client([SCOPE])
            return granted
        finally:
            client.close()

    granted = await asyncio.to_thread(acquire, TENANT, "s3cret")
    assert granted["token_source"] == "identity_provider"
    outlook.token = granted["access_token"]
    assert (await outlook.ask("GET", "/events")).status_code == 200
    refused = await asyncio.to_thread(acquire, TENANT, "guess")
    assert (refused["error"], refused["error_codes"]) == ("invalid_client", [7000215])
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        await asyncio.to_thread(acquire, OTHER, "s3cret")
    await outlook.control.set_fault(503, operation="openid")
    with pytest.raises(msal.exceptions.MsalServiceError):
        await asyncio.to_thread(acquire, TENANT, "s3cret")


async def test_faults_of_entra(outlook: Outlook) -> None:
    await outlook.control.set_fault("AADSTS7000222", operation="token", tenant=TENANT, times=1)
    answer = await outlook.log_in()
    assert (answer.status_code, answer.json()["error_codes"]) == (401, [7000222])
    await outlook.control.set_fault(503, operation="token", times=1, retry_after=5)
    answer = await outlook.log_in()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert (await outlook.log_in()).status_code == 200
    stats = await outlook.control.stats()
    assert stats["requests"]["token"] == {"200": 2, "401": 1, "503": 1}


def claims(token: str) -> Any:
    middle = token.split(".")[1]
    return orjson.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))


async def test_a_token_claims_its_roles_unless_there_are_none(outlook: Outlook) -> None:
    await outlook.log_in()
    claimed = claims(outlook.token)
    assert (claimed["tid"], claimed["appid"], claimed["aud"]) == (TENANT, APP, "https://graph.microsoft.com")
    assert claimed["roles"] == ["Calendars.ReadWrite", "MailboxSettings.Read"]
    assert claimed["exp"] - claimed["iat"] == 3599
    await outlook.control.add_app(TENANT, APP, roles=[])
    await outlook.log_in()
    assert "roles" not in claims(outlook.token)


async def test_a_token_can_end_before_expires_in(outlook: Outlook) -> None:
    await outlook.control.set_switches(token_valid_seconds=0.001, token_refresh_seconds=1800)
    document = (await outlook.log_in()).json()
    assert (document["expires_in"], document["refresh_in"]) == (3599, 1800)
    later = outlook.world.now() + 1
    outlook.world.now = lambda: later
    answer = await outlook.ask("GET", "/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


@pytest.mark.parametrize("batched", [False, True])
async def test_a_valid_token_is_refused_once(outlook: Outlook, batched: bool) -> None:
    await outlook.control.set_fault(401, times=1)

    async def status() -> Any:
        if not batched:
            return (await outlook.ask("GET", "/events")).status_code
        request = {"id": "1", "method": "GET", "url": f"/users/{ANN}/events"}
        return (await outlook.batch(request)).json()["responses"][0]["status"]

    assert [await status(), await status()] == [401, 200]


@pytest.mark.parametrize(("code", "status"), [("NoPermissionsInAccessToken", 401), ("ErrorAccessDenied", 403)])
async def test_the_error_for_a_token_without_roles_is_a_switch(outlook: Outlook, code: str, status: int) -> None:
    await outlook.control.set_switches(no_roles_code=code, no_roles_status=status)
    await outlook.control.add_app(TENANT, APP, roles=[])
    await outlook.log_in()
    answer = await outlook.create()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_stale_settings_by_address_but_not_by_object_id(outlook: Outlook) -> None:
    await outlook.control.set_mailbox(TENANT, ANN, state="info-stale")
    guid = (await outlook.control.tenants())[TENANT]["mailboxes"][ANN]["guid"]
    stale = await outlook.ask("GET", "/mailboxSettings/timeZone")
    assert (stale.status_code, stale.json()["error"]["code"]) == (503, "MailboxInfoStale")
    assert (await outlook.ask("GET", "/mailboxSettings/timeZone", mailbox=guid)).status_code == 200
    assert (await outlook.create()).status_code == 201


async def test_the_list_of_zones_needs_a_role_that_nobody_has(outlook: Outlook) -> None:
    answer = await outlook.ask("GET", "/outlook/supportedTimeZones")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Authorization_RequestDenied")
