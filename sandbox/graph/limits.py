"""Outlook's limits for one app on one mailbox, and Graph's for one app (docs/facts/graph.md, part 5)."""

from sandbox.graph.errors import Answer, GraphError
from sandbox.graph.switches import Switches
from sandbox.graph.world import Span, Usage


def enter(usage: Usage, app: Span, switches: Switches, now: float, arrived: float, upload: int = 0) -> None:
    """Admits a request; `leave` must follow. Raises GraphError (429) if the request is not admitted.

    `app` counts the app's requests on all mailboxes. `upload` is the size of the request's body in bytes. A refused
    request counts too. A request that arrived before the last Retry-After had passed is counted as early.
    """
    if usage.retry_sent < arrived < usage.retry_until:
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


def note_retry_after(usage: Usage, answer: Answer, now: float) -> None:
    """Stores the Retry-After of an answer that was sent. From now on, the client knows it."""
    wait = answer.headers.get("Retry-After")
    if wait is None:
        return
    try:
        usage.retry_sent, usage.retry_until = now, now + float(wait)
    except ValueError:
        return  # the text of a fault, such as a date, is not a number of seconds


def throttled(retry_after: float | None) -> GraphError:
    return GraphError(
        429,
        "ApplicationThrottled",
        "Application is over its MailboxConcurrency limit.",
        retry_after=retry_after,
    )
