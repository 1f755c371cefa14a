"""Entra: the openid document, tokens by client secret, and its errors (docs/facts/graph.md, part 6)."""

import base64
from datetime import UTC, datetime
from typing import Any

import orjson

from sandbox.graph.errors import Answer, retry_header
from sandbox.graph.world import App, Tenant, Token, World

AUTHORITY = "https://login.microsoftonline.com"
_ALIASES = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]
_SCOPE = "https://graph.microsoft.com/.default"

# for each code: the status, the error and the text
REFUSALS: dict[str, tuple[int, str, str]] = {
    "AADSTS7000222": (
        401,
        "invalid_client",
        (
            "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys "
            "for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added "
            "security: https://aka.ms/certCreds."
        ),
    ),
    "AADSTS7000215": (
        401,
        "invalid_client",
        (
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
            "not the client secret ID, for a secret added to app '{app}'."
        ),
    ),
    "AADSTS700016": (
        400,
        "unauthorized_client",
        (
            "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the "
            "application has not been installed by the administrator of the tenant or consented to by any user in the "
            "tenant. You may have sent your authentication request to the wrong tenant."
        ),
    ),
    "AADSTS90002": (
        400,
        "invalid_tenant",
        (
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
            "correct cloud. Check with your subscription administrator, this may happen if there are no active "
            "subscriptions for the tenant."
        ),
    ),
    "AADSTS70003": (
        400,
        "unsupported_grant_type",
        "The app requested an unsupported grant type '{detail}'.",
    ),
    "AADSTS70011": (
        400,
        "invalid_scope",
        "The provided value for the input parameter 'scope' is not valid. The scope '{detail}' is not valid.",
    ),
    "AADSTS900144": (
        400,
        "invalid_request",
        "The request body must contain the following parameter: '{detail}'.",
    ),
    "AADSTS90033": (
        503,
        "temporarily_unavailable",
        "A transient error has occurred. Please try again.",
    ),
}


def openid(world: World, tenant_id: str) -> Answer:
    """Returns the openid document of a tenant. Its endpoints are the real authority's, whatever host was requested."""
    tenant = tenant_id.lower()
    if tenant not in world.tenants:
        return refusal(world, "AADSTS90002", tenant=tenant_id)
    base = f"{AUTHORITY}/{tenant}"
    return _json(
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "private_key_jwt",
                "client_secret_basic",
            ],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
            "msgraph_host": "graph.microsoft.com",
        }
    )


def discovery(authorization_endpoint: str) -> Answer:
    """Answers instance discovery, which MSAL requests after a token request that failed."""
    tenant = authorization_endpoint.removeprefix(f"{AUTHORITY}/").partition("/")[0] or "common"
    return _json(
        {
            "tenant_discovery_endpoint": f"{AUTHORITY}/{tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [
                {
                    "preferred_network": "login.microsoftonline.com",
                    "preferred_cache": "login.windows.net",
                    "aliases": _ALIASES,
                }
            ],
        }
    )


def token(world: World, tenant_id: str, form: dict[str, str]) -> Answer:
    """Answers a token request with a token, or with the AADSTS error that says why there is none."""
    tenant = world.tenants.get(tenant_id.lower())
    if tenant is None:
        return refusal(world, "AADSTS90002", tenant=tenant_id)
    for name in ("grant_type", "client_id", "scope", "client_secret"):
        if not form.get(name):
            return refusal(world, "AADSTS900144", detail=name)
    if form["grant_type"] != "client_credentials":
        return refusal(world, "AADSTS70003", detail=form["grant_type"])
    if _SCOPE not in form["scope"].split():
        return refusal(world, "AADSTS70011", detail=form["scope"])
    app = tenant.apps.get(form["client_id"].lower())
    if app is None:
        return refusal(world, "AADSTS700016", tenant=tenant_id, app=form["client_id"])
    given = [secret for secret in app.secrets if secret.value == form["client_secret"]]
    if not given:
        return refusal(world, "AADSTS7000215", app=form["client_id"])
    if not any(secret.expires is None or secret.expires > world.now() for secret in given):
        return refusal(world, "AADSTS7000222", app=form["client_id"])
    lifetime, refresh = world.switches.token_lifetime_seconds, world.switches.token_refresh_seconds
    return _json(
        {
            "token_type": "Bearer",
            "expires_in": lifetime,
            "ext_expires_in": lifetime,
            **({"refresh_in": refresh} if refresh else {}),
            "access_token": issue(world, tenant, app),
        }
    )


def issue(world: World, tenant: Tenant, app: App) -> str:
    """Returns a new token that looks like a JWT. It keeps the app's present roles, and claims them if there are any."""
    now, switches = world.now(), world.switches
    claims = {
        "aud": "https://graph.microsoft.com",
        "iss": f"https://sts.windows.net/{tenant.id}/",
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + switches.token_lifetime_seconds,
        "appid": app.client_id,
        "idtyp": "app",
        **({"roles": app.roles} if app.roles else {}),
        "tid": tenant.id,
        "uti": f"{world.random.getrandbits(128):032x}",
        "ver": "1.0",
    }
    head = f"{_base64url({'typ': 'JWT', 'alg': 'RS256'})}.{_base64url(claims)}."
    missing = max(0, switches.token_length - len(head))
    text = head + f"{world.random.getrandbits(missing * 4 + 128):x}".zfill(missing)[:missing]
    valid = switches.token_valid_seconds or switches.token_lifetime_seconds
    world.tokens[text] = Token(tenant, app, app.roles, now + valid)
    return text


def _base64url(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(document)).decode().rstrip("=")


def refusal(world: World, code: str, *, tenant: str = "", app: str = "", detail: str = "") -> Answer:
    """Returns an error as Entra writes it."""
    status, error, text = REFUSALS[code]
    text = text.replace("{tenant}", tenant).replace("{app}", app).replace("{detail}", detail)
    return _failure(world, status, error, f"{code}: {text}", int(code.removeprefix("AADSTS")))


def failure(world: World, status: int, retry_after: float | str | None) -> Answer:
    """Returns the answer of an Entra that fails with a status alone (5xx, 429)."""
    text = "AADSTS90033: A transient error has occurred. Please try again."
    answer = _failure(world, status, "temporarily_unavailable", text, 90033)
    answer.headers.update(retry_header(retry_after))
    return answer


def _failure(world: World, status: int, error: str, text: str, number: int) -> Answer:
    trace, correlation = world.guid(), world.guid()
    stamp = datetime.fromtimestamp(world.now(), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    description = f"{text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {stamp}"
    return _json(
        {
            "error": error,
            "error_description": description,
            "error_codes": [number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={number}",
        },
        status,
    )


def _json(document: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(document))
