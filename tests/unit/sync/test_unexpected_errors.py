"""An unexpected error in one site's sweep or probe is logged and affects no other site."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.domain.errors import SiteRefusedError
from consumer.domain.site import Site
from consumer.sync import scheduler, site_probes
from consumer.sync.scheduler import SweepScheduler
from consumer.sync.site_registry import SiteRegistry

SITES = {name: Site(name, name.title(), "UTC", f"tenant-{name}", "app", "secret") for name in ("acme", "beta")}


class Broken:
    """Sweeps and probes, which fail for the site acme with this error."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.swept: list[str] = []
        self.probed: list[str] = []
        self.resumed: list[str] = []

    def _come_to(self, site: Site) -> None:
        if site.site_id == "acme":
            raise self.error

    async def sweep(self, site: Site, **_: Any) -> None:
        self.swept.append(site.site_id)
        self._come_to(site)

    async def claim_sweep(self, _site_id: str, _interval: float) -> bool:
        return True

    async def probe(self, site: Site, *_: Any, **__: Any) -> None:
        self.probed.append(site.site_id)
        self._come_to(site)

    def site_up(self, _site_id: str, *, up: bool) -> None: ...

    def forget(self, _site_id: str) -> None: ...

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def registry(self) -> SiteRegistry:
        double: Any = self
        made = SiteRegistry(double, double, on_resumed=self.resumed.append)
        made.replace(SITES)
        return made


async def run_until(work: Any, is_over: Callable[[], bool]) -> None:
    """Run ``work`` until this is so, for five seconds at most."""
    task = asyncio.create_task(work)
    async with asyncio.timeout(5):
        while not is_over():
            assert not task.done(), task
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_unexpected_error_in_a_sweep_ends_no_other_and_the_site_is_swept_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler, "_LOOK_SECONDS", 0.001)
    broken = Broken(ZeroDivisionError())
    double: Any = broken
    sweeps = SweepScheduler(double, double, broken.registry(), clock=double, interval=0.0, owns=lambda _: True)
    with capture_logs() as logs:
        await run_until(sweeps.run(), lambda: min(broken.swept.count(site_id) for site_id in SITES) >= 2)
    assert {(line["event"], line["site"], line["log_level"]) for line in logs} == {
        ("unexpected error in a sweep", "acme", "critical")
    }


async def test_an_unexpected_error_in_a_probe_ends_no_other_and_the_site_is_probed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site_probes, "PROBE_SECONDS", 0.001)
    broken = Broken(ZeroDivisionError())
    sites = broken.registry()
    for site_id in SITES:
        sites.suspend(site_id, SiteRefusedError("AADSTS7000222", "expired"))
    with capture_logs() as logs:
        await run_until(sites.probe_forever(), lambda: broken.probed.count("acme") >= 2)
    assert broken.resumed == ["beta"]
    assert ("unexpected error in a probe", "acme") in {(line["event"], line["site"]) for line in logs}
    assert not sites.is_served("acme")


async def test_a_site_that_is_refused_for_another_reason_by_now_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator has renewed the secret, and has copied the wrong one."""
    monkeypatch.setattr(site_probes, "PROBE_SECONDS", 0.001)
    broken = Broken(SiteRefusedError("AADSTS7000215", "wrong"))
    sites = broken.registry()
    sites.suspend("acme", SiteRefusedError("AADSTS7000222", "expired"))
    with capture_logs() as logs:
        await run_until(sites.probe_forever(), lambda: broken.probed.count("acme") >= 3)
    assert [(line["event"], line["code"]) for line in logs] == [("site suspended for another reason", "AADSTS7000215")]
    assert str(sites.suspended("acme")) == "AADSTS7000215: wrong"
