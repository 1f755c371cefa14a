"""One fault after another: makes it, waits for the page, keeps it up for a while, repairs it, waits for all clear."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.gameday.faults import Fault
from tests.gameday.pager import Alert, Notification, told
from tests.gameday.queries import Queries
from tests.gameday.world import World

Show = Callable[[str], None]

PAGED_WITHIN_MINUTES: Final = 30.0
"""Divided by the factor. In this time a fault must have paged."""
CALM_MINUTES: Final = 6.0
"""Divided by the factor. So long nothing may page after a repair, and before the next fault begins."""
LATE_MINUTES: Final = 45.0
"""Divided by the factor. So long nothing may page after the day: the objectives' windows still hold its outages."""
_MORE_SECONDS: Final = 90.0
"""For what the factor does not shorten: back-off, probes each minute, a busy machine."""
_CLEAR_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 0.25


@dataclass(slots=True)
class Result:
    """What a fault led to. Times are in seconds after the fault was made, or after it was repaired."""

    fault: Fault
    paged: Notification | None = None
    paged_after: float | None = None
    updates: int = 0
    """How often alerts were added to the page, or left it, before it was resolved."""
    cleared_after: float | None = None
    tickets: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    """Every alert that was pending or fired, with its times; notifications too."""

    @property
    def document(self) -> dict[str, Any]:
        """The result in JSON."""
        return {
            "fault": self.fault.name,
            "what": self.fault.what,
            "notification": None if self.paged is None else [str(alert) for alert in self.paged.firing],
            "seconds": _rounded(self.paged_after),
            "updates": self.updates,
            "cleared_after_seconds": _rounded(self.cleared_after),
            "tickets": self.tickets,
            "problems": self.problems,
            "alerts": self.alerts,
        }


async def play(world: World, fault: Fault, linger_minutes: float, queries: Queries, show: Show) -> Result:
    """Plays one fault. ``linger_minutes``, divided by the factor, is how long it stays after its page.

    The queries are tried at the end of the fault, and after its repair.
    """
    result, pager = Result(fault), world.pager
    if not await calm(world, lambda: True, 0.0, show):
        result.problems.append(f"no calm before the fault: {_names(world)}")
    first = len(pager.notifications)
    made = time.monotonic()
    try:
        await fault.make(world)
        within = PAGED_WITHIN_MINUTES * 60 / world.factor + _MORE_SECONDS
        if fault.page is not None:
            await _until(world, lambda: bool(_pages(pager.notifications[first:])), within, show, "broken")
        linger = time.monotonic() + linger_minutes * 60 / world.factor
        await _until(world, lambda: time.monotonic() > linger, _CLEAR_SECONDS + linger, show, "stays broken")
        if fault.ticket is not None:
            await _until(world, lambda: fault.ticket in _tickets(pager.notifications[first:]), within, show, "ticket")
        await queries.try_all(world.monitoring)
    except (httpx.HTTPError, RuntimeError, TimeoutError) as error:
        result.problems.append(f"the fault could not be made: {error}")
    finally:
        repaired = time.monotonic()
        show("is repaired")
        await fault.repair(world)
    cleared = await calm(world, lambda: _all_resolved(pager.notifications), CALM_MINUTES, show)
    if cleared:
        result.cleared_after = cleared - repaired
    else:
        result.problems.append(f"not all clear after the repair: {_names(world)}")
    await queries.try_all(world.monitoring)
    received = pager.notifications[first:]
    pages = _pages(received)
    if pages:
        result.paged, result.paged_after = pages[0], pages[0].at - made
        result.updates = sum(each.pages and each.group == pages[0].group for each in received) - 1
    result.tickets = sorted(_tickets(received))
    result.problems += judge(fault, received)
    result.alerts = [
        each.told(made) for each in world.monitoring.since(made) if each.alert.labels.get("severity") != "none"
    ]
    result.alerts += [
        f"notification after {each.at - made:.0f} to {each.receiver}: {each.status} {told(each.alerts)}"
        for each in received
        if any(alert.labels.get("severity") != "none" for alert in each.alerts)
    ]
    return result


async def late_pages(world: World, show: Show) -> list[str]:
    """Waits for pages that come long after the last repair. Returns a line for each."""
    first, end = len(world.pager.notifications), time.monotonic() + LATE_MINUTES * 60 / world.factor
    await _until(world, lambda: time.monotonic() > end, LATE_MINUTES * 60, show, "watches for late pages")
    return [f"paged after the day: {told(page.firing)}" for page in _pages(world.pager.notifications[first:])]


def judge(fault: Fault, received: Sequence[Notification]) -> list[str]:
    """Returns what is wrong with the notifications that the fault led to."""
    pages, problems = _pages(received), list[str]()
    if fault.ticket is not None and fault.ticket not in _tickets(received):
        problems.append(f"no ticket {fault.ticket}")
    if fault.page is None:
        return problems + [f"paged: {told(page.firing)}" for page in pages]
    if not pages:
        return [*problems, f"no page; {fault.page.alert} was expected"]
    problems += [f"a further page: {told(page.firing)}" for page in pages[1:]]
    updates = [each for each in received if each.pages and each.group == pages[0].group]
    wrong = [problem for each in updates for alert in each.firing for problem in _wrong(fault, alert)]
    return problems + list(dict.fromkeys(wrong))


def _wrong(fault: Fault, alert: Alert) -> list[str]:
    assert fault.page is not None
    if alert.name != fault.page.alert:
        return [f"paged {alert}, not {fault.page.alert}"]
    wanted = {"severity": "page", "service": "calsync", **fault.page.labels}
    problems = [
        f"{alert}: {name} is {alert.labels.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if alert.labels.get(name) != value
    ]
    text = " ".join(alert.annotations.get(name, "") for name in ("summary", "description")).lower()
    problems += [f"{alert} does not say {word!r}: {text}" for word in fault.page.words if word.lower() not in text]
    if not alert.annotations.get("runbook_url", "").endswith(f"/runbooks/{alert.name}"):
        problems.append(f"{alert}: runbook_url is {alert.annotations.get('runbook_url')!r}")
    if "/d/calsync-" not in alert.annotations.get("dashboard_url", ""):
        problems.append(f"{alert}: dashboard_url is {alert.annotations.get('dashboard_url')!r}")
    unfilled = [name for name, value in alert.annotations.items() if "<no value>" in value or "{{" in value]
    return problems + [f"{alert}: the annotation {name} is not filled in" for name in unfilled]


async def _until(world: World, check: Callable[[], bool], within: float, show: Show, doing: str) -> bool:
    began = time.monotonic()
    while not check():
        world.monitoring.check()
        if time.monotonic() > began + within:
            return False
        show(f"{doing} {time.monotonic() - began:.0f} s; firing: {_names(world) or 'nothing'}")
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def calm(world: World, check: Callable[[], bool], minutes: float, show: Show) -> float | None:
    """Waits until, for some minutes, no page was pending or firing and the check held.

    The minutes are divided by the factor. Returns when they began, or None if they do not come.
    """
    began = calm_since = time.monotonic()
    while True:
        world.monitoring.check()
        moment = time.monotonic()
        if world.monitoring.pages_now() or not check():
            calm_since = moment
        if moment - calm_since >= minutes * 60 / world.factor:
            return calm_since
        if moment > began + _CLEAR_SECONDS:
            return None
        show(f"waits for all clear {moment - began:.0f} s; firing: {_names(world) or 'nothing'}")
        await asyncio.sleep(_POLL_SECONDS)


def _names(world: World) -> str:
    return ", ".join(sorted({each.alert.name for each in world.monitoring.firing_now()}))


def _pages(notifications: Sequence[Notification]) -> list[Notification]:
    """Returns the notifications that wake somebody.

    A pager joins what has the same group key to one incident, until it is resolved. So an alert that is added to a
    group which has paged wakes nobody.
    """
    pages, open_groups = list[Notification](), set[str]()
    for each in notifications:
        if each.pages and each.group not in open_groups:
            pages.append(each)
            open_groups.add(each.group)
        if each.status == "resolved":
            open_groups.discard(each.group)
    return pages


def _tickets(notifications: Sequence[Notification]) -> set[str]:
    return {alert.name for each in notifications for alert in each.firing if alert.labels.get("severity") == "ticket"}


def _all_resolved(notifications: Sequence[Notification]) -> bool:
    """Returns whether the newest notification of each group that paged reports that it is resolved."""
    paged = {each.group for each in notifications if each.pages}
    newest = {each.group: each.status for each in notifications}
    return all(newest[group] == "resolved" for group in paged)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
