"""The dispatcher: every Graph call of an app passes here. One goes alone and at once; more travel as batches."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from consumer.domain.errors import CalsyncError, ForbiddenError, ReadOnlyError, RunAgainError, TransientError
from consumer.domain.site import Site
from consumer.foreign import ForeignAnswers
from consumer.graph.budget import APP_REQUESTS, APP_SECONDS, MAILBOX_REQUESTS, MAILBOX_SECONDS, Budget
from consumer.graph.dialect import UNREADABLE
from consumer.graph.errors import code_of, error_of, is_graphs
from consumer.graph.tokens import Tokens
from consumer.http import Answer, Http, NoAnswerError
from consumer.json_reader import loads
from consumer.retry_after import retry_after
from consumer.sync.lease import Lease

BATCH_SIZE: Final = 20
"""Graph's limit (json-batching)."""
AT_ONCE: Final = 24
"""HTTP requests in flight for one app. A batch runs four of its requests at a time, for all mailboxes together."""


_SUCCESSES: Final = {
    "GET": frozenset({200}),
    "POST": frozenset({200, 201}),
    "PATCH": frozenset({200}),
    "DELETE": frozenset({204}),
}
"""The statuses with which Graph answers what was done. Any other 2xx, and a redirect, is somebody else's."""
_NO_REPLY: Final = "the batch has no answer for this request"


class RequestMeter(Protocol):
    """What is counted of requests; the tests have their own."""

    def request(self, operation: str, status: str) -> None:
        """One request, inner ones of a batch too; ``status`` is ``none`` when no answer came."""

    def exchange(self, operation: str, seconds: float) -> None:
        """How long one HTTP exchange took; ``batch`` for a batch."""

    def throttled(self) -> None:
        """A 429."""


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


class Dispatcher:
    """Sends the calls of one app. A mailbox's calls are in one HTTP request at a time, so never over Graph's four."""

    def __init__(
        self,
        site: Site,
        graph_url: str,
        http: Http,
        tokens: Tokens,
        meter: RequestMeter,
        foreign: ForeignAnswers | None = None,
        *,
        read_only: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``site`` lends its credentials; others with the very same ones travel with it."""
        self._monotonic = monotonic
        self._foreign = foreign or ForeignAnswers(lambda _: None, monotonic)
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
        """Until when a mailbox is throttled, on the monotonic clock."""

    async def send(self, call: Call) -> Any:
        """What ``call.read`` makes of a success.

        Raises:
            CalsyncError: the one that :func:`consumer.graph.errors.error_of` makes of the answer.
            ReadOnlyError: a write, in a dry run.
        """
        if self._read_only and call.write:
            raise ReadOnlyError(call.operation)
        # Waiting is the lanes' business: nobody sleeps here holding a lease.
        if (obstacle := self._obstacle(call, self._monotonic(), spend=True)) is not None:
            raise obstacle
        queue = self._waiting.setdefault(call.address, deque())
        queue.append(call)
        if len(queue) == 1 and call.address not in self._flying:
            self._ready.append(call.address)
        self._flush_soon()
        return await call.reply

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
        started = self._monotonic()
        operation = calls[0].operation if len(calls) == 1 else "batch"
        sent: list[Call] = []
        try:
            await self._travel(calls, sent)
        except CalsyncError as error:
            for call in calls:
                call.fail(_for_call(error, call))
        except Exception as error:
            for call in calls:
                call.fail(TransientError(f"unexpected: {type(error).__name__}", unknown=call.write))
            raise
        finally:
            self._meter.exchange(operation, self._monotonic() - started)
            self._land(addresses, sent)

    async def _travel(self, calls: list[Call], sent: list[Call]) -> None:
        """Send what may go. ``sent`` gets the calls that left."""
        token = await self._tokens.get(self._site)
        # Only now, with the token at hand: fetching it may take longer than a lease lasts.
        calls = [call for call in calls if self._may_go(call)]
        if not calls:
            return
        sent += calls
        operation = calls[0].operation if len(calls) == 1 else "batch"
        answer = await self._post(calls, token, operation)
        body = _json(answer.body)
        if answer.status == 429 and operation == "batch":
            self._throttle(answer, body)
        if len(calls) == 1:
            self._settle(calls[0], answer.status, answer.headers, body, token)
        else:
            self._settle_batch(calls, answer, body, token)

    def _land(self, addresses: Iterable[str], sent: Sequence[Call]) -> None:
        for call in sent:
            if not call.reply.done():
                continue  # it waits to be sent once more, with a new token
            failed = not call.reply.cancelled() and call.reply.exception()
            if isinstance(failed, TransientError) and not failed.tenant_wide:
                self._suspects.add(call.address)
            else:
                self._suspects.discard(call.address)
        for address in addresses:
            self._flying.discard(address)
            if self._waiting.get(address):
                self._ready.append(address)

    async def _post(self, calls: list[Call], token: str, operation: str) -> Answer:
        """One HTTP exchange. Raises ``TransientError`` without an answer."""
        if len(calls) == 1:
            [call] = calls
            method, path, headers = call.method, call.path, call.headers()
            body = orjson.dumps(call.body) if call.body is not None else None
        else:
            method, path, headers, body = "POST", "/$batch", {"Content-Type": "application/json"}, _packed(calls)
        headers = {**headers, "Authorization": f"Bearer {token}", "Accept": "application/json"}
        try:
            answer = await self._http.request(method, self._graph_url + path, headers=headers, body=body)
        except NoAnswerError as error:
            self._meter.request(operation, "none")
            raise TransientError(f"Graph: {error}", unknown=error.sent and method != "GET") from None
        return answer

    def _settle_batch(self, calls: list[Call], answer: Answer, body: Any, token: str) -> None:
        """Hand each call its part, or the trouble if the batch has failed as a whole."""
        # A batch may be 424 as a whole because of one request in it (throttling): the others may be done.
        if answer.status not in (200, 424) or not isinstance(body, dict) or not isinstance(body.get("responses"), list):
            self._fail_batch(calls, answer, body, token)
            return
        replies = _replies(body["responses"])
        for number, call in enumerate(calls):
            reply = replies.get(str(number))
            status = reply.get("status") if reply is not None else None
            if reply is None or type(status) is not int:
                call.fail(TransientError(_NO_REPLY, unknown=call.write))
                continue
            headers = reply.get("headers")
            headers = headers if isinstance(headers, dict) else {}
            self._settle(call, status, headers, reply.get("body"), token)

    def _fail_batch(self, calls: list[Call], answer: Answer, body: Any, token: str) -> None:
        if answer.status == 424 and code_of(body):
            error = TransientError("a batch failed as a whole", unknown=True)
        else:
            refusal = error_of(answer.status, answer.headers, body, write=True)
            if isinstance(refusal, ForbiddenError) and refusal.token:
                self._meter.request("batch", "401")
                calls = [call for call in calls if not self._goes_again(call, token)]
            if not isinstance(refusal, TransientError):
                # It says nothing of any one of them: each is asked alone next, since its mailbox is suspect now.
                error = TransientError(f"a batch was refused: {refusal}", retry_after=0.0)
            elif refusal.foreign:
                error = self._foreign_error(answer.status, answer.headers, unknown=refusal.unknown)
            else:
                error = refusal
        for call in calls:
            call.fail(_for_call(error, call))

    def _may_go(self, call: Call, *, spend: bool = False) -> bool:
        """Whether it may still be sent; else it has failed. ``spend``: it takes another request of the budgets."""
        if call.reply.done():
            return False
        obstacle = self._obstacle(call, self._monotonic(), spend=spend)
        if obstacle is not None:
            call.fail(obstacle)
        return obstacle is None

    def _obstacle(self, call: Call, now: float, *, spend: bool) -> TransientError | None:
        """Why a call must not be sent now."""
        if self._not_before > now:
            return TransientError("the app is throttled", retry_after=self._not_before - now, tenant_wide=True)
        # What else a run has to ask of its mailbox must not come before its Retry-After is over either.
        rest = self._rests.get(call.address, now) - now
        if rest > 0:
            return TransientError("the mailbox is throttled", retry_after=rest)
        self._rests.pop(call.address, None)
        if call.lease is not None and not call.lease.may_send(now):
            return RunAgainError("the lease was not renewed in time")
        if not spend:
            return None
        if wait := self._app_budget.take("", now):
            return TransientError("the app has had its requests for now", retry_after=wait, tenant_wide=True)
        if wait := self._mailbox_budget.take(call.address, now):
            return TransientError("the mailbox has had its requests for now", retry_after=wait)
        return None

    def _goes_again(self, call: Call, token: str) -> bool:
        """Whether a call whose token was refused is sent with a new one: once, since Graph refuses valid ones at times.

        A new one that is refused too is kept: it may serve the other mailboxes.
        """
        if call.had_token_refused:
            return False
        call.had_token_refused = True
        self._tokens.refused(self._site, token)
        if self._may_go(call, spend=True):
            self._waiting.setdefault(call.address, deque()).appendleft(call)
        return True

    def _settle(self, call: Call, status: int, headers: Mapping[str, str], body: Any, token: str) -> None:
        self._meter.request(call.operation, str(status))
        if status == 429:
            self._meter.throttled()
        if status in _SUCCESSES.get(call.method, ()):
            try:
                answer = None if status == 204 else call.read(body)
            except UNREADABLE:
                self._rest(call.address, headers, own=False)
                call.fail(self._foreign_error(status, headers, unknown=call.write))
            else:
                self._rest(call.address, headers, own=status != 204)  # an empty answer may be anybody's
                call.succeed(answer)
            return
        self._rest(call.address, headers, own=is_graphs(status, headers, body))
        error = error_of(status, headers, body, write=call.write)
        if isinstance(error, ForbiddenError) and error.token and self._goes_again(call, token):
            return
        if isinstance(error, TransientError):
            if error.foreign:
                error = self._foreign_error(status, headers, unknown=error.unknown)
            elif status == 401:
                self._tokens.refused(self._site, token)  # its code says otherwise, but it may be the token's fault
        call.fail(error)

    def _foreign_error(self, status: int, headers: Mapping[str, str], *, unknown: bool) -> TransientError:
        """Count a foreign answer; the error says what it was and where it came from."""
        named: Iterable[Any] = (value for name, value in headers.items() if name.lower() == "content-type")
        content_type = next((value for value in named if isinstance(value, str)), "")
        what = self._foreign.saw("graph", self._graph_url, Answer(status, {"Content-Type": content_type}, b""))
        wait = retry_after(headers, own=False)
        return TransientError(f"Graph: {what}", retry_after=wait, unknown=unknown, foreign=True)

    def _rest(self, address: str, headers: Mapping[str, str], *, own: bool) -> None:
        """Send the mailbox nothing until the ``Retry-After`` of an answer has passed."""
        if wait := retry_after(headers, own=own):
            self._rests[address] = max(self._rests.get(address, 0.0), self._monotonic() + wait)

    def _throttle(self, answer: Answer, body: Any) -> None:
        """Send nothing of the app until the ``Retry-After`` of a batch's 429 has passed."""
        self._meter.throttled()
        wait = retry_after(answer.headers, own=is_graphs(answer.status, answer.headers, body))
        self._not_before = self._monotonic() + (wait or 1.0)


def _packed(calls: list[Call]) -> bytes:
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


def _replies(responses: list[Any]) -> dict[str, dict[str, Any]]:
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


def _for_call(error: CalsyncError, call: Call) -> CalsyncError:
    """A fault of a whole exchange, as one of its calls meets it: a read can always be repeated."""
    if isinstance(error, TransientError):
        return TransientError(
            str(error),
            retry_after=error.retry_after,
            unknown=error.unknown and call.write,
            tenant_wide=error.tenant_wide,
            foreign=error.foreign,
        )
    return error


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return loads(body)
    except ValueError:
        return None
