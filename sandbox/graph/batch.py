"""JSON batching (docs/facts/graph.md, part 4): four requests at a time, one at a time with dependsOn."""

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from sandbox.graph import limits
from sandbox.graph.errors import JSON_TYPE, Answer, GraphError, LostAnswerError, OmittedAnswerError
from sandbox.graph.service import Call, Graph

_MOST = 20
_AT_ONCE = 4
_METHODS = {"GET", "POST", "PATCH", "PUT", "DELETE"}


@dataclass(slots=True, eq=False)
class Step:
    """One request of a batch, and its answer once it has one."""

    id: str
    call: Call
    after: tuple[str, ...]
    answer: Answer | None = None
    omitted: bool = False


async def run(graph: Graph, outer: Call) -> Answer:
    """Answers a batch: 200, whatever the results of its requests are. Raises GraphError (400) or LostAnswerError."""
    steps = _read(graph, outer)
    graph.world.stats.batches[len(steps)] += 1
    if any(step.after for step in steps):
        await _ordered(graph, steps)
    elif graph.instant:
        for step in steps:
            step.answer = graph.run_now(step.call)
    elif graph.faults:
        await _four_workers(graph, steps)
    else:
        await _rounds(graph, steps)
    sent_at = graph.world.now()
    responses = []
    for step in steps:
        if step.omitted:
            continue
        answer = step.answer or Answer(500)
        if step.call.usage is not None:
            limits.note_retry_after(step.call.usage, answer, sent_at)
        responses.append(_response(step.id, answer))
    switches = graph.world.switches
    if switches.batch_order == "shuffled":
        graph.world.order.shuffle(responses)
    throttled = any(each["status"] == 429 for each in responses)
    return Answer(switches.throttled_batch_status if throttled else 200, orjson.dumps({"responses": responses}))


def _response(step_id: str, answer: Answer) -> dict[str, Any]:
    headers = {"Cache-Control": "private", **answer.headers}
    if not answer.body:
        return {"id": step_id, "status": answer.status, "headers": headers}
    headers["Content-Type"] = answer.content_type
    # bodies that are not JSON come in base64
    body = orjson.Fragment(answer.body) if answer.content_type == JSON_TYPE else base64.b64encode(answer.body).decode()
    return {"id": step_id, "status": answer.status, "headers": headers, "body": body}


async def _rounds(graph: Graph, steps: list[Step]) -> None:
    """Runs four requests at a time. All have the same latency, so each round of four needs only one sleep."""
    for first in range(0, len(steps), _AT_ONCE):
        entered = []
        for step in steps[first : first + _AT_ONCE]:
            step.answer = graph.begin(step.call)
            if step.answer is None:
                entered.append(step)
        await asyncio.sleep(graph.world.switches.latency_ms / 1000)
        for step in entered:
            step.answer = graph.finish(step.call)


async def _four_workers(graph: Graph, steps: list[Step]) -> None:
    """Runs four requests at a time, each with its own delay. If an answer is lost, the whole batch's is, at its end."""
    waiting = iter(steps)
    lost = await asyncio.gather(*(_work(graph, waiting) for _ in range(_AT_ONCE)))
    worst = max((each for each in lost if each is not None), key=lambda each: each.seconds, default=None)
    if worst is not None:
        raise worst


async def _work(graph: Graph, waiting: Iterator[Step]) -> LostAnswerError | None:
    lost = None
    for step in waiting:
        try:
            step.answer = await graph.run(step.call)
        except OmittedAnswerError:
            step.omitted = True
        except LostAnswerError as error:
            lost = error
    return lost


async def _ordered(graph: Graph, steps: list[Step]) -> None:
    """Runs one request at a time, each after those it depends on. If one fails, its dependants get 424."""
    answered: dict[str, Answer] = {}
    left = list(steps)
    while left:
        step = next((each for each in left if all(name in answered for name in each.after)), None)
        if step is None:
            raise _bad("The dependencies of the requests form a circle.")
        left.remove(step)
        if any(answered[name].status >= 400 for name in step.after):
            error = GraphError(424, "FailedDependency", "A request that this request depends on has failed.")
            step.answer = step.call.refused(error)
        else:
            step.answer = await graph.run(step.call)
        answered[step.id.lower()] = step.answer


def _read(graph: Graph, outer: Call) -> list[Step]:
    if outer.method != "POST":
        raise GraphError(405, "MethodNotAllowed", f"{outer.method} is not allowed here.")
    try:
        document = orjson.loads(outer.payload or b"")
    except orjson.JSONDecodeError as error:
        raise _bad("Invalid batch payload format.") from error
    requests = document.get("requests") if type(document) is dict else None
    if type(requests) is not list or not requests:
        raise _bad("Invalid batch payload format.")
    if len(requests) > _MOST:
        raise GraphError(
            400,
            "MaximumValueExceeded",
            f"Number of batch request steps exceeds the maximum value of {_MOST}.",
        )
    steps = [_step(graph, outer, each) for each in requests]
    names = {step.id.lower() for step in steps}
    if len(names) < len(steps):
        raise _bad("Request ids must be unique.")
    if not all(name in names for step in steps for name in step.after):
        raise _bad("A request depends on one that is not in the batch.")
    return steps


def _step(graph: Graph, outer: Call, request: Any) -> Step:
    if type(request) is not dict:
        raise _bad("Invalid batch payload format.")
    step_id, method, url = request.get("id"), request.get("method"), request.get("url")
    if type(step_id) is not str or not step_id:
        raise _bad("Request id is missing.")
    if type(method) is not str or method.upper() not in _METHODS:
        raise _bad(f"Invalid batch request method: '{method}'.")
    if type(url) is not str or "://" in url.partition("?")[0] or not url.strip("/"):
        raise _bad(f"Invalid batch request url: '{url}'.")
    path, _, query = url.partition("?")
    if path.strip("/").lower() == "$batch":
        raise _bad("Nested batch requests are not allowed.")
    headers, after = request.get("headers") or {}, request.get("dependsOn") or []
    if type(headers) is not dict or not all(type(value) is str for value in headers.values()):
        raise _bad("Invalid batch request headers.")
    if type(after) is not list or not all(type(name) is str for name in after):
        raise _bad("Invalid dependsOn.")
    known = {name.lower(): value for name, value in headers.items()}
    prefer = known.get("prefer", "")
    if graph.world.switches.batch_prefer == "first":
        prefer = prefer.partition(",")[0]
    if "body" in request and not known.get("content-type"):
        raise _bad(f"Content-Type header is missing or empty for request {step_id}, which has a body.")
    call = replace(
        outer,
        method=method.upper(),
        path=path if path.startswith("/") else f"/{path}",
        query=query,
        prefer=prefer,  # the batch's own Prefer is not applied (msgraph-sdk-dotnet#874)
        if_match=known.get("if-match"),
        content_type=known.get("content-type", ""),
        client_request_id=known.get("client-request-id", outer.client_request_id),
        payload=request.get("body"),
        batched=True,
        written=[],
    )
    return Step(step_id, call, tuple(name.lower() for name in after))


def _bad(message: str) -> GraphError:
    return GraphError(400, "BadRequest", message)
