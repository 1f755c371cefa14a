"""The dispatcher: every Graph call of an app passes here. One goes alone and at once; more travel as batches."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from consumer.domain.errors import CalsyncError, ReadOnlyError, TransientError
from consumer.domain.site import Site
from consumer.graph.budget import APP_REQUESTS, APP_SECONDS, MAILBOX_REQUESTS, MAILBOX_SECONDS, Budget
from consumer.graph.errors import error_of, refused_token, retry_after
from consumer.graph.tokens import Tokens
from consumer.http import Answer, Http, NoAnswerError
from consumer.json_reader import loads
from consumer.sync.ports import REQUEST_SECONDS, Lease

BATCH_SIZE: Final = 20
"""Graph's limit (json-batching)."""
AT_ONCE: Final = 24
"""HTTP requests in flight for one app. A batch runs four of its requests at a time, whatever their mailboxes."""


class RequestMeter(Protocol):
    """What is counted of requests; the tests have their own."""

    def request(self, operation: str, status: str) -> None:
        """One request, inner ones of a batch too; ``status`` is ``none`` when no answer came."""

    def exchange(self, operation: str, seconds: float) -> None:
        """How long one HTTP exchange took; ``batch`` for a batch."""

    def throttled(self) -> None:
        """A 429."""


@dataclass(slots=True)
class Call:
    """One request to Graph."""

    operation: str
    """create, update, delete, get, find, view, timezone: for the metrics."""
    method: str
    path: str
    """Below the Graph URL, encoded, with its query."""
    address: str
    body: Mapping[str, Any] | None = None
    lease: Lease | None = None
    """Not sent with less than ``REQUEST_SECONDS`` of it left."""
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


class Dispatcher:
    """Sends the calls of one app. A mailbox's calls are in one HTTP request at a time, so never over Graph's four."""

    def __init__(
        self, site: Site, graph_url: str, http: Http, tokens: Tokens, meter: RequestMeter, *, read_only: bool = False
    ) -> None:
        """``site`` lends its credentials; others with the very same ones travel with it."""
        self._site = site
        self._graph_url = graph_url.rstrip("/")
        self._http = http
        self._tokens = tokens
        self._meter = meter
        self._read_only = read_only
        self._app_budget = Budget(APP_REQUESTS, APP_SECONDS)
        self._mailbox_budget = Budget(MAILBOX_REQUESTS, MAILBOX_SECONDS)
        self._waiting: dict[str, deque[Call]] = {}
        self._ready: deque[str] = deque()
        self._flying: set[str] = set()
        self._suspects: set[str] = set()
        self._exchanges: set[asyncio.Task[None]] = set()
        self._flush_due = False
        self._not_before = 0.0
        self._rests: dict[str, float] = {}
        """Until when Graph has asked for peace for a mailbox, on the monotonic clock."""

    async def send(self, call: Call) -> Any:
        """The decoded body of a success.

        Raises:
            CalsyncError: whatever :func:`consumer.graph.errors.error_of` makes of the answer.
            ReadOnlyError: a write, in a dry run.
        """
        if self._read_only and call.write:
            raise ReadOnlyError(call.operation)
        # Waiting is the lanes' business: nobody sleeps here holding a lease.
        now = time.monotonic()
        wait = max(self._not_before - now, self._app_budget.take("", now))
        if wait > 0:
            raise TransientError("the app is throttled", retry_after=wait, tenant_wide=True)
        self._check_rest(call.address, now)
        wait = self._mailbox_budget.take(call.address, now)
        if wait > 0:
            raise TransientError("the mailbox has had its requests for now", retry_after=wait)
        queue = self._waiting.setdefault(call.address, deque())
        queue.append(call)
        if len(queue) == 1 and call.address not in self._flying:
            self._ready.append(call.address)
        self._flush_soon()
        return await call.reply

    def _check_rest(self, address: str, now: float) -> None:
        """What else a run has to ask of its mailbox must not come before its ``Retry-After`` is over either."""
        wait = self._rests.get(address, now) - now
        if wait > 0:
            raise TransientError("Graph has asked for peace for the mailbox", retry_after=wait)
        self._rests.pop(address, None)

    def _flush_soon(self) -> None:
        """At the end of this turn of the loop, so that what is asked at the same moment travels together."""
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        while self._ready and len(self._exchanges) < AT_ONCE:
            calls = self._gather()
            if calls:
                task = asyncio.create_task(self._exchange(calls))
                self._exchanges.add(task)
                task.add_done_callback(self._exchanged)

    def _exchanged(self, task: "asyncio.Task[None]") -> None:
        self._exchanges.discard(task)
        if self._ready:
            self._flush_soon()

    def _gather(self) -> list[Call]:
        """The next calls to travel together; a suspect mailbox travels alone, so that it delays nobody."""
        calls: list[Call] = []
        while self._ready and len(calls) < BATCH_SIZE:
            address = self._ready[0]
            suspect = address in self._suspects
            if suspect and calls:
                break
            self._ready.popleft()
            queue = self._waiting[address]
            while queue and len(calls) < BATCH_SIZE:
                call = queue.popleft()
                if self._may_go(call):
                    calls.append(call)
            if not queue:
                del self._waiting[address]
            if calls and calls[-1].address == address:
                self._flying.add(address)
            elif queue:
                self._ready.append(address)
            if suspect and calls:
                break
        return calls

    async def _exchange(self, calls: list[Call]) -> None:
        addresses = dict.fromkeys(call.address for call in calls)
        started = time.monotonic()
        operation = calls[0].operation if len(calls) == 1 else "batch"
        try:
            await (self._single(calls[0]) if len(calls) == 1 else self._batch(calls))
        except CalsyncError as error:
            for call in calls:
                call.fail(_for_call(error, call))
        except Exception as error:
            for call in calls:
                call.fail(TransientError(f"unexpected: {type(error).__name__}", unknown=call.write))
            raise
        finally:
            self._meter.exchange(operation, time.monotonic() - started)
            self._land(addresses, calls)

    def _land(self, addresses: Iterable[str], calls: list[Call]) -> None:
        for call in calls:
            failed = call.reply.done() and not call.reply.cancelled() and call.reply.exception()
            if isinstance(failed, TransientError):
                self._suspects.add(call.address)
            else:
                self._suspects.discard(call.address)
        for address in addresses:
            self._flying.discard(address)
            if self._waiting.get(address):
                self._ready.append(address)

    async def _single(self, call: Call) -> None:
        body = orjson.dumps(call.body) if call.body is not None else None
        answer, _ = await self._authorised(call.method, call.path, call.headers(), body, call.operation)
        self._settle(call, answer.status, answer.headers, _json(answer.body))

    async def _batch(self, calls: list[Call]) -> None:
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
        headers = {"Content-Type": "application/json"}
        packed = orjson.dumps({"requests": requests})
        answer, token = await self._authorised("POST", "/$batch", headers, packed, "batch")
        body = _json(answer.body)
        responses = body.get("responses") if isinstance(body, dict) else None
        if not isinstance(responses, list):
            # A batch may fail with 424 as a whole because of one request in it (throttling): the others may be done.
            status = answer.status if answer.status not in (200, 424) else 502
            error = error_of(status, answer.headers, body, write=True)
            if isinstance(error, TransientError):
                raise error
            # It says nothing of any one of them: each is asked alone next, since its mailbox is suspect now.
            raise TransientError(f"a batch was refused: {error}", retry_after=0.0)
        replies = {reply["id"]: reply for reply in responses if isinstance(reply, dict) and "id" in reply}
        for number, call in enumerate(calls):
            reply = replies.get(str(number))
            if reply is None:
                call.fail(TransientError("the batch has no answer for this request", unknown=call.write))
            else:
                if reply.get("status") == 401:
                    self._tokens.refused(self._site, token)
                self._settle(call, int(reply.get("status", 0)), reply.get("headers") or {}, reply.get("body"))

    def _may_go(self, call: Call) -> bool:
        """Whether it may still be sent; else it has failed."""
        if call.reply.done():
            return False
        now = time.monotonic()
        if self._not_before > now:
            call.fail(TransientError("the app is throttled", retry_after=self._not_before - now, tenant_wide=True))
            return False
        try:
            self._check_rest(call.address, now)
        except TransientError as error:
            call.fail(error)
            return False
        if call.lease is not None and call.lease.valid_until - now < REQUEST_SECONDS:
            call.fail(TransientError("too little of the lease is left", retry_after=0.0))
            return False
        return True

    def _settle(self, call: Call, status: int, headers: Mapping[str, str], body: Any) -> None:
        self._meter.request(call.operation, str(status))
        if wait := retry_after(headers):
            self._rests[call.address] = max(self._rests.get(call.address, 0.0), time.monotonic() + wait)
        if status == 429:
            self._meter.throttled()
        if status == 204 or (200 <= status < 300 and isinstance(body, dict)):
            call.succeed(body)
        elif 200 <= status < 300:
            # A proxy's page, say: a deletion would be believed otherwise.
            call.fail(TransientError(f"{status} with an answer that is not Graph's", unknown=call.write))
        else:
            call.fail(error_of(status, headers, body, write=call.write))

    async def _authorised(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, operation: str
    ) -> tuple[Answer, str]:
        """One exchange, and its token; one that is refused is replaced once, since valid ones are refused at times."""
        refusal: Any = None
        for _ in range(2):
            token = await self._tokens.get(self._site)
            try:
                answer = await self._http.request(
                    method,
                    self._graph_url + path,
                    headers={**headers, "Authorization": f"Bearer {token}", "Accept": "application/json"},
                    body=body,
                )
            except NoAnswerError as error:
                self._meter.request(operation, "none")
                raise TransientError(f"Graph: {error}", unknown=error.sent and method != "GET") from None
            if answer.status != 401:
                if answer.status == 429 and operation == "batch":
                    self._throttle(answer)
                return answer, token
            self._meter.request(operation, "401")
            self._tokens.refused(self._site, token)
            refusal = _json(answer.body)
        raise refused_token(refusal)

    def _throttle(self, answer: Answer) -> None:
        self._meter.throttled()
        self._not_before = time.monotonic() + (retry_after(answer.headers) or 1.0)


def _for_call(error: CalsyncError, call: Call) -> CalsyncError:
    """A fault of a whole exchange, as one of its calls meets it: a read can always be repeated."""
    if isinstance(error, TransientError):
        return TransientError(
            str(error),
            retry_after=error.retry_after,
            unknown=error.unknown and call.write,
            tenant_wide=error.tenant_wide,
        )
    return error


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return loads(body)
    except ValueError:
        return None
