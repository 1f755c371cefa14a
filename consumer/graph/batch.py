"""Graph's batches: several requests in the body of one (json-batching)."""

from typing import Any, Final

import orjson

from consumer.graph.call import Call

BATCH_SIZE: Final = 20
"""Graph's limit (json-batching)."""


def packed(calls: list[Call]) -> bytes:
    """The body of a batch."""
    requests = []
    for number, call in enumerate(calls):
        request: dict[str, Any] = {
            "id": str(number),
            "method": call.method,
            "url": call.path,
            "headers": call.headers(),
        }
        if call.body is not None:
            request["body"] = call.body
        requests.append(request)
    return orjson.dumps({"requests": requests})


def replies(responses: list[Any]) -> dict[str, dict[str, Any]]:
    """The replies of a batch by their ids. One that comes twice counts as missing: either may be the right one."""
    found: dict[str, dict[str, Any]] = {}
    twice: set[str] = set()
    for reply in responses:
        name = reply.get("id") if isinstance(reply, dict) else None
        if not isinstance(name, str):
            continue
        if name in found:
            twice.add(name)
        found[name] = reply
    return {name: reply for name, reply in found.items() if name not in twice}
