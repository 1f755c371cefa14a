"""What the cluster asks: 503 with the reason when something is wrong, and metrics in Prometheus's format."""

from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from consumer.ops.health import HealthServer

METRICS = "text/plain; version=0.0.4"


def says(trouble: str | None) -> Callable[[], Awaitable[str | None]]:
    async def check() -> str | None:
        return trouble

    return check


@pytest.mark.parametrize(
    ("live", "ready", "statuses"),
    [
        (None, None, {"/livez": (200, "ok\n"), "/readyz": (200, "ok\n")}),
        ("no poll for 61 s", None, {"/livez": (503, "no poll for 61 s\n"), "/readyz": (200, "ok\n")}),
        (None, "the group is not joined", {"/livez": (200, "ok\n"), "/readyz": (503, "the group is not joined\n")}),
    ],
)
async def test_each_probe_answers_503_with_what_is_wrong_and_200_otherwise(
    live: str | None, ready: str | None, statuses: dict[str, tuple[int, str]]
) -> None:
    server = HealthServer("127.0.0.1:0", lambda: b"calsync_up 1\n", METRICS, says(live), says(ready))
    address = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://{address}") as client:
            for path, expected in statuses.items():
                async with client.get(path) as answer:
                    assert (answer.status, await answer.text()) == expected
            async with client.get("/metrics") as metrics:
                assert await metrics.text() == "calsync_up 1\n"
                assert metrics.headers["Content-Type"] == METRICS
    finally:
        await server.stop()


async def test_an_address_that_is_in_use_is_an_os_error() -> None:
    first = HealthServer("127.0.0.1:0", lambda: b"", "text/plain", says(None), says(None))
    address = await first.start()
    second = HealthServer(address, lambda: b"", "text/plain", says(None), says(None))
    try:
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
    finally:
        await second.stop()
        await first.stop()
