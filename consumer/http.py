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

CONNECT_SECONDS: Final = 5.0


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
    collapses at a few dozen of them (encode/httpx#3215).
    """

    def __init__(self, *, ca_file: Path | None, timeout: float, connections: int = 100) -> None:
        """``timeout`` is of a whole request, in seconds; ``ca_file`` replaces the system's certificate authorities."""
        self._timeout = timeout
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(verify=context, limits=limits),
            timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send one request.

        Raises:
            NoAnswerError: a timeout, a refused or broken connection.
        """
        try:
            # httpx's own times are between two bytes: an answer that trickles would take for ever.
            async with asyncio.timeout(self._timeout + CONNECT_SECONDS):
                response = await self._client.request(method, url, headers=headers, content=body)
        except (httpx.HTTPError, aiohttp.ClientError, TimeoutError) as error:
            # httpx-aiohttp tells a connection that broke after the request as one that never came to be.
            sent = not isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise NoAnswerError(type(error).__name__ if sent else reason(error, url), sent=sent) from error
        # httpx ties an answer and its stream into a ring: cut, or every body waits for the garbage collector.
        del response.stream
        return Answer(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


def reason(error: Exception, url: str) -> str:
    """Why there is no connection, in words that hold nothing of the URL but its host."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        host = urlsplit(url).netloc
        return f"the certificate of {host} is not to be trusted: is its authority in CALSYNC_CA_FILE?"
    return type(error).__name__
