"""Outlook's limits for one app on one mailbox, and Graph's for one app (docs/facts/graph.md, part 5)."""

from sandbox.graph.errors import Answer, GraphError
from sandbox.graph.switches import Switches
from sandbox.graph.world import Span, Usage


def enter(usage: Usage, app: Span, switches: Switches, now: float, arrived: float, upload: int = 0) -> None:
    """Counts a request in; `leave` must follow. Raises GraphError (429), then it has not been let in.

    `app` counts the app's requests on all mailboxes, `upload` is the size of the request's body in bytes. A refused
    request counts too. One that arrived before the last Retry-After was over is noted as early.
    """
    if usage.retry_told < arrived < usage.retry_until:
        usage.early += 1
    usage.peak = max(usage.peak, usage.in_flight + 1)
    left = max(
        app.add(1, switches.app_request_limit, switches.app_window_seconds, now),
        usage.requests.add(1, switches.request_limit, switches.request_window_seconds, now),
        usage.uploads.add(upload, switches.upload_limit_bytes, switches.upload_window_seconds, now) if upload else 0.0,
    )
    if left:
        usage.throttled += 1
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
    if wait is None:
        return
    try:
        usage.retry_told, usage.retry_until = now, now + float(wait)
    except ValueError:
        return  # a fault's own text: what it asks for is nobody's guess


def throttled(retry_after: float | None) -> GraphError:
    return GraphError(
        429,
        "ApplicationThrottled",
        "Application is over its MailboxConcurrency limit.",
        retry_after=retry_after,
    )
