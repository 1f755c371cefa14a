"""What MSAL sends with: the service's own HTTP client, and a judge of what comes back.

MSAL takes a proxy's page for what Entra says: any 4xx to a tenant's openid-configuration is "unknown authority", a
200 with a page is kept for a day, a 400 is replayed for a minute (AzureAD/microsoft-authentication-library-for-python
#263, #126). So only an answer in Entra's own format reaches it.
"""

import asyncio
import concurrent.futures
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from consumer.domain.errors import TransientError
from consumer.foreign import ForeignAnswers
from consumer.graph.entra import LOGIN, own_error, refusal
from consumer.http import Answer, Http, NoAnswerError
from consumer.json_reader import loads
from consumer.retry_after import retry_after

_THROTTLED_SECONDS: Final = 5.0
"""What a 429 or 5xx without ``Retry-After`` asks for, as in MSAL."""
_OPENID: Final = ("issuer", "authorization_endpoint", "token_endpoint")


@dataclass(frozen=True, slots=True)
class Response:
    """As MSAL reads it."""

    status_code: int
    text: str
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Only successes come this far."""


class EntraHttp:
    """MSAL's ``http_client``. MSAL calls it in a thread; the requests are made in the event loop."""

    def __init__(self, entra_url: str, http: Http, foreign: ForeignAnswers, loop: asyncio.AbstractEventLoop) -> None:
        """``entra_url`` takes the place of ``https://login.microsoftonline.com``."""
        self._entra_url = entra_url.rstrip("/")
        self._http = http
        self._foreign = foreign
        self._loop = loop
        self._under_way: set[concurrent.futures.Future[Answer]] = set()
        self.asked = False
        """Whether anything was ever sent."""

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> Response:
        """For the openid-configuration.

        Raises:
            SiteRefusedError: Entra itself refuses the tenant.
            TransientError: no answer, or one that is not Entra's.
        """
        return self._judged(*self._send("GET", url, params, headers, None), _OPENID)

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> Response:
        """For a token. Raises as :meth:`get` does; here Entra itself refuses the app."""
        form = data if isinstance(data, str) else urlencode(data or {})
        typed = {**(headers or {}), "Content-Type": "application/x-www-form-urlencoded"}
        return self._judged(*self._send("POST", url, params, typed, form.encode()), ("access_token",))

    def close(self) -> None:
        """Give up the requests that are under way."""
        for future in list(self._under_way):
            future.cancel()

    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> tuple[str, Answer]:
        there = self._entra_url + url[len(LOGIN) :] if url.startswith(LOGIN + "/") else url
        if params:
            there += f"{'&' if '?' in there else '?'}{urlencode(params)}"
        self.asked = True
        try:
            return there, self._wait(self._http.request(method, there, headers=headers, body=body))
        except NoAnswerError as error:
            raise TransientError(f"Entra: {error}", tenant_wide=True) from None

    def _wait(self, request: Coroutine[Any, Any, Answer]) -> Answer:
        future = asyncio.run_coroutine_threadsafe(request, self._loop)
        self._under_way.add(future)
        try:
            # The client bounds its time.
            return future.result()
        finally:
            self._under_way.discard(future)

    def _judged(self, url: str, answer: Answer, members: tuple[str, ...]) -> Response:
        """A success as MSAL expects it. Raises ``SiteRefusedError`` or ``TransientError`` for all else."""
        document = _object(answer.body)
        if answer.status == 200 and all(isinstance(document.get(name), str) for name in members):
            return Response(200, answer.body.decode(errors="replace"), dict(answer.headers))
        error = own_error(document) if answer.status >= 400 else None
        wait = retry_after(answer.headers, own=error is not None)
        if answer.status == 429 or answer.status >= 500:
            raise TransientError(
                f"Entra: HTTP {answer.status}",
                retry_after=_THROTTLED_SECONDS if wait is None else wait,
                tenant_wide=True,
            )
        if error is None:
            what = self._foreign.saw("entra", url, answer)
            raise TransientError(f"Entra: {what}", retry_after=wait, tenant_wide=True, foreign=True)
        raise refusal(document) or TransientError(f"Entra: {error}", retry_after=wait, tenant_wide=True)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
