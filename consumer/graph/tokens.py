"""Tokens: MSAL's confidential client for each app, in threads of its own, behind a cache."""

import asyncio
import base64
import concurrent.futures
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msal

from consumer.domain.errors import SiteRefusedError, TransientError
from consumer.domain.site import Site
from consumer.foreign import ForeignAnswers
from consumer.graph.entra import LOGIN, own_error, refusal
from consumer.graph.entra_http import EntraHttp
from consumer.graph.links import origin
from consumer.http import Http

_CLOUDS: Final = (
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
)
_SCOPES: Final = {origin(cloud): f"{cloud}/.default" for cloud in _CLOUDS}
_SCOPE: Final = "https://graph.microsoft.com/.default"
_TIMEOUT_SECONDS: Final = 20.0
_MARGIN_SECONDS: Final = 300.0
"""A token is renewed this long before its end, as MSAL itself does."""
_THREADS: Final = 32
"""MSAL blocks its thread while Entra answers. An app fetches one token at a time, so a slow tenant takes one."""
_AGAIN_SECONDS: Final = 1.0
"""After a failure without ``Retry-After``, requests for the same token fail in the same way for this many seconds."""

Connect = Callable[[Site], EntraHttp]


class _App:
    """One app of one tenant with one secret."""

    def __init__(self, site: Site, http: EntraHttp, scope: str) -> None:
        self._site = site
        self._http = http
        self._scope = scope
        self._client: msal.ConfidentialClientApplication | None = None
        self._forgotten = False
        self.token = ""
        self.expires_at = 0.0
        self.fetching: asyncio.Task[str] | None = None
        self.failure: TransientError | None = None
        self.retry_at = 0.0
        """Until then ``failure`` is raised again without asking Entra, on the monotonic clock."""

    def fetch(self) -> tuple[str, float]:
        """Blocking: a token from MSAL's cache or from Entra, and how many seconds it lasts.

        Raises:
            SiteRefusedError: Entra refuses the app.
            TransientError: Entra cannot be reached, is ill, or somebody else answers in its place.
        """
        try:
            answer = self._acquire()
        except concurrent.futures.CancelledError:
            raise TransientError("Entra: the request was given up", tenant_wide=True) from None
        except (msal.exceptions.MsalError, OSError, RuntimeError) as error:
            raise TransientError(f"Entra: {type(error).__name__}", tenant_wide=True) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            if self._http.asked:
                raise TransientError("Entra: an answer that MSAL cannot use", tenant_wide=True, foreign=True) from None
            # MSAL refuses what the sites file says before it asks anybody.
            raise SiteRefusedError("tenant_id", "tenant_id in the sites file cannot be used: copy it again") from None
        if not isinstance(answer, dict) or "access_token" not in answer:
            if isinstance(answer, dict) and own_error(answer) is not None and (fault := refusal(answer)) is not None:
                raise fault
            raise TransientError("Entra: no token", tenant_wide=True)
        return str(answer["access_token"]), float(answer.get("expires_in", 0))

    def _acquire(self) -> object:
        if self._client is None:
            # Constructing it already asks Entra for the tenant's openid-configuration.
            self._client = msal.ConfidentialClientApplication(
                self._site.client_id,
                client_credential=self._site.client_secret,
                authority=f"{LOGIN}/{self._site.tenant_id}",
                http_client=self._http,
                # Or MSAL asks for aliases of the authority after each failure, and keeps a proxy's page for a day.
                instance_discovery=False,
            )
        if self._forgotten:
            self._client.remove_tokens_for_client()
            self._forgotten = False
        return self._client.acquire_token_for_client(scopes=[self._scope])

    def forget(self) -> None:
        """The next token comes from Entra, not from MSAL's cache. Nothing is sent yet."""
        self.token, self.expires_at, self._forgotten = "", 0.0, True

    def close(self) -> None:
        """Give up what is under way."""
        self._http.close()


class Tokens:
    """A token for each site, fresh enough to be used now."""

    def __init__(
        self,
        entra_url: str,
        graph_url: str,
        ca_file: Path | None,
        foreign: ForeignAnswers | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``entra_url`` is where to send what MSAL would send to ``login.microsoftonline.com``."""
        self._monotonic = monotonic
        self._entra_url = entra_url
        self._foreign = foreign or ForeignAnswers(lambda _: None, monotonic)
        # Bounded by the threads: no request waits for a connection of another.
        self._http = Http(ca_file=ca_file, timeout=_TIMEOUT_SECONDS, connections=None)
        # Its own threads: a slow Entra must not hold up files, Kafka and what else runs in the loop's threads.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="entra")
        self._scope = _SCOPES.get(origin(graph_url), _SCOPE)
        self._apps: dict[tuple[str, str, str], _App] = {}

    async def get(self, site: Site) -> str:
        """A token. Raises ``SiteRefusedError`` or ``TransientError``."""
        app = self._app(site)
        now = self._monotonic()
        if app.token and now < app.expires_at:
            return app.token
        if app.fetching is None:
            if app.failure is not None and now < app.retry_at:
                raise _again(app.failure, app.retry_at - now)
            app.fetching = asyncio.create_task(self._fetch(app))
            app.fetching.add_done_callback(lambda task: _ended(app, task))
        # Shielded: the others wait for the same fetch.
        return await asyncio.shield(app.fetching)

    async def _fetch(self, app: _App) -> str:
        try:
            app.token, seconds = await asyncio.get_running_loop().run_in_executor(self._threads, app.fetch)
        except TransientError as error:
            wait = _AGAIN_SECONDS if error.retry_after is None else error.retry_after
            app.failure, app.retry_at = error, self._monotonic() + wait
            raise
        app.expires_at = self._monotonic() + seconds - _MARGIN_SECONDS
        app.failure = None
        return app.token

    def refused(self, site: Site, token: str) -> None:
        """Graph did not accept this token: the next one comes from Entra."""
        app = self._app(site)
        if app.token == token:
            app.forget()

    def start_over(self, site: Site) -> None:
        """Forget the app object with its token and its last failure."""
        app = self._apps.pop(self._id(site), None)
        if app is not None:
            app.close()

    async def close(self) -> None:
        """Give up what is under way and close the connections."""
        for app in self._apps.values():
            app.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._http.close()

    def _app(self, site: Site) -> _App:
        app = self._apps.get(self._id(site))
        if app is None:
            http = EntraHttp(self._entra_url, self._http, self._foreign, asyncio.get_running_loop())
            app = self._apps[self._id(site)] = _App(site, http, self._scope)
        return app

    @staticmethod
    def _id(site: Site) -> tuple[str, str, str]:
        return site.tenant_id, site.client_id, site.client_secret


def roles_of(token: str) -> frozenset[str]:
    """The app roles that an access token shows; empty if it shows none.

    Graph's tokens are not ours to read, and their form may change without notice
    (learn.microsoft.com/entra/identity-platform/access-tokens): so a form that we do not know is not an error.
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return frozenset()
    roles = claims.get("roles") if isinstance(claims, dict) else None
    return frozenset(map(str, roles)) if isinstance(roles, list) else frozenset()


def _ended(app: _App, task: "asyncio.Task[str]") -> None:
    app.fetching = None
    if not task.cancelled():
        task.exception()  # everyone who waited has it; if all were cancelled, nobody needs it


def _again(failure: TransientError, seconds: float) -> TransientError:
    """A failure as somebody meets it who asks before Entra may be asked again."""
    return TransientError(str(failure), retry_after=seconds, tenant_wide=True, foreign=failure.foreign)
