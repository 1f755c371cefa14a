"""Tokens: MSAL's confidential client for each app, in a thread, behind a cache."""

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msal
import requests

from consumer.domain.errors import TransientError
from consumer.domain.site import Site
from consumer.graph.entra import refusal, unknown_tenant
from consumer.http import reason

LOGIN: Final = "https://login.microsoftonline.com"
_SCOPE_ORIGINS: Final = (
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
)
_TIMEOUT_SECONDS: Final = (5, 20)
_MARGIN_SECONDS: Final = 300.0
"""A token is renewed so long before its end, as MSAL itself does."""


class _EntraHttp:
    """What MSAL sends with: bounded in time, and to the Entra that the settings name."""

    def __init__(self, entra_url: str, ca_file: Path | None) -> None:
        self._entra_url = entra_url.rstrip("/")
        self._session = requests.Session()
        # Without this a REQUESTS_CA_BUNDLE in the environment would override our CA file.
        self._session.trust_env = ca_file is None and urlsplit(entra_url).scheme == "https"
        self._session.verify = str(ca_file) if ca_file else True

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> requests.Response:
        return self._session.get(self._there(url), params=params, headers=headers, **self._options())

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> requests.Response:
        return self._session.post(self._there(url), params=params, data=data, headers=headers, **self._options())

    def close(self) -> None:
        self._session.close()

    def _there(self, url: str) -> str:
        return self._entra_url + url[len(LOGIN) :] if url.startswith(LOGIN + "/") else url

    @staticmethod
    def _options() -> dict[str, Any]:
        return {"timeout": _TIMEOUT_SECONDS, "allow_redirects": False}


class _App:
    """One app of one tenant with one secret."""

    def __init__(self, site: Site, entra_url: str, ca_file: Path | None, scope: str) -> None:
        self._site = site
        self._entra_url = entra_url
        self._http = _EntraHttp(entra_url, ca_file)
        self._scope = scope
        self._client: msal.ConfidentialClientApplication | None = None
        self._forgotten = False
        self.lock = asyncio.Lock()
        self.token = ""
        self.expires_at = 0.0

    def fetch(self) -> None:
        """Blocking: a token from MSAL's cache or from Entra.

        Raises:
            SiteRefusedError: Entra refuses the app.
            TransientError: Entra cannot be reached, or is ill.
        """
        try:
            if self._client is None:
                # Constructing it already asks Entra for the tenant's openid-configuration.
                self._client = msal.ConfidentialClientApplication(
                    self._site.client_id,
                    client_credential=self._site.client_secret,
                    authority=f"{LOGIN}/{self._site.tenant_id}",
                    http_client=self._http,
                )
            if self._forgotten:
                # Here, in the thread, since MSAL asks Entra for its aliases on the way.
                self._client.remove_tokens_for_client()
                self._forgotten = False
            answer = self._client.acquire_token_for_client(scopes=[self._scope])
        except (requests.RequestException, msal.exceptions.MsalError, OSError, RuntimeError, JSONDecodeError) as error:
            raise TransientError(f"Entra: {reason(error, self._entra_url)}", tenant_wide=True) from None
        except ValueError as error:
            if isinstance(error.__context__, JSONDecodeError):
                # A proxy's page, say: MSAL tells it as it tells an unknown tenant.
                raise TransientError("Entra: an answer that is no JSON", tenant_wide=True) from None
            raise unknown_tenant() from None
        finally:
            # The next request is an hour away, and with hundreds of tenants each would keep a connection open.
            self._http.close()
        if not isinstance(answer, dict) or "access_token" not in answer:
            answer = answer if isinstance(answer, dict) else {}
            fault = refusal(str(answer.get("error", "")), str(answer.get("error_description", "")))
            raise fault or TransientError(f"Entra: {answer.get('error', 'no token')}", tenant_wide=True)
        self.token = str(answer["access_token"])
        self.expires_at = time.monotonic() + float(answer.get("expires_in", 0)) - _MARGIN_SECONDS

    def forget(self) -> None:
        """The next token comes from Entra, not from MSAL's cache. Nothing is sent yet."""
        self.token, self.expires_at, self._forgotten = "", 0.0, True

    def close(self) -> None:
        self._http.close()


class Tokens:
    """A token for each site, fresh enough to be used now."""

    def __init__(self, entra_url: str, graph_url: str, ca_file: Path | None) -> None:
        """``entra_url`` is where to send what MSAL would send to ``login.microsoftonline.com``."""
        self._entra_url = entra_url
        self._ca_file = ca_file
        parts = urlsplit(graph_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        self._scope = (origin if origin in _SCOPE_ORIGINS else "https://graph.microsoft.com") + "/.default"
        self._apps: dict[tuple[str, str, str], _App] = {}

    async def get(self, site: Site) -> str:
        """A token. Raises ``SiteRefusedError`` or ``TransientError``."""
        app = self._app(site)
        if app.token and time.monotonic() < app.expires_at:
            return app.token
        async with app.lock:
            if not app.token or time.monotonic() >= app.expires_at:
                await asyncio.to_thread(app.fetch)
            return app.token

    def refused(self, site: Site, token: str) -> None:
        """Graph did not accept this token: the next one comes from Entra."""
        app = self._app(site)
        if app.token == token:
            app.forget()

    def start_over(self, site: Site) -> None:
        """Forget the app object with its token; MSAL replays a 400 from memory for a minute, a new object does not."""
        app = self._apps.pop(self._id(site), None)
        if app is not None:
            app.close()

    def close(self) -> None:
        """Give the connections back."""
        for app in self._apps.values():
            app.close()

    def _app(self, site: Site) -> _App:
        app = self._apps.get(self._id(site))
        if app is None:
            app = self._apps[self._id(site)] = _App(site, self._entra_url, self._ca_file, self._scope)
        return app

    @staticmethod
    def _id(site: Site) -> tuple[str, str, str]:
        return site.tenant_id, site.client_id, site.client_secret


def roles_of(token: str) -> frozenset[str]:
    """The app roles that an access token shows; empty if it shows none.

    Graph's tokens are not ours to read, and their form may change without notice
    (learn.microsoft.com/entra/identity-platform/access-tokens): so a form that we do not know is no error.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return frozenset()
    roles = claims.get("roles") if isinstance(claims, dict) else None
    return frozenset(map(str, roles)) if isinstance(roles, list) else frozenset()
