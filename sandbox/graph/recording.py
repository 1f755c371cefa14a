"""Records whole requests while the recording is on. It keeps no secrets: of an Authorization only the scheme."""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

_MOST_BYTES = 32 * 2**20
_OVERHEAD = 600
"""The approximate bytes of a request without its body."""


class Request(NamedTuple):
    """A request as it arrived. `service` is graph or entra. `path` is raw; for Graph, it starts after /v1.0."""

    service: str
    origin: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        return self._asdict() | {"body": _json(self.body)}


class Recording:
    """The last requests, up to 32 MiB. Records only while `on`."""

    def __init__(self) -> None:
        self.on = False
        self._kept: deque[Request] = deque()
        self._size = 0

    def start(self) -> None:
        """Starts a new recording and discards the previous one."""
        self._kept.clear()
        self._size, self.on = 0, True

    def add(self, request: Request) -> None:
        self._kept.append(request)
        self._size += len(request.body) + _OVERHEAD
        while self._size > _MOST_BYTES:
            self._size -= len(self._kept.popleft().body) + _OVERHEAD

    def documents(self) -> list[dict[str, Any]]:
        """Returns the requests, oldest first."""
        return [request.document() for request in self._kept]


def headers(sent: Mapping[str, str]) -> dict[str, str]:
    """Returns all headers by their lower-case names, without credentials."""
    kept: dict[str, str] = {}
    for name, value in sent.items():
        key = name.lower()
        kept[key] = f"{kept[key]}, {value}" if key in kept else value
    if "authorization" in kept:
        kept["authorization"] = kept["authorization"].partition(" ")[0]
    return kept


def _json(body: bytes) -> Any:
    """Returns the body's JSON, or its text if it is not JSON."""
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
