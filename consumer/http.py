"""HTTP: the one place that knows httpx. Everything that speaks HTTP is given an :class:`Http`."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from consumer import tls
from consumer.proxies import Proxies, Proxy, from_environment

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take: the name, TCP, the proxy and TLS."""
_NOT_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
"""No connection to the server was made, so the request cannot have arrived."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswerError(Exception):
    """No whole answer came."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent
        """Whether the request may have arrived."""


class Http:
    """An HTTP client that follows no redirects and keeps no cookies.

    It is httpx's interface over aiohttp's connections: httpx's own pool walks all connections for every request and
    collapses at a few dozen of them (encode/httpx#3215). The proxies are the environment's (:mod:`consumer.proxies`).
    """

    def __init__(
        self, *, ca_file: Path | None, timeout: float, connections: int | None = 100, proxies: Proxies | None = None
    ) -> None:
        """
        Args:
            ca_file: replaces the system's certificate authorities.
            timeout: of a whole request, in seconds.
            connections: the most at once; a request waits up to ``timeout`` for one. ``None`` where the caller bounds
                its requests itself: then no request waits for another one, and each leaves within
                ``CONNECT_SECONDS``.
            proxies: those of the environment if not given.
        """
        self._timeout = timeout
        self._context = tls.context(ca_file)
        # For aiohttp, 0 is "no limit"; httpx's own None would become aiohttp's default of 100.
        self._limits = httpx.Limits(max_connections=connections or 0, max_keepalive_connections=connections or 0)
        pool = CONNECT_SECONDS if connections is None else timeout
        self._timeouts = httpx.Timeout(timeout, connect=CONNECT_SECONDS, pool=pool)
        self._proxies = from_environment() if proxies is None else proxies
        self._clients: dict[Proxy | None, httpx.AsyncClient] = {}

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request.

        Raises:
            NoAnswerError: a timeout, a refused or broken connection.
        """
        proxy = self._proxies.for_url(url)
        if proxy is not None and proxy.authorization and url.startswith("http:"):
            # Of an https URL, the proxy is shown the CONNECT request's headers alone.
            headers = {**(headers or {}), "Proxy-Authorization": proxy.authorization}
        try:
            # httpx's own times are between two bytes: an answer that trickles would take for ever.
            async with asyncio.timeout(self._timeout + CONNECT_SECONDS):
                response = await self._client(proxy).request(method, url, headers=headers, content=body)
        except (httpx.HTTPError, aiohttp.ClientError, TimeoutError) as error:
            # httpx-aiohttp reports a connection that broke after the request as one that was never made.
            sent = not isinstance(error.__cause__, _NOT_SENT)
            raise NoAnswerError(type(error).__name__ if sent else _reason(error, url, proxy), sent=sent) from error
        # httpx ties an answer and its stream into a ring: cut, or every body waits for the garbage collector.
        del response.stream
        return Answer(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()

    def _client(self, proxy: Proxy | None) -> httpx.AsyncClient:
        client = self._clients.get(proxy)
        if client is None:
            headers = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else None
            through = httpx.Proxy(proxy.url, headers=headers) if proxy else None
            client = self._clients[proxy] = httpx.AsyncClient(
                transport=AiohttpTransport(verify=self._context, limits=self._limits, proxy=through),
                timeout=self._timeouts,
                follow_redirects=False,
                trust_env=False,
            )
        return client


def _reason(error: Exception, url: str, proxy: Proxy | None) -> str:
    """Why the connection failed. Of the URL, it contains only the host."""
    cause = error.__cause__
    host = urlsplit(url).netloc
    if (refused := tls.refusal(error)) is not None:
        return f"the certificate of {host} is refused ({refused}): is its authority in CALSYNC_CA_FILE?"
    if proxy is not None and isinstance(cause, aiohttp.ClientHttpProxyError):
        hint = ": it asks for a login, put user and password into the variable" if cause.status == 407 else ""
        return f"{proxy} does not connect to {host}: HTTP {cause.status}{hint}"
    where = f"{host} through {proxy}" if proxy is not None else host
    if proxy is not None and isinstance(cause, aiohttp.ClientProxyConnectionError):
        where = str(proxy)
    return f"no connection to {where}: {_cause(error)}"


def _cause(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError):
        below = cause.os_error
        if isinstance(below, ssl.SSLError) and below.reason:
            return f"TLS failed ({below.reason})"
        if below.strerror:
            return below.strerror
    return type(error).__name__
