"""A pager: a webhook receiver that records what Alertmanager sends."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a notification."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    status: str = "firing"

    @property
    def name(self) -> str:
        return self.labels["alertname"]

    @property
    def pages(self) -> bool:
        return self.labels.get("severity") == "page"

    def __str__(self) -> str:
        rest = [f"{key}={value}" for key, value in sorted(self.labels.items()) if key in _TELLING]
        return f"{self.name}{{{', '.join(rest)}}}" if rest else self.name


_FEW = 4
_TELLING = ("site", "topic", "partition", "part", "cause", "operation", "instance", "reason")


@dataclass(frozen=True, slots=True)
class Notification:
    """What one request of Alertmanager brought. `at` is a time of `time.monotonic`."""

    at: float
    receiver: str
    status: str
    group: str
    alerts: Sequence[Alert]

    @property
    def firing(self) -> list[Alert]:
        return [alert for alert in self.alerts if alert.status == "firing"]

    @property
    def pages(self) -> bool:
        """Whether it wakes somebody: an alert of severity `page` is firing."""
        return self.status == "firing" and any(alert.pages for alert in self.firing)


class Pager:
    """Records notifications while its context lasts. `url` is for Alertmanager's webhooks."""

    def __init__(self) -> None:
        self.notifications: list[Notification] = []
        app = web.Application()
        app.router.add_post("/{receiver}", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def _receive(self, request: web.Request) -> web.Response:
        self.notifications.append(read(request.match_info["receiver"], await request.json(), time.monotonic()))
        return web.Response()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()


def read(receiver: str, document: Mapping[str, Any], at: float) -> Notification:
    """Returns what a webhook's document says (Alertmanager's documentation, `<webhook_config>`)."""
    alerts = [Alert(each["labels"], each["annotations"], each["status"]) for each in document["alerts"]]
    return Notification(at, receiver, document["status"], document["groupKey"], alerts)


def told(alerts: Sequence[Alert]) -> str:
    """Returns a short text of the alerts: many of one name are only counted."""
    counts = Counter(alert.name for alert in alerts)
    few = [str(alert) for alert in alerts if counts[alert.name] <= _FEW]
    return ", ".join([*few, *(f"{name} × {count}" for name, count in counts.items() if count > _FEW)])
