"""Outlook's limits for one app on one mailbox (facts/graph.md, part 5)."""

from sandbox.graph.errors import Answer, GraphError
from sandbox.graph.switches import Switches
from sandbox.graph.world import Usage


def enter(usage: Usage, switches: Switches, now: float, arrived: float) -> None:
    """Counts a request in; `leave` must follow. Raises GraphError (429), then it has not been let in.

    A refused request counts too. One that arrived before the last Retry-After was over is noted as early.
    """
    if usage.retry_told < arrived < usage.retry_until:
        usage.early += 1
    if now - usage.window_start >= switches.request_window_seconds:
        usage.window_start, usage.window_count = now, 0
    usage.window_count += 1
    usage.peak = max(usage.peak, usage.in_flight + 1)
    if usage.window_count > switches.request_limit:
        usage.throttled += 1
        left = usage.window_start + switches.request_window_seconds - now
        raise GraphError(429, "TooManyRequests", "Please retry again later.", retry_after=max(1.0, round(left)))
    if usage.in_flight >= switches.concurrent_limit:
        usage.throttled += 1
        raise throttled(switches.retry_after_seconds)
    usage.in_flight += 1


def leave(usage: Usage) -> None:
    usage.in_flight -= 1


def tell(usage: Usage, answer: Answer, now: float) -> None:
    """Notes that an answer left with a Retry-After: from now on the client knows."""
    wait = answer.headers.get("Retry-After")
    if wait is not None:
        usage.retry_told, usage.retry_until = now, now + float(wait)


def throttled(retry_after: float | None) -> GraphError:
    return GraphError(
        429,
        "ApplicationThrottled",
        "Application is over its MailboxConcurrency limit.",
        retry_after=retry_after,
    )
