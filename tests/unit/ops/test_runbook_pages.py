"""An alert's link leads to its runbook, on the service's own port."""

import re

import aiohttp

from consumer.ops import runbook_pages
from consumer.ops.health import HealthServer


async def _well() -> None: ...


async def test_every_runbook_is_a_page_and_is_listed() -> None:
    server = HealthServer("127.0.0.1:0", lambda: b"", "text/plain", _well, _well)
    address = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://{address}") as client:
            async with client.get("/runbooks/") as answer:
                listed = await answer.text()
                assert answer.content_type == "text/html"
            assert runbook_pages.names()
            for name in runbook_pages.names():
                assert f'href="/runbooks/{name}"' in listed
                async with client.get(f"/runbooks/{name}") as answer:
                    page = await answer.text()
                    assert (answer.status, answer.content_type) == (200, "text/html")
                assert f"<h1>{name}</h1>" in page
                assert "<h2>Mitigation</h2>" in page
                for other in re.findall(r'href="([^"/]+)"', page):
                    async with client.get(f"/runbooks/{other}") as answer:
                        assert answer.status == 200, other
    finally:
        await server.stop()


async def test_a_name_that_is_no_runbook_is_not_found_and_reads_no_file() -> None:
    server = HealthServer("127.0.0.1:0", lambda: b"", "text/plain", _well, _well)
    address = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://{address}") as client:
            for path in ("/runbooks/Nothing", "/runbooks/..%2Fmetrics.py", "/runbooks/%3Cscript%3E"):
                async with client.get(path) as answer:
                    assert answer.status == 404
                    assert "<script>" not in await answer.text()
    finally:
        await server.stop()
