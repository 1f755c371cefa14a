"""The dispatcher: every Graph call of an app passes here. One goes alone and at once; more travel as batches."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import orjson

from consumer.domain.errors import CalsyncError, ForbiddenError, ReadOnlyError, TransientError
from consumer.domain.site import Site
from consumer.foreign import ForeignAnswers
from consumer.graph.batch import packed, replies
from consumer.graph.call import Call
from consumer.graph.dialect import UNREADABLE
from consumer.graph.errors import code_of, error_of, is_graphs
from consumer.graph.queues import Queues
from consumer.graph.throttle import Throttle
from consumer.graph.tokens import Tokens
from consumer.http import Answer, Http, NoAnswerError
from consumer.json_reader import loads
from consumer.retry_after import retry_after

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
        self._throttle = Throttle(monotonic)
        self._queues = Queues(self._throttle.may_go)
        self._exchanges: set[asyncio.Task[None]] = set()
        self._flush_due = False

    async def send(self, call: Call) -> Any:
        """What ``call.read`` makes of a success.

        Raises:
            CalsyncError: the one that :func:`consumer.graph.errors.error_of` makes of the answer.
            ReadOnlyError: a write, in a dry run.
        """
        if self._read_only and call.write:
            raise ReadOnlyError(call.operation)
        # Waiting is the lanes' business: nobody sleeps here holding a lease.
        if (obstacle := self._throttle.obstacle(call, spend=True)) is not None:
            raise obstacle
        self._queues.add(call)
        self._flush_soon()
        return await call.reply

    def _flush_soon(self) -> None:
        """At the end of this turn of the loop, so that what is asked at the same moment travels together."""
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        while self._queues and len(self._exchanges) < AT_ONCE:
            calls = self._queues.take()
            if calls:
                task = asyncio.create_task(self._exchange(calls))
                self._exchanges.add(task)
                task.add_done_callback(self._exchanged)

    def _exchanged(self, task: "asyncio.Task[None]") -> None:
        self._exchanges.discard(task)
        if self._queues:
            self._flush_soon()

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
            self._queues.land(addresses, sent)

    async def _travel(self, calls: list[Call], sent: list[Call]) -> None:
        """Send what may go. ``sent`` gets the calls that left."""
        token = await self._tokens.get(self._site)
        # Only now, with the token at hand: fetching it may take longer than a lease lasts.
        calls = [call for call in calls if self._throttle.may_go(call)]
        if not calls:
            return
        sent += calls
        operation = calls[0].operation if len(calls) == 1 else "batch"
        answer = await self._post(calls, token, operation)
        body = _json(answer.body)
        if answer.status == 429 and operation == "batch":
            self._meter.throttled()
            self._throttle.rest_app(answer, body)
        if len(calls) == 1:
            self._settle(calls[0], answer.status, answer.headers, body, token)
        else:
            self._settle_batch(calls, answer, body, token)

    async def _post(self, calls: list[Call], token: str, operation: str) -> Answer:
        """One HTTP exchange. Raises ``TransientError`` without an answer."""
        if len(calls) == 1:
            [call] = calls
            method, path, headers = call.method, call.path, call.headers()
            body = orjson.dumps(call.body) if call.body is not None else None
        else:
            method, path, headers, body = "POST", "/$batch", {"Content-Type": "application/json"}, packed(calls)
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
        answers = replies(body["responses"])
        for number, call in enumerate(calls):
            reply = answers.get(str(number))
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

    def _goes_again(self, call: Call, token: str) -> bool:
        """Whether a call whose token was refused is sent with a new one: once, since Graph refuses valid ones at times.

        A new one that is refused too is kept: it may serve the other mailboxes.
        """
        if call.had_token_refused:
            return False
        call.had_token_refused = True
        self._tokens.refused(self._site, token)
        if self._throttle.may_go(call, spend=True):
            self._queues.add_first(call)
        return True

    def _settle(self, call: Call, status: int, headers: Mapping[str, str], body: Any, token: str) -> None:
        self._meter.request(call.operation, str(status))
        if status == 429:
            self._meter.throttled()
        if status in _SUCCESSES.get(call.method, ()):
            try:
                answer = None if status == 204 else call.read(body)
            except UNREADABLE:
                self._throttle.rest(call.address, headers, own=False)
                call.fail(self._foreign_error(status, headers, unknown=call.write))
            else:
                self._throttle.rest(call.address, headers, own=status != 204)  # an empty answer may be anybody's
                call.succeed(answer)
            return
        self._throttle.rest(call.address, headers, own=is_graphs(status, headers, body))
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
