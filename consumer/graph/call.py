"""One request to Graph: what it asks, under which lease, and who waits for its answer."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consumer.domain.errors import CalsyncError
from consumer.sync.lease import Lease


def any_object(body: Any) -> Any:
    """The body of a success, which must be an object. Raises ``TypeError``."""
    if not isinstance(body, dict):
        raise TypeError("not an object")
    return body


@dataclass(slots=True)
class Call:
    """One request to Graph."""

    operation: str
    """create, update, delete, get, find, view, tagged, timezone, probe: for the metrics."""
    method: str
    path: str
    """Below the Graph URL, encoded, with its query."""
    address: str
    body: Mapping[str, Any] | None = None
    lease: Lease | None = None
    """Not sent unless ``Lease.may_send``."""
    read: Callable[[Any], Any] = any_object
    """What the decoded body of a success says. Raises one of ``UNREADABLE`` for a body that is not Graph's."""
    had_token_refused: bool = False
    """Graph has refused the token it was sent with, once."""
    reply: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def write(self) -> bool:
        """Whether carrying it out twice matters."""
        return self.method != "GET"

    def headers(self) -> dict[str, str]:
        """Immutable ids must be asked for on every request (outlook-immutable-id)."""
        headers = {"Prefer": 'IdType="ImmutableId"'}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def succeed(self, body: Any) -> None:
        """Hand the answer over."""
        if not self.reply.done():
            self.reply.set_result(body)

    def fail(self, error: CalsyncError) -> None:
        """Hand the fault over."""
        if not self.reply.done():
            self.reply.set_exception(error)
