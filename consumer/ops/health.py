"""What the cluster asks over HTTP: metrics, liveness, readiness; and the runbooks, which people ask for."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp import web

from consumer import redaction
from consumer.ops.runbook_pages import add_pages

STALE_POLL_SECONDS: Final = 60.0

Check = Callable[[], Awaitable[str | None]]
"""``None`` when all is well, else what is not."""


class HealthServer:
    """Serves ``/metrics``, ``/livez``, ``/readyz`` and ``/runbooks/``.

    From the event loop: one that hangs does not answer.
    """

    def __init__(self, bind: str, render: Callable[[], bytes], content_type: str, live: Check, ready: Check) -> None:
        host, _, port = bind.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._render = render
        self._content_type = content_type
        self._thread = ThreadPoolExecutor(1, "metrics")
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", _answering(live))
        app.router.add_get("/readyz", _answering(ready))
        add_pages(app)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> str:
        """Listen; returns the address in use. Raises ``OSError`` if it is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host, port = self._runner.addresses[0][:2]
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()
        self._thread.shutdown(wait=False)

    async def _metrics(self, _request: web.Request) -> web.Response:
        # In a thread: with thousands of sites it takes half a second, in which nothing else would be done.
        body = await asyncio.get_running_loop().run_in_executor(self._thread, self._render)
        return web.Response(body=body, headers={"Content-Type": self._content_type})


def _answering(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        trouble = await check()
        return (
            web.Response(text="ok\n")
            if trouble is None
            else web.Response(text=f"{redaction.text(trouble)}\n", status=503)
        )

    return answer
