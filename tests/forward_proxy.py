"""A forward proxy for tests: CONNECT for https, whole URLs for http, with a login if wanted."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class ForwardProxy:
    """What it was asked, and how it answers. It follows names to loopback: no name is looked up outside."""

    login: str | None = None
    """``user:password``; without it, requests get 407."""
    refusal: int | None = None
    """The status of every CONNECT."""
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """Each request's method and target."""

    @property
    def url(self) -> str:
        return f"http://{f'{self.login}@' if self.login else ''}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            await self._answer(head, reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = head.decode("latin-1").split("\r\n")
        method, target, version = line.split(" ")
        self.asked.append(f"{method} {target}")
        status = self.refusal if self.refusal is not None else 200
        wanted = f"proxy-authorization: basic {base64.b64encode((self.login or '').encode()).decode()}".lower()
        if self.login is not None and wanted not in [header.lower() for header in headers]:
            status = 407
        if status != 200:
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        if method == "CONNECT":
            port = int(target.rpartition(":")[2])
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            parts = urlsplit(target)
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", parts.port or 80)
            path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            kept = [header for header in headers if not header.lower().startswith("proxy-")]
            there_writer.write("\r\n".join([f"{method} {path} {version}", *kept]).encode("latin-1"))
        await asyncio.gather(_pipe(reader, there_writer), _pipe(there_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def forward_proxy(*, login: str | None = None, refusal: int | None = None) -> AsyncIterator[ForwardProxy]:
    """A proxy on a loopback port. It may be asked for any name, and always leads to 127.0.0.1."""
    proxy = ForwardProxy(login, refusal)
    serving: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
