"""A request ends within its time, with any behaviour of the server, and leaves nothing behind."""

import asyncio
import gc
from contextlib import suppress

import httpx
import pytest

from consumer import http
from consumer.http import Http, NoAnswerError


async def test_a_trickling_answer_ends_at_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.2)

    left = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        left.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = Http(ca_file=None, timeout=0.2)
        async with asyncio.timeout(5):
            with pytest.raises(NoAnswerError) as refused:
                await client.request("GET", f"http://127.0.0.1:{port}/")
        assert refused.value.sent
        await client.close()
        await left.wait()


@pytest.mark.parametrize("heard", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"no HTTP at all\r\n\r\n"])
async def test_a_request_whose_connection_broke_may_have_arrived(heard: bytes) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(heard)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        client = Http(ca_file=None, timeout=5)
        with pytest.raises(NoAnswerError) as broken:
            await client.request("POST", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", body=b"{}")
        assert broken.value.sent
        await client.close()


async def test_a_request_without_a_connection_was_never_sent() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    client = Http(ca_file=None, timeout=5)
    with pytest.raises(NoAnswerError) as refused:
        await client.request("POST", f"http://127.0.0.1:{port}/", body=b"{}")
    assert not refused.value.sent
    await client.close()


async def test_an_answer_is_freed_at_once_and_not_by_the_garbage_collector() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = Http(ca_file=None, timeout=5)
        gc.collect()
        gc.disable()
        try:
            assert (await client.request("GET", f"http://127.0.0.1:{port}/")).body == b"ok"
            assert [held for held in gc.get_objects() if type(held) is httpx.Response] == []
        finally:
            gc.enable()
        await client.close()
